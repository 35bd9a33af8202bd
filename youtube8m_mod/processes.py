"""Processes that a command starts: each ends with the one that started it, and a supervised one is started again."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from youtube8m_mod import environment
from youtube8m_mod.errors import UserError, run_main

_LOST_CODE = 75  # Exit code of a supervised process that lost what it needs from outside (EX_TEMPFAIL).


def end_with_parent() -> None:
    """Ends this process when the one that started it has ended, killed perhaps."""
    parent = os.getppid()

    def watch():
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Supervised:
    """What a supervised function knows of its process.

    Attributes:
        restarts: how often it was started before.
    """

    def __init__(self, restarts: int, pipe: Any):
        self.restarts, self._pipe = restarts, pipe

    def lost(self, sentence: str) -> NoReturn:
        """Ends this process at once: it is started again.

        No exception could do that: an operation on a frozen worker never returns, and after the death of one
        TensorFlow's own clearing up may take minutes.

        Args:
            sentence: what was lost, without a full stop.
        """
        self._pipe.send(sentence)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_LOST_CODE)


def supervise(function: Callable[..., int | None], *args: Any, max_restarts: int) -> int:
    """Runs `function(supervised, *args)` as a command (`run_main`) in a process of its own.

    Where that calls `supervised.lost`, or is killed, it is started again, at most `max_restarts` times. Signals are
    passed on to it.

    Returns:
        its exit code.

    Raises:
        UserError: where no restart is left.
    """
    context = multiprocessing.get_context("spawn")
    for restarts in range(max_restarts + 1):
        pipe, its_end = context.Pipe()
        pipe.send((function, args))
        process = context.Process(target=_supervised, args=(restarts, its_end))
        stopped_by = _wait(process)
        code = process.exitcode
        if stopped_by and (code < 0 or code == _LOST_CODE):
            return 128 + stopped_by
        if code == _LOST_CODE and pipe.poll():
            reason = pipe.recv()
        elif code < 0:
            reason = f"The training process was ended by {signal.Signals(-code).name}"
        else:
            return code
        if restarts < max_restarts:
            print(
                f"\nwarning: {reason}; going on from the last checkpoint (restart {restarts + 1} of {max_restarts}).",
                file=sys.stderr,
                flush=True,
            )
    raise UserError(
        f"{reason}; --max_restarts={max_restarts} are used up, and the same command goes on from the last checkpoint."
    )


def _wait(process):
    """Starts the process and waits for its end; passes signals on. Returns the number of the last signal, or None."""
    numbers = []

    def pass_on(number, _):
        numbers.append(number)
        with contextlib.suppress(ProcessLookupError):
            if process.pid:
                os.kill(process.pid, number)

    try:
        previous = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # Not the main thread: signals are somebody else's.
        previous = {}
    try:
        process.start()
        process.join()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return numbers[-1] if numbers else None


def _supervised(restarts, pipe):
    environment.prepare()
    os.setpgid(0, 0)  # Ctrl-C in the terminal arrives once: from the supervisor.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
    end_with_parent()
    function, args = pipe.recv()  # This imports what they come from: not before we are prepared.
    try:
        run_main(function, Supervised(restarts, pipe), *args)
    except SystemExit as end:
        sys.stderr.flush()
        os._exit(end.code or 0)  # TensorFlow would wait for workers that are gone by then.
