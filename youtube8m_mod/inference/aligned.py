"""Memory as TensorFlow wants it: an array that begins at a multiple of 64 bytes becomes a tensor without a copy."""

import math
from collections.abc import Sequence

import numpy as np

_ALIGNMENT = 64  # Bytes.


def aligned(shape: Sequence[int], value: np.ndarray | None = None) -> np.ndarray:
    """A float32 array of the shape, not filled or a copy of `value`."""
    size = math.prod(shape)
    memory = np.empty(size + _ALIGNMENT // 4, np.float32)
    start = -memory.ctypes.data % _ALIGNMENT // 4
    array = memory[start : start + size].reshape(shape)
    if value is not None:
        array[...] = value
    return array
