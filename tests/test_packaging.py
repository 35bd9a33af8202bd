"""The wheel: all modules, commands that start, and nothing else on anybody's PATH."""

import configparser
import importlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COMMANDS = {f"youtube8m-mod-{name}" for name in "train finetune inference eval export demo check".split()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """{path in the wheel: content}"""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("packaging")
    shutil.copytree(ROOT / "youtube8m_mod", folder / "youtube8m_mod", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", *(path.name for path in ROOT.glob("*.py"))):
        shutil.copy(ROOT / name, folder)
    build = "import setuptools.build_meta as build; print('wheel', build.build_wheel('.'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=folder, capture_output=True, text=True, check=True)
    with zipfile.ZipFile(folder / done.stdout.split()[-1]) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_every_module_is_in_it_and_nothing_beside_the_package(wheel):
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "youtube8m_mod").rglob("*.py")}
    assert {name for name in wheel if name.endswith(".py")} == modules
    assert "youtube8m_mod/py.typed" in wheel, "type checkers would pass the hints over"
    assert not [name for name in wheel if ".data/" in name], "a script of its own name would land on the PATH"


def test_commands_start(wheel):
    (text,) = (content.decode() for name, content in wheel.items() if name.endswith("entry_points.txt"))
    parser = configparser.ConfigParser()
    parser.read_string(text)
    scripts = dict(parser["console_scripts"])
    assert COMMANDS <= scripts.keys() and all(name.startswith("youtube8m-mod-") for name in scripts)
    for name, target in scripts.items():
        module, function = target.split(":")
        assert callable(getattr(importlib.import_module(module), function)), name


def test_metadata(wheel):
    (text,) = (content.decode() for name, content in wheel.items() if name.endswith("METADATA"))
    required = {line.split(": ")[1] for line in text.splitlines() if line.startswith("Requires-Dist: ")}
    names = {line.split(";")[0].split(">")[0].strip() for line in required if "extra" not in line}
    assert {"tensorflow", "numpy", "pandas", "absl-py"} <= names
    assert "Requires-Python: >=3.10" in text


@pytest.mark.parametrize("script", ["train", "finetune", "inference", "eval_map"])
def test_help_is_the_docstring_and_the_flags(script):
    done = subprocess.run([sys.executable, f"{script}.py", "--help"], cwd=ROOT, capture_output=True, text=True)
    command = importlib.import_module(f"youtube8m_mod.commands.{script}")
    assert command.__doc__.strip() in done.stdout
    assert f"{script}.py:{os.linesep}" in done.stdout and "absl." not in done.stdout
    assert not done.stderr
