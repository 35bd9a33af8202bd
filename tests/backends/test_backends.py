"""Layers and losses under each of Keras' backends, each in a process of its own, where it is installed."""

import importlib.util
import os
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.mark.parametrize("backend", ["jax", "torch", "tensorflow"])
def test_golden(backend):
    if not importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    result = subprocess.run(
        [sys.executable, "-m", "tests.backends.golden"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"KERAS_BACKEND": backend},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"on {backend}: all within tolerance" in result.stdout
