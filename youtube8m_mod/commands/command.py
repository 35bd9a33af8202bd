"""How a command starts: flags, leftover arguments, errors, exit code."""

import dataclasses
import sys
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

from absl import app, flags

from youtube8m_mod.commands.strict_flags import parse, tighten
from youtube8m_mod.errors import UserError, run_main


def run_command(main: Callable[[list[str]], int | None], define_flags: Callable[[], None]) -> None:
    """Defines the flags, parses the command line, runs `main(argv)` by `run_main`, and exits.

    `--help` shows the docstring of the module that `main` is in, and its flags.
    """
    for name in define(define_flags):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])
    sys.modules["__main__"].__doc__ = sys.modules[main.__module__].__doc__
    app.run(lambda argv: run_main(main, argv), flags_parser=_parse)


def define(define_flags: Callable[[], None]) -> list[str]:
    """Calls `define_flags()`; returns the names of the flags that are new, which are strict (see strict_flags.py)."""
    before = set(flags.FLAGS)
    define_flags()
    names = sorted(set(flags.FLAGS) - before)
    for name in names:
        tighten(flags.FLAGS[name])
    return names


def _parse(argv):
    try:
        return parse(argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def check_companions(companions: Mapping[tuple[str, ...], Iterable[str]]) -> None:
    """Raises `UserError` where a flag was given that does nothing without another one.

    Args:
        companions: {flags, of which one must be set: flags that go with them}.
    """
    for owners, names in companions.items():
        if not any(flags.FLAGS[owner].value for owner in owners):
            if given := next((name for name in names if flags.FLAGS[name].present), None):
                owned = " or ".join(f"--{owner}" for owner in owners)
                raise UserError(f"--{given} belongs to {owned}, which is not given.")


def check_output_flags(
    written: Iterable[str], read: Iterable[str], patterns: Iterable[str] = (), runs: Iterable[str] = ()
) -> None:
    """Raises `UserError` where an output would take the place of an input, or of another output.

    Args:
        written, read: names of the flags that name files, some of them not given.
        patterns: names of the flags whose globs name files that are read.
        runs: names of the flags that name train_dirs.
    """
    from youtube8m_mod import files, overwriting

    inputs = {name: _file_of(name) for name in read}
    inputs |= {name: files.glob(flags.FLAGS[name].value or "") for name in patterns}
    outputs = {name: flags.FLAGS[name].value for name in written}
    overwriting.check_outputs(outputs, inputs)
    named = (text.strip() for name in runs for text in (flags.FLAGS[name].value or "").split(","))
    train_dirs = [*filter(None, named)]
    for name, path in outputs.items():
        if path and files.is_dir(path):
            raise UserError(f"--{name} {path} is a folder: the name of a file was expected.")
        if path and train_dirs:
            from youtube8m_mod.training.train_dir import check_no_part_of_run

            check_no_part_of_run(path, train_dirs)


def _file_of(name):
    """The file that a flag names; where it names a dataset by its folder, the `dataset.json` there."""
    from youtube8m_mod import files
    from youtube8m_mod.data.dataset import DATASET

    path = flags.FLAGS[name].value
    return f"{path.rstrip('/')}/{DATASET}" if name == "dataset" and path and files.is_dir(path) else path


def define_settings(cls: type, without: Container[str] = ()) -> None:
    """Defines a flag for each `setting` of a dataclass, but those `without`."""
    for field in _settings(cls, without):
        default = None if field.default is dataclasses.MISSING else field.default
        text, choices = field.metadata["help"], field.metadata["choices"]
        if choices:
            flags.DEFINE_enum(field.name, default, choices, text)
        else:
            define = {bool: flags.DEFINE_bool, int: flags.DEFINE_integer, float: flags.DEFINE_float}
            define.get(field.type, flags.DEFINE_string)(field.name, default, text)


def settings(cls: type, without: Container[str] = ()) -> dict[str, Any]:
    """The values of those flags: keyword arguments of the dataclass."""
    return {field.name: flags.FLAGS[field.name].value for field in _settings(cls, without)}


def _settings(cls, without):
    return [field for field in dataclasses.fields(cls) if "help" in field.metadata and field.name not in without]
