"""Where folding takes its weights from: a model in memory, or a checkpoint, of which one weight at a time is read."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from youtube8m_mod.training import checkpoint_store, checkpoints

if TYPE_CHECKING:
    from youtube8m_mod.models.mod import MOD


class Weights:
    """Weights by name, below a path of the model.

    Args:
        read: a function (path, shape) -> float32 array.
        path: what stands before each name; ends with a slash, or is empty.
    """

    def __init__(self, read: Callable[[str, tuple[int, ...]], np.ndarray], path: str = ""):
        self._read, self.path = read, path

    def __call__(self, name: str, *shape: int) -> np.ndarray:
        """The float32 array of a weight; `shape` is what it must have."""
        return self._read(f"{self.path}{name}", shape)

    def below(self, name: str) -> "Weights":
        """The `Weights` one name further down."""
        return Weights(self._read, f"{self.path}{name}/")


def model_weights(model: "MOD") -> Weights:
    """The `Weights` of a `MOD`."""
    variables = checkpoints.model_variables(model)
    return Weights(lambda path, shape: tf.ensure_shape(variables[path], shape).numpy())


def checkpoint_weights(*prefixes: str) -> Weights:
    """The `Weights` of a checkpoint, by the prefix of its files, or the means of several.

    Where training averaged the weights, these are the averages. Errors are those of `checkpoint_store.read_chosen`.
    """
    stored = checkpoint_store.StoredVariables(*prefixes, averages=True)
    return Weights(lambda path, shape: stored.read(f"model/{path}", shape))
