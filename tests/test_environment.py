"""What a command prints while it imports TensorFlow: its own words only, and what must be known."""

import gc
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from youtube8m_mod import environment, processor

BANNER = "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR"
LINE = "0000 00:00:1795639765.835912    3575 port.cc:153] oneDNN custom operations are on."
INFO, WARNING, ERROR, FATAL = (letter + LINE for letter in "IWEF")
LOG = [BANNER, INFO, WARNING, ERROR]
CHOICES = ("TF_CPP_MIN_LOG_LEVEL", "CUDA_VISIBLE_DEVICES")
IMPORT = "from youtube8m_mod import environment; environment.prepare(); import tensorflow"


def stderr_of_import(folder, level=None, ending="", program=IMPORT, code=0):
    """Lines of a process that imports a TensorFlow which writes the lines of `LOG`, and then does `ending`."""
    (folder / "tensorflow.py").write_text(
        f"import os, sys\nos.write(2, {os.linesep.join(LOG + [FATAL]).encode()!r} + b'\\n')\n"
        f"print('of Python', file=sys.stderr)\n{ending}\n"
    )
    variables = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    variables |= {"PYTHONPATH": os.pathsep.join([str(folder), os.getcwd()])}
    variables |= {} if level is None else {"TF_CPP_MIN_LOG_LEVEL": level}
    done = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, env=variables)
    assert done.returncode == code, done.stderr
    return done.stderr.splitlines()


@pytest.mark.parametrize(
    "level, hidden",
    [
        (None, [BANNER, INFO, WARNING, ERROR]),
        ("3", [BANNER, INFO, WARNING, ERROR]),
        ("2", [BANNER, INFO, WARNING]),
        ("1", [BANNER, INFO]),
        ("0", []),
        ("", []),
        ("all", []),
    ],
)
def test_log_lines_are_hidden_as_the_user_says(tmp_path, level, hidden):
    assert stderr_of_import(tmp_path, level) == [*(line for line in LOG if line not in hidden), FATAL, "of Python"]


def test_what_comes_after_the_import_passes(tmp_path):
    program = f"{IMPORT}; import os; os.write(2, b'{INFO}')"
    assert stderr_of_import(tmp_path, program=program) == [FATAL, "of Python", INFO]


def test_an_import_that_fails_is_told(tmp_path):
    lines = stderr_of_import(tmp_path, ending="raise ImportError('libcudart.so.12')", code=1)
    assert lines[:3] == [FATAL, "of Python", "Traceback (most recent call last):"]
    assert lines[-1] == "ImportError: libcudart.so.12"


def test_last_words_of_a_crash_are_told(tmp_path):
    lines = stderr_of_import(tmp_path, ending="os.write(2, b'not this processor'); os.abort()", code=-signal.SIGABRT)
    assert lines == [FATAL, "of Python", "not this processor"]


def test_a_closed_stderr(tmp_path):
    (tmp_path / "tensorflow.py").write_text("")
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-c", f"{IMPORT}; print('imported')"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.getcwd()])},
    )
    assert (done.returncode, done.stdout) == (0, "imported\n")


def test_a_lookup_imports_nothing_and_prepare_may_come_twice(tmp_path):
    program = (
        "import importlib.util; from youtube8m_mod import environment; environment.prepare(); "
        "environment.prepare(); importlib.util.find_spec('tensorflow'); import tensorflow, inspect; "
        "assert 'of Python' in inspect.getsource(tensorflow)"
    )
    assert stderr_of_import(tmp_path, program=program) == [FATAL, "of Python"]


def test_tables_and_plots_are_not_imported_for_keras(tmp_path):
    """But by whoever needs them, at any time; and what TensorFlow writes is filtered whichever of the two is first."""
    (tmp_path / "keras.py").write_text(
        "import importlib.util, threading, tensorflow\n"
        "assert importlib.util.find_spec('pandas').origin\n"  # As libraries look for what they may have to know of.
        "try:\n    import pandas\nexcept ImportError as error:\n    pandas = error\n"
        "thread = threading.Thread(target=__import__, args=('matplotlib',))\nthread.start()\nthread.join()\n"
    )
    for name in ("matplotlib", "pandas"):
        (tmp_path / f"{name}.py").write_text("")
    program = (
        f"{IMPORT.replace('tensorflow', 'keras')}; import sys; assert keras.pandas.name == 'pandas'; "
        "assert 'matplotlib' in sys.modules and 'pandas' not in sys.modules; import pandas; import tensorflow"
    )
    assert stderr_of_import(tmp_path, program=program) == [FATAL, "of Python"]


def test_no_tensorflow(tmp_path):
    program = (
        f"import os, sys; os.remove({str(tmp_path / 'tensorflow.py')!r}); "
        f"sys.path[:] = [path for path in sys.path if not path.endswith('site-packages')]; {IMPORT}"
    )
    assert (
        stderr_of_import(tmp_path, program=program, code=1)[-1] == "ModuleNotFoundError: No module named 'tensorflow'"
    )


def test_modules_of_commands_and_actors_import_no_tensorflow():
    """Else its lines would come before `prepare` can hide them, and `--help` would wait for it."""
    root = Path(__file__).parent.parent
    paths = [
        path.relative_to(root)
        for path in [*root.glob("*.py"), *root.glob("youtube8m_mod/**/*.py")]
        if re.search(r'^if __name__ == "__main__":\n    (run|from)', path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    paths += [path.relative_to(root) for path in root.glob("youtube8m_mod/*/ray_actor.py")]
    modules = [".".join(path.with_suffix("").parts) for path in paths]
    assert {"train", "youtube8m_mod.export", "youtube8m_mod.data.check", "youtube8m_mod.inference.ray_actor"} < set(
        modules
    )
    program = (
        f"import sys, {', '.join(modules)}; print([name for name in ('tensorflow', 'keras') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_command_that_uses_tensorflow_prints_its_own_words_only(tmp_path):
    variables = {name: value for name, value in os.environ.items() if name not in CHOICES}
    command = [sys.executable, "-m", "youtube8m_mod.data.check", f"--data_pattern={tmp_path}/*.tfrecord"]
    (tmp_path / "a.tfrecord").write_bytes(b"no records")
    done = subprocess.run(command, capture_output=True, text=True, env=variables)
    assert (done.returncode, done.stderr) == (
        1,
        f'error: {tmp_path}/a.tfrecord, record 0: it is not a TFRecord file but text that begins with "no records": '
        "name the shards alone, for instance with *.tfrecord.\n",
    )


@pytest.mark.parametrize(
    "machine, features, expected",
    [
        ("x86_64", {"sse4_2", "avx2", "fma"}, True),
        ("AMD64", {"avx2", "fma", "avx512f", "avx512_vnni"}, True),
        ("x86_64", {"sse4_2", "avx"}, False),
        ("x86_64", None, False),
        ("aarch64", {"avx2", "fma"}, False),
    ],
)
def test_onednn_is_for_x86_with_avx2(monkeypatch, machine, features, expected):
    monkeypatch.setattr(processor.platform, "machine", lambda: machine)
    monkeypatch.setattr(processor, "_features", lambda: features)
    assert processor.onednn_pays() is expected


@pytest.mark.parametrize("pays", (True, False))
@pytest.mark.parametrize("chosen", (None, "0", "1"))
def test_onednn_is_switched_on_where_the_user_has_not_decided(monkeypatch, chosen, pays):
    monkeypatch.setattr(processor, "onednn_pays", lambda: pays)
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if chosen is not None:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", chosen)
    environment.prepare()
    assert os.environ.get("TF_ENABLE_ONEDNN_OPTS") == (chosen or ("1" if pays else None))


@pytest.mark.parametrize("before, after", ((700, 50_000), (100_000, 100_000), (0, 0)))
def test_the_collector_is_not_called_for_every_few_objects(before, after):
    thresholds = gc.get_threshold()
    try:
        gc.set_threshold(before, 10, 10)  # 0: the user has switched it off.
        environment.prepare()
        assert gc.get_threshold() == (after, 10, 10)
    finally:
        gc.set_threshold(*thresholds)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_leaves_what_is_imported_alone(enabled):
    before = gc.isenabled()
    gc.unfreeze()
    try:
        gc.enable() if enabled else gc.disable()
        with pytest.raises(ImportError), environment._lasting_objects():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() is enabled and gc.get_freeze_count()
    finally:
        gc.enable() if before else gc.disable()


@pytest.mark.parametrize("chosen", [None, False, True])
def test_functions_of_datasets_are_not_optimised(monkeypatch, chosen):
    """By the options of TensorFlow's first operation. Those of all else are as the user has them."""
    import tensorflow as tf

    name, found = "disable_meta_optimizer", []
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda: found.append(options().get(name)))
    options = tf.config.optimizer.get_experimental_options
    before = options().get(name, False)
    try:
        if chosen is not None:
            tf.config.optimizer.set_experimental_options({name: chosen})
        monkeypatch.setattr(environment, "_process", {"prepared": False, "started": False})
        environment.start()  # Somebody else's process is left alone.
        assert not found
        environment.prepare()
        for _ in range(2):
            environment.start()
        assert found == [True] and bool(options().get(name)) is bool(chosen)
    finally:
        tf.config.optimizer.set_experimental_options({name: before})


def test_functions_are_optimised_as_ever():
    """Of a product by one nothing is left in the graph that runs."""
    import tensorflow as tf

    from youtube8m_mod.training.placement_report import collected_graphs

    function = tf.function(lambda x: tf.identity(x * tf.ones([3])), autograph=False)
    with collected_graphs() as graphs:
        function(tf.constant([1.0, 2, 3]))
    kinds = {node.op for graph in graphs() for node in graph.node}
    assert kinds and "Mul" not in kinds, kinds
