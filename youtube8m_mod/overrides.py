"""Frozen dataclasses of settings: checking, parsing from a command line, and JSON."""

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeVar

from youtube8m_mod.errors import UserError

C = TypeVar("C")  # A dataclass.
Overrides = dict[str, Any] | Iterable[str | tuple[str, Any]]
"""Fields and their values: a dict, pairs, or texts "field=value"."""

_LARGEST = 2**63 - 1  # Of a count; larger ones are no numbers to TensorFlow.
_TUPLES = {tuple[int, ...]: int, tuple[str, ...]: str}


def setting(text: str, default: Any = dataclasses.MISSING, choices: Sequence[str] | None = None) -> Any:
    """A dataclass field that a command offers as a flag: the text is the flag's help.

    Args:
        default: of the field; without one, it must be given.
        choices: the values that a text may take; None: any.
    """
    return dataclasses.field(default=default, metadata={"help": text, "choices": choices})


def part(cls: type[C], config: Any) -> C:
    """The `cls` in a dataclass that inherits from it."""
    return cls(**{field.name: getattr(config, field.name) for field in dataclasses.fields(cls)})


def check_types(config: Any, names: Collection[str] | None = None) -> None:
    """Raises `UserError` where a field (of these names; None: any) holds a value of another type than it says."""
    for field in dataclasses.fields(config):
        if names is not None and field.name not in names:
            continue
        value, kind = getattr(config, field.name), field.type
        if kind in _TUPLES:
            good = isinstance(value, tuple) and all(type(part) is _TUPLES[kind] for part in value)
        elif kind is float or kind == float | None:
            good = type(value) in (int, float) or (value is None and kind is not float)
        else:
            good = type(value) in ((int, type(None)) if kind == int | None else (kind,))
        if not good:
            raise UserError(f"{field.name} must be {getattr(kind, '__name__', kind)}, got {value!r}.")
        if any(type(part) is int and abs(part) > _LARGEST for part in (value if kind in _TUPLES else (value,))):
            raise UserError(f"{field.name} must be at most {_LARGEST}, got {value!r}.")


def check_positive(config: Any, *names: str, prefix: str = "") -> None:
    """Raises `UserError` where one of these fields is below 1; None passes. The `prefix` stands before their names."""
    for name in names:
        value = getattr(config, name)
        if value is not None and value < 1:
            raise UserError(f"{prefix}{name} must be at least 1, got {value}.")


def override(config: C, overrides: Overrides, once: bool = False) -> C:
    """`config` with fields replaced.

    Args:
        overrides: "field=value" strings, as a command line gives them (tuples as `4x3` or `1024,128`), (field, value)
            pairs, or a dict.
        once: a field that is given twice must have the same value; otherwise the last one counts.
    """
    return dataclasses.replace(config, **_values(config, overrides, once))


def _values(config, overrides, once):
    values = {}
    fields = {field.name: field for field in dataclasses.fields(config) if field.name != "name"}
    for item in overrides.items() if isinstance(overrides, dict) else overrides:
        name, _, text = item.partition("=") if isinstance(item, str) else (item[0], "=", item[1])
        if not _ or name not in fields:
            raise UserError(f'"{item}" must be field=value with one of the fields {", ".join(fields)}.')
        value = _parse(fields[name], text) if isinstance(text, str) else text
        if once and name in values and values[name] != value:
            raise UserError(f"{name} is given twice, as {_text(values[name])} and as {_text(value)}.")
        values[name] = value
    return values


def split_overrides(overrides: Iterable[str], model: Any, phase: Any) -> tuple[list[str], list[str]]:
    """Sorts "field=value" strings, each field once, to the dataclass that has it: (for the model, for the phase)."""
    names = [{field.name for field in dataclasses.fields(config)} - {"name"} for config in (model, phase)]
    sorted_overrides = ([], [])
    for text in overrides:
        owner = [i for i, fields in enumerate(names) if text.partition("=")[0] in fields]
        if not owner:
            raise UserError(
                f'"{text}" must be field=value with one of the fields {", ".join(sorted(names[0] | names[1]))}.'
            )
        sorted_overrides[owner[0]].append(text)
    for config, texts in zip((model, phase), sorted_overrides):
        _values(config, texts, once=True)
    return sorted_overrides


def to_dict(config: Any) -> dict[str, Any]:
    """A JSON-able dict of the fields."""
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(config).items()
    }


def from_dict(cls: type[C], values: Any, source: str) -> C:
    """The `cls` that `to_dict` wrote; `source` names the file in errors."""
    if not isinstance(values, dict):
        raise UserError(f"{source} must hold the fields of a {cls.__name__}, got {type(values).__name__}.")
    fields = {field.name for field in dataclasses.fields(cls)}
    if unknown := sorted(set(values) - fields):
        raise UserError(f"{source} holds fields that {cls.__name__} does not have: {', '.join(unknown)}.")
    required = {f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING}
    if missing := sorted(required - set(values)):
        raise UserError(f"{source} lacks the fields {', '.join(missing)} of {cls.__name__}.")
    try:
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
    except UserError as error:
        raise UserError(f"{source}: {error}") from error


def differences(old: Any, new: Any) -> dict[str, tuple[Any, Any]]:
    """Fields in which two configurations of a class differ: {field: (old value, new value)}."""
    return {
        field.name: (getattr(old, field.name), getattr(new, field.name))
        for field in dataclasses.fields(old)
        if getattr(old, field.name) != getattr(new, field.name)
    }


def _text(value):
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _parse(field, text):
    """The value of a dataclass field from a command line's text."""
    try:
        if field.type in _TUPLES:
            separated = text.replace("x", ",") if field.type == tuple[int, ...] else text
            return tuple(_TUPLES[field.type](part.strip()) for part in separated.split(",") if part.strip())
        if field.type is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if field.type in (int | None, float | None):
            return None if text.lower() == "none" else (int if field.type == int | None else float)(text)
        if field.type is float:
            return float(text)
        return field.type(text)
    except (ValueError, KeyError):
        expected = getattr(field.type, "__name__", None) if field.type not in _TUPLES else None
        raise UserError(f'{field.name} must be {expected or field.type}, got "{text}".') from None
