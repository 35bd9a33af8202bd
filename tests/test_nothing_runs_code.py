"""Nothing that is read can run code: no pickle, no eval, no shell, anywhere in the sources."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SOURCES = sorted(path for part in ("*.py", "youtube8m_mod/**/*.py", "benchmarks/**/*.py") for path in ROOT.glob(part))

MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "yaml",
    "commands",
    "multiprocessing.connection",
    "multiprocessing.managers",
}
CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "pd.read_pickle",
    "pandas.read_pickle",
    "tf.py_function",
}


def dotted(node):
    """The dotted name of an expression, "" where it is none."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (start := dotted(node.value)):
        return f"{start}.{node.attr}"
    return ""


def findings(source):
    """What a source does that could run what it reads, with the line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{name}" for name in names)]
            yield from (
                f"line {node.lineno}: {name}" for name in names if name in MODULES or name.split(".")[0] in MODULES
            )
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            values = {key: getattr(value, "value", None) for key, value in given.items()}
            shell = "shell" in given and values["shell"] is not False
            unpickles = (
                name.split(".")[0] in ("np", "numpy")
                and name.endswith(".load")
                and values.get("allow_pickle", True) is not False
            )
            unsafe = (
                name.endswith("load_model")
                and name.split(".")[0] in ("keras", "tf", "models", "saving")
                and values.get("safe_mode") is not True
            )
            if name in CALLS or shell or unpickles or unsafe or values.get("allow_pickle") is True:
                yield f"line {node.lineno}: {name}"


def test_there_are_sources():
    assert len(SOURCES) > 40


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_source(path):
    assert not list(findings(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import multiprocessing.connection",
        "eval('1')",
        "exec(text)",
        "import os\nos.system('ls')",
        "subprocess.run('ls', shell=True)",
        "subprocess.run('ls', shell=flag)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "keras.models.load_model(path)",
        "keras.saving.load_model(path, safe_mode=False)",
        "__import__('os')",
        "from multiprocessing import managers",
    ],
)
def test_the_scan_sees(source):
    assert list(findings(source))


@pytest.mark.parametrize(
    "source",
    [
        "np.load(path, allow_pickle=False)",
        "subprocess.run(['ls'])",
        "model.compile()",
        "re.compile('a')",
        "model.eval()",
        "keras.models.load_model(path, safe_mode=True)",
        "load_model(train_dir)",
        "checkpoints.load_model(train_dir)",
    ],
)
def test_the_scan_lets_pass(source):
    assert not list(findings(source))
