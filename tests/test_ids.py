"""The ids of tests depend on nothing but the source: pytest-xdist refuses processes that collect different ones."""

import os
import subprocess
import sys
import time


def collection(hash_seed):
    return subprocess.Popen(
        # Not in the order of a plugin that shuffles, where one is installed.
        [sys.executable, *"-m pytest tests --collect-only -q -p no:cacheprovider -p no:randomly".split()],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
    )


def test_two_collections_are_equal():
    first = collection("1")
    time.sleep(2)  # Headers of archives, for one, tell the second.
    second = collection("2")
    # The last line tells how long it took.
    (*ids, _), (*again, _) = (process.communicate()[0].splitlines() for process in (first, second))
    assert first.returncode == second.returncode == 0, ids
    assert len(ids) > 500 and ids == again
