import functools
import gc
import os
import subprocess
import sys
from pathlib import Path

from youtube8m_mod import environment

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# Threads of NumPy's library wait for work by turning round and round, on the core that another process could use.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
environment.prepare()

import hypothesis  # noqa: E402
import pytest  # noqa: E402

from tests import backend, golden_data  # noqa: E402

BFLOAT16_MATMUL = "import tensorflow as tf; x = tf.ones((4, 4), tf.bfloat16); x @ x"
ROOT = Path(__file__).parent.parent
# These take longest, much of it in processes of their own. They are begun first: no core idles while the last one ends.
LONGEST = [
    f"tests/{name}.py"
    for name in (
        "distribution/test_ray",
        "training/test_resume",
        "training/test_validation",
        "serving/test_export",
        "models/test_keras_model",
        "models/test_mod_golden",
        "data/test_your_own_features",
        "training/test_trainer",
        "distribution/test_servers",
        "models/test_traced_once",
        "test_ids",
    )
]
_SEEN = {}

# Neither says something about the code: beside other processes an example takes as long as it takes.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


def pytest_sessionstart(session):
    """Four devices for tests of placement, only possible before TensorFlow's first operation, and kernels that last."""
    if session.config.pluginmanager.hasplugin("dsession"):
        # This process of pytest-xdist hands out the tests, in the order in which they stand, and needs no TensorFlow.
        session.config.option.loadscopereorder = False
    elif backend.name() == "tensorflow":
        import tensorflow as tf
        from tensorflow.python import pywrap_tfe

        # Whenever a seed is set, TensorFlow throws away what it made of every operation so far, and a fifth of the
        # tests' time went into making it again. Only its stateful random operations need that, which nothing here has.
        pywrap_tfe.TFE_ContextClearCaches = lambda context: None
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 4
        )
        environment.start()


def pytest_ignore_collect(collection_path):
    """Under another backend than TensorFlow, only what runs there."""
    if backend.name() == "tensorflow" or not collection_path.is_relative_to(ROOT):
        return None
    path = collection_path.relative_to(ROOT).as_posix()
    below = path == "." or any(kept.startswith(f"{path}/") for kept in backend.ANY_BACKEND)
    return None if below or path.startswith(backend.ANY_BACKEND) else True


def pytest_collection_modifyitems(items):
    places = {path: place for place, path in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))


@functools.cache
def _bfloat16_runs():
    return subprocess.run([sys.executable, "-c", BFLOAT16_MATMUL], capture_output=True).returncode == 0


@pytest.fixture
def bfloat16():
    """Skips where TensorFlow crashes in bfloat16.

    It asks the processor whether it has AVX-512, and not the variable that keeps oneDNN from using it.
    """
    if backend.name() == "tensorflow" and "ONEDNN_MAX_CPU_ISA" in os.environ and not _bfloat16_runs():
        pytest.skip(f"TensorFlow crashes in bfloat16 with ONEDNN_MAX_CPU_ISA={os.environ['ONEDNN_MAX_CPU_ISA']}")


@pytest.fixture
def eager():
    """Steps run operation by operation: for runs too short to earn a graph."""
    from tests.eagerly import eagerly

    with eagerly():
        yield


@pytest.fixture
def close():
    """`close(item, what, actual, expected, absolute=..., relative=...)`: asserts closeness and remembers the largest.

    `relative` is to the largest magnitude of the expected array, `each` (in its place) to that of each entry; a
    difference within either tolerance passes.
    """
    import keras

    def check(item, what, actual, expected, absolute=0.0, relative=0.0, each=0.0):
        difference, ratio = golden_data.max_differences(
            keras.tree.map_structure(keras.ops.convert_to_numpy, actual), expected, bool(each)
        )
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


def pytest_collection_finish():
    """What is imported by now stays: the garbage collector need not go through all of TensorFlow again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    """What a test leaves in cycles goes before the next: iterators of Keras' `fit` among it.

    They have TensorFlow's tuner, whose end may take as long as the iterator was there: a minute, if nobody collects it.
    """
    gc.collect(1)


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
