"""Commands called in the process of the tests."""

from absl import flags

from youtube8m_mod.commands import command, strict_flags


def call(module, arguments):
    """`module.main` with its flags set from `arguments`; the flags are gone afterwards."""
    names = command.define(module.define_flags)
    try:
        return module.main(strict_flags.parse([module.__name__, *arguments]))
    finally:
        for name in names:
            delattr(flags.FLAGS, name)


def flag_names(module):
    """The names of a command's flags."""
    names = command.define(module.define_flags)
    for name in names:
        delattr(flags.FLAGS, name)
    return set(names)
