"""Projection as a Keras layer; `project` gives the product and its gradients, of few rows without rounding."""

import keras
import numpy as np
import pytest
from keras import ops

from tests import backend
from tests.layers.layer_checks import check_layer, functional, save_and_load
from youtube8m_mod.layers.projection import Projection, project

FEW, MANY, SIZE, UNITS = 6, 60, 50, 7
# Sums of at most 60 terms of about 1 are taken in float32, whatever the processor.
SUM = 1e-5
# The result has 8 significant bits. oneDNN rounds it to the nearest (half a unit in the last place, 2^-8 of the value);
# TensorFlow's own kernel, on processors without bfloat16 arithmetic, cuts the rest off (one unit).
ONE_UNIT = 2**-7


def product_and_gradients(dtype, rows):
    """(ours, the same in float64 from the same rounded factors), each (product, of the inputs, of the kernel)."""
    random = np.random.default_rng(2)
    inputs, kernel, upstream = (random.normal(size=shape) for shape in ((rows, SIZE), (SIZE, UNITS), (rows, UNITS)))
    inputs, kernel = keras.Variable(inputs, dtype=dtype), keras.Variable(kernel, dtype="float32")
    upstream = ops.cast(upstream, dtype)
    product = project(inputs.value, kernel)
    gradients = backend.gradients(lambda: ops.sum(project(inputs.value, kernel) * upstream), [inputs, kernel])
    dtypes = [keras.backend.standardize_dtype(tensor.dtype) for tensor in (product, *gradients)]
    assert dtypes == [dtype, dtype, "float32"]
    x, w, dy = (as_float64(ops.cast(factor, dtype)) for factor in (inputs, kernel, upstream))
    return [as_float64(tensor) for tensor in (product, *gradients)], [x @ w, dy @ w.T, x.T @ dy]


def as_float64(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float32")).astype(np.float64)


@pytest.mark.parametrize("rows", [FEW, MANY])
def test_float32(rows):
    for ours, exact in zip(*product_and_gradients("float32", rows)):
        np.testing.assert_allclose(ours, exact, atol=1e-4)


def test_bfloat16_rounds_the_gradient_of_the_kernel_only_where_rows_are_many(bfloat16):
    for rows in FEW, MANY:
        ours, exact = product_and_gradients("bfloat16", rows)
        for value, expected in zip(ours, exact):
            np.testing.assert_allclose(value, expected, rtol=ONE_UNIT, atol=SUM)
        difference = np.abs(ours[2] - exact[2]).max()
        assert difference <= SUM if rows == FEW else difference > 1e-3


INPUTS = np.random.default_rng(0).normal(size=(FEW, SIZE)).astype(np.float32)


def test_layer(bfloat16):
    check_layer(Projection, {"units": UNITS}, [INPUTS], (None, UNITS), SIZE * UNITS)


def test_saved(tmp_path):
    model = functional(Projection(UNITS, name="hidden"), [INPUTS])
    loaded = save_and_load(model, tmp_path, [INPUTS])
    kernel = ops.convert_to_numpy(loaded.layers[-1].kernel)
    np.testing.assert_allclose(ops.convert_to_numpy(loaded([INPUTS])), INPUTS @ kernel, atol=1e-4)
    assert loaded.layers[-1].kernel.path == "hidden/kernel"


def test_the_kernel_stays_float32():
    layer = Projection(UNITS, dtype="mixed_bfloat16")
    layer.build((None, SIZE))
    assert layer.kernel.dtype == "float32"


def test_errors():
    with pytest.raises(ValueError, match="Expected units to be a positive integer, got 0"):
        Projection(0)
    with pytest.raises(ValueError, match="expected ndim=2, found ndim=3"):
        Projection(UNITS)(INPUTS[:, None])
