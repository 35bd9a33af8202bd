import functools
import os
import subprocess
import sys

from youtube8m_mod import environment

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
environment.prepare()

import pytest  # noqa: E402
import tensorflow as tf  # noqa: E402

from tests import golden_data  # noqa: E402

# Four devices for tests of placement; only possible before TensorFlow's first operation.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 4
)

BFLOAT16_MATMUL = "import tensorflow as tf; x = tf.ones((4, 4), tf.bfloat16); x @ x"
_SEEN = {}


@functools.cache
def _bfloat16_runs():
    return subprocess.run([sys.executable, "-c", BFLOAT16_MATMUL], capture_output=True).returncode == 0


@pytest.fixture
def bfloat16():
    """Skips where TensorFlow crashes in bfloat16.

    It asks the processor whether it has AVX-512, and not the variable that keeps oneDNN from using it.
    """
    if "ONEDNN_MAX_CPU_ISA" in os.environ and not _bfloat16_runs():
        pytest.skip(f"TensorFlow crashes in bfloat16 with ONEDNN_MAX_CPU_ISA={os.environ['ONEDNN_MAX_CPU_ISA']}")


@pytest.fixture
def close():
    """`close(item, what, actual, expected, absolute=..., relative=...)`: asserts closeness and remembers the largest.

    `relative` is to the largest magnitude of the expected array, `each` (in its place) to that of each entry; a
    difference within either tolerance passes.
    """

    def check(item, what, actual, expected, absolute=0.0, relative=0.0, each=0.0):
        difference, ratio = golden_data.max_differences(actual, expected, bool(each))
        relative = each or relative
        _remember(item, what, difference, ratio, absolute, relative)
        assert difference <= absolute or ratio <= relative, (
            f"{item} {what}: off by {difference:.3g} absolute (allowed {absolute:g}), {ratio:.3g} relative "
            f"(allowed {relative:g})"
        )

    return check


def _remember(item, what, difference, ratio, absolute, relative):
    seen = _SEEN.setdefault((item, what), [0.0, 0.0, absolute, relative])
    seen[0], seen[1] = max(seen[0], difference), max(seen[1], ratio)


def pytest_sessionfinish(session):
    """A worker process hands what it saw to the process that prints."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["differences"] = [[*key, *values] for key, values in _SEEN.items()]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    for difference in getattr(node, "workeroutput", {}).get("differences", []):
        _remember(*difference)


def pytest_terminal_summary(terminalreporter):
    if _SEEN:
        terminalreporter.section("largest differences from the original")
        for (item, what), (difference, ratio, absolute, relative) in sorted(_SEEN.items()):
            terminalreporter.write_line(
                f"{item:18} {what:36} absolute {difference:8.2e} ({absolute:g})  relative {ratio:8.2e} ({relative:g})"
            )
