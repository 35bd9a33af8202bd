"""How a command starts: flags, leftover arguments, errors, exit code."""

import dataclasses
import sys

from absl import app, flags

from youtube8m_mod.errors import UserError, run_main


def run_command(main, define_flags):
    """Defines the flags, parses the command line, runs `main(argv)` by `run_main`, and exits.

    `--help` shows the docstring of the module that `main` is in, and its flags.
    """
    before = set(flags.FLAGS)
    define_flags()
    for name in set(flags.FLAGS) - before:
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])
    sys.modules["__main__"].__doc__ = sys.modules[main.__module__].__doc__
    app.run(lambda argv: run_main(_checked, main, argv))


def _checked(main, argv):
    if argv[1:]:
        raise UserError(
            f'expected flags only, got "{argv[1]}": put a value with blanks or * in quotes, and each value '
            "behind the = of its flag."
        )
    return main(argv)


def define_settings(cls, without=()):
    """Defines a flag for each `setting` of a dataclass, but those `without`."""
    for field in _settings(cls, without):
        default = None if field.default is dataclasses.MISSING else field.default
        text, choices = field.metadata["help"], field.metadata["choices"]
        if choices:
            flags.DEFINE_enum(field.name, default, choices, text)
        else:
            define = {bool: flags.DEFINE_bool, int: flags.DEFINE_integer, float: flags.DEFINE_float}
            define.get(field.type, flags.DEFINE_string)(field.name, default, text)


def settings(cls, without=()):
    """The values of those flags: keyword arguments of the dataclass."""
    return {field.name: flags.FLAGS[field.name].value for field in _settings(cls, without)}


def _settings(cls, without):
    return [field for field in dataclasses.fields(cls) if "help" in field.metadata and field.name not in without]
