"""BatchNormalization with the original's settings, and its accident."""

import numpy as np
import pytest
from keras import ops

from tests.layers.layer_checks import check_layer, functional, save_and_load
from youtube8m_mod.layers import BatchNormalization

INPUTS = np.random.default_rng(0).normal(1, 2, size=(5, 3)).astype(np.float32)


def test_layer(bfloat16):
    check_layer(BatchNormalization, {"unbiased_moving_variance": True}, [INPUTS], (None, 3), 6, 6)


def test_saved(tmp_path):
    loaded = save_and_load(functional(BatchNormalization(True, 0.5), [INPUTS]), tmp_path, [INPUTS])
    assert loaded.layers[-1].unbiased_moving_variance and loaded.layers[-1].momentum == 0.5


@pytest.mark.parametrize("unbiased, ddof", [(False, 0), (True, 1)])
@pytest.mark.parametrize("mask", [None, np.array([True, True, False, True, False])], ids=["all rows", "masked"])
def test_moving_averages(unbiased, ddof, mask):
    layer = BatchNormalization(unbiased, momentum=0.9)
    layer(INPUTS, training=True, mask=mask)
    rows = INPUTS if mask is None else INPUTS[mask]
    np.testing.assert_allclose(ops.convert_to_numpy(layer.moving_mean), 0.1 * rows.mean(0), rtol=1e-5)
    expected = 0.9 + 0.1 * rows.var(0, ddof=ddof)
    np.testing.assert_allclose(ops.convert_to_numpy(layer.moving_variance), expected, rtol=1e-5)


def test_settings_of_the_original():
    layer = BatchNormalization()
    assert (layer.momentum, layer.epsilon) == (0.999, 1e-3)
