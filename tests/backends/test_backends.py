"""The tests of layers, losses and models under Keras' other backends, each in a process of its own where it is there.

KERAS_BACKEND=jax pytest tests      (or torch) runs the same by hand.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_backend(backend):
    if not importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests", "-q", "-x", "-p", "no:cacheprovider"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"KERAS_BACKEND": backend},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
