"""The initializer of the original's layers."""

import contextlib
import contextvars
from collections.abc import Iterator

import keras
from keras import ops

# Keras divides by the standard deviation of a normal truncated at two sigma; slim multiplies the variance by 1.3.
_TRUNCATED_STDDEV = 0.87962566103423978
_drawn = contextvars.ContextVar("drawn", default=True)


class _VarianceScaling(keras.initializers.VarianceScaling):
    def __call__(self, shape, dtype=None):
        return super().__call__(shape, dtype) if _drawn.get() else ops.zeros(shape, dtype)


def slim_variance_scaling() -> keras.initializers.VarianceScaling:
    """A truncated normal of stddev sqrt(1.3 * 2 / fan_in) before truncation, as tf.contrib.slim's default."""
    return _VarianceScaling(2 * 1.3 * _TRUNCATED_STDDEV**2, mode="fan_in", distribution="truncated_normal")


@contextlib.contextmanager
def overwritten() -> Iterator[None]:
    """A scope for a model that a checkpoint is about to give its weights: they are zeros, for nothing is drawn."""
    token = _drawn.set(False)
    try:
        yield
    finally:
        _drawn.reset(token)
