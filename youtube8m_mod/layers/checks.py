"""Checks of what layers are given."""

from collections.abc import Sequence
from typing import Any

from keras import ops


def check_positive(**values: int) -> None:
    """Raises `ValueError` where an argument is no positive integer."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"Expected {name} to be a positive integer, got {value!r}.")


def combine_masks(inputs: Any, masks: dict[str, Any]) -> Any:
    """The frames that all of the masks keep, bool `(batch, frames)`; None where there is no mask.

    Args:
        inputs: `(batch, frames, ...)`.
        masks: {name of the argument: `(batch, frames)`, or None}.
    """
    combined = None
    for name, mask in masks.items():
        if mask is None:
            continue
        mask = ops.cast(ops.convert_to_tensor(mask), "bool")
        if not _compatible(mask.shape, inputs.shape[:2]):
            raise ValueError(
                f"Expected {name} of shape (batch, frames) for inputs of shape {tuple(inputs.shape)}, got shape "
                f"{tuple(mask.shape)}."
            )
        combined = mask if combined is None else ops.logical_and(combined, mask)
    return combined


def _compatible(shape: Sequence[int | None], expected: Sequence[int | None]) -> bool:
    return len(shape) == len(expected) and all(
        None in (own, other) or own in (1, other) for own, other in zip(shape, expected)
    )
