"""ContextGating as a Keras layer, and its formula."""

import numpy as np
import pytest
from keras import ops

from tests.layers.layer_checks import check_layer, functional, save_and_load
from youtube8m_mod.layers import ContextGating

H, R = 8, 4
INPUTS = np.random.default_rng(0).normal(size=(5, H)).astype(np.float32)


def test_layer(bfloat16):
    check_layer(ContextGating, {"reduction": R}, [INPUTS], (None, H), 2 * H * H // R + 2 * H // R, 2 * H // R)


def test_saved(tmp_path):
    layer = ContextGating(R, unbiased_moving_variance=True, momentum=0.9)
    loaded = save_and_load(functional(layer, [INPUTS]), tmp_path, [INPUTS])
    assert loaded.layers[-1].norm.unbiased_moving_variance and loaded.layers[-1].norm.momentum == 0.9


def test_formula():
    layer = ContextGating(R)
    output = ops.convert_to_numpy(layer(INPUTS))
    squeeze, excite = (ops.convert_to_numpy(weight) for weight in (layer.squeeze, layer.excite))
    gates = np.maximum(INPUTS @ squeeze / np.sqrt(1.001), 0) @ excite
    np.testing.assert_allclose(output, INPUTS / (1 + np.exp(-gates)), rtol=1e-4, atol=1e-6)


def test_half_open_gates():
    """Without weights, every gate is sigmoid(0) = 1/2."""
    layer = ContextGating(R)
    layer.build((None, H))
    layer.squeeze.assign(np.zeros((H, H // R)))
    np.testing.assert_allclose(ops.convert_to_numpy(layer(INPUTS)), INPUTS / 2, rtol=1e-6)


@pytest.mark.parametrize(
    "reduction, inputs, message",
    [
        (0, INPUTS, "Expected reduction to be a positive integer, got 0"),
        (9, INPUTS, "Expected at least 9 features to reduce, got input shape"),
        (R, INPUTS[:, None], "expected ndim=2, found ndim=3"),
    ],
)
def test_errors(reduction, inputs, message):
    with pytest.raises(ValueError, match=message):
        ContextGating(reduction)(inputs)
