"""Commands called in the process of the tests."""

import contextlib

from absl import flags


def call(module, arguments):
    """`module.main` with its flags set from `arguments`; the flags are gone afterwards."""
    with _defined(module):
        flags.FLAGS([module.__name__, *arguments])
        return module.main([])


def flag_names(module):
    """Names of a command's own flags."""
    with _defined(module) as names:
        return names


@contextlib.contextmanager
def _defined(module):
    before = set(flags.FLAGS)
    module.define_flags()
    names = set(flags.FLAGS) - before
    try:
        yield names
    finally:
        for name in names:
            delattr(flags.FLAGS, name)
