"""What supervised processes of the tests do; nothing here imports TensorFlow."""

import os
import signal
import time

from youtube8m_mod.errors import UserError


def ends(supervised, path, lost_times, code):
    """Is lost so many times, writes how often it was restarted, ends with a code."""
    if supervised.restarts < lost_times:
        supervised.lost(f"Worker {supervised.restarts} died")
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{supervised.restarts}\n")
    return code


def is_killed_once(supervised):
    if not supervised.restarts:
        os.kill(os.getpid(), signal.SIGKILL)


def fails(supervised):
    raise UserError("a file is missing.")


def waits(supervised, path):
    """Waits for SIGTERM, and says that it came."""

    def note(number, _):
        with open(path, "a", encoding="utf-8") as file:
            file.write(signal.Signals(number).name)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, note)
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(30)
