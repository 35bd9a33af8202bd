"""A whole process, timed from outside; without TensorFlow, as a process begins with the peak memory of its parent."""

import os
import sys
import time


def timed(arguments):
    """Runs Python with some arguments, its stdout dropped.

    Returns:
        {"seconds", "cpu_seconds", "peak_gb"}.
    """
    start = time.perf_counter()
    silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    process = os.posix_spawn(sys.executable, [sys.executable, *arguments], os.environ, file_actions=silent)
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(arguments[:2])} ended with status {status}.")
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_gb": round(usage.ru_maxrss * 1024 / 1e9, 3),
    }
