"""Commands called in the process of the tests."""

from absl import flags


def call(module, arguments):
    """`module.main` with its flags set from `arguments`; the flags are gone afterwards."""
    before = set(flags.FLAGS)
    module.define_flags()
    try:
        flags.FLAGS([module.__name__, *arguments])
        return module.main([])
    finally:
        for name in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, name)
