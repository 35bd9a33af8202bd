"""Errors that a user can cause, and how a command reports them."""

import sys
from collections.abc import Callable
from typing import Any, NoReturn

from absl import logging

from youtube8m_mod import environment

_LONGEST = 2000


class UserError(Exception):
    """Something that the user can mend: a flag, a file, a record.

    The message is one sentence that names the thing, says what was expected and what was found. What was found may be
    anything: it is shown on one line, without control characters, and cut short where it is long.
    """

    def __init__(self, message: object):
        text = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in str(message))
        super().__init__(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 300]} ... {text[-300:]}")


class Stopped(UserError):
    """A signal ended the command in good order.

    Args:
        number: of the signal; the exit code is 128 more, as a shell reports it.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.exit_code = 128 + number


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or the name of its type where it has none."""
    text = str(getattr(error, "message", None) or error).strip() or type(error).__name__
    return text.splitlines()[0]


def run_main(main: Callable[..., int | None], *args: Any) -> NoReturn:
    """Runs `main(*args)` as a command and exits.

    A `UserError` ends with exit code 1 and its sentence on stderr, without a traceback; Ctrl-C with 130, `Stopped` with
    its own. TensorFlow's log stays silent (what it has to say comes as exceptions) unless TF_CPP_MIN_LOG_LEVEL is set.
    For that to hold, the module of a command imports TensorFlow in functions only.
    """
    environment.prepare()
    logging.set_verbosity(logging.WARNING)
    try:
        code = main(*args)
    except Stopped as error:
        print(f"stopped: {error}", file=sys.stderr)
        code = error.exit_code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    sys.stdout.flush()
    sys.exit(code or 0)
