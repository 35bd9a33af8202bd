"""What the process of a command needs before it imports TensorFlow, `prepare`, and where it begins to use it, `start`.

TF_CPP_MIN_LOG_LEVEL silences TensorFlow's C++ log, but not the lines that its libraries write while they are loaded
(that no GPU was found, that oneDNN is on): those reach stderr whatever the variable says. They are filtered here, by
the same variable, and only while TensorFlow or Keras is imported.
"""

import contextlib
import functools
import gc
import importlib.abc
import importlib.machinery
import os
import re
import subprocess
import sys
import threading

# Severity, month and day, time, thread, source file and line: as absl writes before it is set up.
_LOG_LINE = re.compile(rb"([IWE])\d{4} [\d:.]+ +\d+ [\w.]+:\d+\] ")
_BANNER = b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR"
_SEVERITIES = "IWE"  # F, what ends the process, is never hidden.
_SECONDS = 10
_YOUNG_OBJECTS = 50_000
_LASTING = ("keras", "tensorflow")
# Keras takes pandas' tables for arrays, and draws pictures: no command gives it the ones or asks for the others.
_LEFT_OUT = ("matplotlib", "pandas")
_process = {"prepared": False, "started": False}


def prepare() -> None:
    """Call it before TensorFlow is imported; what the user has set in the environment stays as it is."""
    from youtube8m_mod import processor  # Not above: this file also runs by itself.

    _process["prepared"] = True
    # Python's collector looks for cycles after every 700 objects: a tenth of the time in which TensorFlow is imported
    # and a graph of a hundred thousand lasting objects is made.
    if 0 < gc.get_threshold()[0] < _YOUNG_OBJECTS:
        gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if processor.onednn_pays():
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if "tensorflow" not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def start() -> None:
    """TensorFlow's first operation, in the process of a command; call it where the devices are set.

    By the options of that moment, whatever is set later, TensorFlow optimises the functions of datasets. It does so at
    the start of each pass over the data, which takes longer than reading some small files, and makes nothing faster
    here: the option is off for that moment. All other functions are optimised as ever.
    """
    if not _process["prepared"] or _process["started"]:
        return
    import tensorflow as tf

    _process["started"] = True
    before = tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer", False)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        tf.config.list_logical_devices()
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": before})


class _Finder(importlib.abc.MetaPathFinder):
    """Finds TensorFlow and Keras where they are found without.

    While the first of them loads, with the other, stderr is filtered; and what Keras imports only where it is
    installed, a fifth of the time, is found but cannot be imported.
    """

    def __init__(self):
        self._lock, self._loading_in = threading.Lock(), None  # The thread that loads them.

    def find_spec(self, name, path=None, target=None):
        left_out = name in _LEFT_OUT and self._loading_in == threading.get_ident()
        if not left_out and name not in _LASTING:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        if left_out:
            spec.loader = _NoLoader()
        else:
            spec.loader.exec_module = functools.partial(self._exec_module, spec.loader.exec_module)
        return spec

    def _exec_module(self, load, module):
        with self._lock:
            first = self._loading_in is None
            if first:
                self._loading_in = threading.get_ident()
        if not first:
            load(module)
            return
        try:
            with _filtered_stderr(_hidden(os.environ.get("TF_CPP_MIN_LOG_LEVEL", ""))), _lasting_objects():
                load(module)
        finally:
            self._loading_in = None


class _NoLoader(importlib.abc.Loader):
    def exec_module(self, module):
        raise ModuleNotFoundError(f"No module named {module.__name__!r}", name=module.__name__)


def _hidden(level):
    """The severities that TF_CPP_MIN_LOG_LEVEL hides."""
    return _SEVERITIES[: int(level)] if level.isdecimal() else ""


@contextlib.contextmanager
def _lasting_objects():
    """What is there at the end of the scope lasts: Python's collector looks for cycles in none of it, now or later."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _filtered_stderr(severities):
    """What anything in this process writes to stderr passes through a process of its own.

    Not through a thread or a file: if the process crashes, its last words still come out.
    """
    pipe = _start_filter(severities) if severities else None
    if pipe is None:
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    os.dup2(pipe.stdin.fileno(), 2)
    pipe.stdin.close()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)
        # The filter ends when nobody can write to it; a process that was started meanwhile may still be able to.
        with contextlib.suppress(subprocess.TimeoutExpired):
            pipe.wait(_SECONDS)


def _start_filter(severities):
    """The filter's process, or None where it cannot be had: then nothing is filtered."""
    if sys.stderr is None:  # The command was started with stderr closed; what is number 2 now may be any file.
        return None
    try:
        # A session of its own: Ctrl-C is for the command, the filter ends with it.
        return subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, severities],
            stdin=subprocess.PIPE,
            stdout=2,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return None


def _filter(lines, out, severities):
    for line in lines:
        found = _LOG_LINE.match(line)
        if not (found and found[1] in severities) and line.rstrip() != _BANNER:
            out.write(line)
            out.flush()


if __name__ == "__main__":
    _filter(sys.stdin.buffer, sys.stdout.buffer, sys.argv[1].encode())
