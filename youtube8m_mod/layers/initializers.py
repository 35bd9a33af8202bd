"""The initializer of the original's layers."""

import concurrent.futures
import contextlib
import contextvars
import math
from collections.abc import Iterator

import keras
import numpy as np
from keras import ops

from youtube8m_mod.aligned import aligned

# Keras divides by the standard deviation of a normal truncated at two sigma; slim multiplies the variance by 1.3.
_TRUNCATED_STDDEV = 0.87962566103423978
_CHUNK = 1 << 20  # Numbers of one stream.
_drawn = contextvars.ContextVar("drawn", default=True)


class _VarianceScaling(keras.initializers.VarianceScaling):
    """Keras' initializer with numbers of NumPy, which cost half of TensorFlow's: a full model draws a billion."""

    def __call__(self, shape, dtype=None):
        if not _drawn.get():
            return ops.zeros(shape, dtype)
        stddev = math.sqrt(self.scale / math.prod(shape[:-1])) / _TRUNCATED_STDDEV
        return ops.convert_to_tensor(_truncated_normal(shape, stddev, self.seed), dtype)


def slim_variance_scaling() -> keras.initializers.VarianceScaling:
    """A truncated normal of stddev sqrt(1.3 * 2 / fan_in) before truncation, as tf.contrib.slim's default.

    A seed gives the same numbers under every backend of Keras and on any number of cores.
    """
    return _VarianceScaling(2 * 1.3 * _TRUNCATED_STDDEV**2, mode="fan_in", distribution="truncated_normal")


def _truncated_normal(shape, stddev, seed):
    """Float32 numbers of a normal distribution without those beyond two stddev; threads share the chunks."""
    weight = aligned(shape)
    numbers = weight.reshape(-1)
    chunks = [numbers[start : start + _CHUNK] for start in range(0, numbers.size, _CHUNK)]

    def draw(chunk, seed):
        stream = np.random.default_rng(seed)
        stream.standard_normal(out=chunk, dtype=np.float32)
        beyond = np.flatnonzero(np.abs(chunk) > 2)
        while beyond.size:
            chunk[beyond] = stream.standard_normal(beyond.size, dtype=np.float32)
            beyond = beyond[np.abs(chunk[beyond]) > 2]
        chunk *= stddev

    seeds = np.random.SeedSequence(seed).spawn(len(chunks))
    with concurrent.futures.ThreadPoolExecutor() as threads:
        list(threads.map(draw, chunks, seeds))
    return weight


@contextlib.contextmanager
def overwritten() -> Iterator[None]:
    """A scope for a model that a checkpoint is about to give its weights: they are zeros, for nothing is drawn."""
    token = _drawn.set(False)
    try:
        yield
    finally:
        _drawn.reset(token)
