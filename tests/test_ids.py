"""The ids of tests depend on nothing but the source: pytest-xdist refuses processes that collect different ones."""

import os
import subprocess
import sys
import time


def collection(hash_seed):
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "tests", "--collect-only", "-q", "-p", "no:cacheprovider"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
    )
    *ids, _ = process.communicate()[0].splitlines()  # The last line tells how long it took.
    assert process.returncode == 0, ids
    return sorted(ids)


def test_two_collections_are_equal(request):
    """The first is this process's own, seconds ago, where all tests are being run."""
    config = request.config
    everything = config.args == ["tests"] and not (config.option.keyword or config.option.markexpr)
    first = sorted(item.nodeid for item in request.session.items) if everything else collection("1")
    time.sleep(2)  # Headers of archives, for one, tell the second.
    second = collection("2")
    assert len(second) > 500 and first == second
