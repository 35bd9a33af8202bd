"""The initializer of the original's layers."""

import concurrent.futures
import contextlib
import contextvars
import functools
import math
import statistics
from collections.abc import Iterator

import keras
import numpy as np
from keras import ops

# Keras divides by the standard deviation of a normal truncated at two sigma; slim multiplies the variance by 1.3.
_TRUNCATED_STDDEV = 0.87962566103423978
_LEVELS = 1 << 16
_CHUNK = 1 << 20  # Numbers of one stream.
_CACHED = 1 << 15  # Numbers that stay in a processor's cache beside the levels.
_drawn = contextvars.ContextVar("drawn", default=True)


class _VarianceScaling(keras.initializers.VarianceScaling):
    """Keras' initializer with numbers of NumPy, which cost a fraction of TensorFlow's: a full model draws a billion."""

    def __call__(self, shape, dtype=None):
        if not _drawn.get():
            return ops.zeros(shape, dtype)
        stddev = math.sqrt(self.scale / math.prod(shape[:-1])) / _TRUNCATED_STDDEV
        # The product is the backend's own memory. A weight that lay in NumPy's would be copied at its first update.
        return ops.cast(ops.multiply(_truncated_normal(shape, self.seed), np.float32(stddev)), dtype or "float32")


def slim_variance_scaling() -> keras.initializers.VarianceScaling:
    """A truncated normal of stddev sqrt(1.3 * 2 / fan_in) before truncation, as tf.contrib.slim's default.

    It has 65,536 values, as likely as each other. A seed gives the same numbers under every backend of Keras and on any
    number of cores.
    """
    return _VarianceScaling(2 * 1.3 * _TRUNCATED_STDDEV**2, mode="fan_in", distribution="truncated_normal")


@functools.cache
def _levels():
    """Float32 medians of `_LEVELS` equally likely parts of the normal distribution between -2 and 2, ascending."""
    normal = statistics.NormalDist()
    shares = normal.cdf(-2) + (normal.cdf(2) - normal.cdf(-2)) * (np.arange(_LEVELS) + 0.5) / _LEVELS
    return np.array([normal.inv_cdf(share) for share in shares], np.float32)


def _truncated_normal(shape, seed):
    """Float32 numbers of a normal distribution between -2 and 2; threads share the chunks."""
    numbers = np.empty(math.prod(shape), np.float32)
    chunks = [numbers[start : start + _CHUNK] for start in range(0, numbers.size, _CHUNK)]
    seeds = np.random.SeedSequence(seed).spawn(len(chunks))
    if len(chunks) == 1:
        _draw(chunks[0], seeds[0])
    else:
        with concurrent.futures.ThreadPoolExecutor() as threads:
            list(threads.map(_draw, chunks, seeds))
    return numbers.reshape(shape)


def _draw(chunk, seed):
    drawn = np.random.PCG64(seed).random_raw(-(-chunk.size // 4)).view(np.uint16)
    for start in range(0, chunk.size, _CACHED):
        part = chunk[start : start + _CACHED]
        # Every number has its level: `clip` only spares NumPy the buffer in which it would look for one without.
        np.take(_levels(), drawn[start : start + part.size], out=part, mode="clip")


@contextlib.contextmanager
def overwritten() -> Iterator[None]:
    """A scope for a model that a checkpoint is about to give its weights: they are zeros, for nothing is drawn."""
    token = _drawn.set(False)
    try:
        yield
    finally:
        _drawn.reset(token)
