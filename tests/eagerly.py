"""Functions run operation by operation."""

import contextlib

import tensorflow as tf


@contextlib.contextmanager
def eagerly():
    """A scope for runs too short to earn a graph."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)
