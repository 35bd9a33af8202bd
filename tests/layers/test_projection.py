"""`project` gives the product and its gradients; with few rows, the kernel's gradient is not rounded."""

import numpy as np
import pytest
import tensorflow as tf

from youtube8m_mod.layers.projection import Projection, project

FEW, MANY, SIZE, UNITS = 6, 60, 50, 7
# Sums are taken in float32, on all processors; at most 50 terms of about 1.
SUM = 1e-5
# The result has 8 significant bits. oneDNN rounds it to the nearest (half a unit in the last place, 2^-8 of the value);
# TensorFlow's own kernel, on processors without bfloat16 arithmetic, cuts the rest off (one unit).
ONE_UNIT = 2**-7


def product_and_gradients(dtype, rows):
    """(ours, the same in float64 from the same rounded factors), each (product, of the inputs, of the kernel)."""
    random = np.random.default_rng(2)
    inputs, kernel, upstream = (random.normal(size=shape) for shape in ((rows, SIZE), (SIZE, UNITS), (rows, UNITS)))
    inputs, upstream = tf.cast(inputs, dtype), tf.cast(upstream, dtype)
    kernel = tf.Variable(kernel, dtype=tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        product = project(inputs, kernel)
    gradients = tape.gradient(product, [inputs, kernel], output_gradients=upstream)
    assert product.dtype == gradients[0].dtype == dtype and gradients[1].dtype == tf.float32
    x, w, dy = (tf.cast(tf.cast(factor, dtype), tf.float64).numpy() for factor in (inputs, kernel, upstream))
    return [tensor.numpy().astype(np.float64) for tensor in (product, *gradients)], [x @ w, dy @ w.T, x.T @ dy]


@pytest.mark.parametrize("rows", [FEW, MANY])
def test_float32(rows):
    for ours, exact in zip(*product_and_gradients(tf.float32, rows)):
        np.testing.assert_allclose(ours, exact, atol=SUM)


def test_bfloat16_rounds_the_gradient_of_the_kernel_only_where_rows_are_many():
    for rows, tolerance in (FEW, 1e-5), (MANY, 1e-1):
        ours, exact = product_and_gradients(tf.bfloat16, rows)
        for value, expected in zip(ours, exact):
            np.testing.assert_allclose(value, expected, rtol=2**-8, atol=5e-2)
        np.testing.assert_allclose(ours[2], exact[2], atol=tolerance)
        assert (np.abs(ours[2] - exact[2]).max() > 1e-3) == (rows == MANY)


def test_layer_keeps_its_settings(bfloat16):
    layer = Projection(UNITS, dtype="mixed_bfloat16", name="hidden")
    again = Projection.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert again(np.ones((2, SIZE), np.float32)).dtype == tf.bfloat16
    assert again.kernel.dtype == "float32" and again.kernel.path == "hidden/kernel"
