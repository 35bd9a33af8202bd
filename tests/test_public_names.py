"""The names that the package offers, and what they cost."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

import youtube8m_mod

HEAVY = ("tensorflow", "keras", "pandas", "matplotlib")


def test_names_are_loaded_when_used():
    program = (
        "import sys, youtube8m_mod\n"
        f"loaded = lambda: [name for name in {HEAVY} if name in sys.modules]\n"
        "assert not loaded(), loaded()\n"
        "assert 'MOD' in dir(youtube8m_mod)\n"
        "from youtube8m_mod import ModelConfig, model_config\n"
        "assert not loaded(), loaded()\n"
        "from youtube8m_mod import environment\n"
        "environment.prepare()\n"  # TensorFlow is imported faster.
        "from youtube8m_mod import NeXtVLAD, MOD, losses\n"
        "assert 'keras' in loaded()\n"
        "from youtube8m_mod.layers.nextvlad import NeXtVLAD as Defined\n"
        "assert NeXtVLAD is Defined is youtube8m_mod.layers.NeXtVLAD\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", youtube8m_mod.__all__)
def test_name(name):
    value = getattr(youtube8m_mod, name)
    assert name in dir(youtube8m_mod)
    if isinstance(value, dict):  # A table of named configurations.
        assert all(own.name == key for key, own in value.items()) and value
        return
    module = getattr(value, "__module__", None) or value.__name__
    assert module.startswith("youtube8m_mod.")
    assert value.__doc__, "a public name has a docstring"


def test_unknown_name():
    with pytest.raises(AttributeError, match="has no attribute 'Mod'"):
        youtube8m_mod.Mod
    with pytest.raises(ImportError, match="cannot import name 'Mod'"):
        from youtube8m_mod import Mod  # noqa: F401


def test_rooms_name_what_they_hold():
    for room in pkgutil.iter_modules(youtube8m_mod.__path__):
        module = importlib.import_module(f"youtube8m_mod.{room.name}")
        assert module.__doc__, room.name
        if room.ispkg:  # A name like a module's would be one or the other, depending on what was imported before.
            modules = {inner.name for inner in pkgutil.iter_modules(module.__path__)}
            assert not modules.intersection(getattr(module, "__all__", ())), room.name
        for name in getattr(module, "__all__", ()):
            assert getattr(module, name).__doc__, (room.name, name)
