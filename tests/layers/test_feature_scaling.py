"""FeatureScaling as a Keras layer, and its formula."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.layers.layer_checks import check_layer, functional, save_and_load
from youtube8m_mod.errors import UserError
from youtube8m_mod.layers import FeatureScaling

N, WHITENED = 6, 4
RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (3, 7, N), np.uint8)
FLOATS = RANDOM.uniform(-2, 2, (3, 7, N)).astype(np.float32)
PRESENT = np.array([7, 0, 4], np.int32)


@pytest.mark.parametrize("features", [BYTES, FLOATS], ids=["uint8", "float32"])
def test_layer(features, bfloat16):
    check_layer(FeatureScaling, {"whitened_size": WHITENED}, [features], (None, None, N), 0, N, gradients=False)


def test_saved_with_its_eigenvalues(tmp_path):
    layer = FeatureScaling(WHITENED)
    model = functional(layer, [BYTES])
    layer.set_eigenvalues([4.0, 1.0, 0.25, 0.0])
    loaded = save_and_load(model, tmp_path, [BYTES])
    scale = ops.convert_to_numpy(loaded.layers[-1].scale)
    np.testing.assert_allclose(scale, [2.0001, 1.0001, 0.5001, 0.0001, 1, 1], rtol=1e-6)


@pytest.mark.parametrize("quantized", [True, False], ids=["uint8", "float32"])
def test_formula(quantized):
    layer, scale = FeatureScaling(WHITENED), RANDOM.random(N) + 0.5
    layer.build((None, None, N))
    layer.scale.assign(scale)
    expected = BYTES * (4 / 255) + 4 / 512 - 2 if quantized else FLOATS.astype(np.float64)
    expected = expected * (np.arange(7) < PRESENT[:, None])[..., None]
    expected = (expected - np.where(np.arange(N) < WHITENED, 4 / 512, 0)) * scale
    output = ops.convert_to_numpy(layer(BYTES if quantized else FLOATS, PRESENT))
    np.testing.assert_allclose(output, expected, atol=1e-5)


def test_ends_of_the_range():
    """Byte 0 is -2 + 4/512, byte 255 is 2 + 4/512."""
    output = ops.convert_to_numpy(FeatureScaling(0)(np.array([[[0, 255]]], np.uint8)))
    np.testing.assert_allclose(output, [[[-2 + 4 / 512, 2 + 4 / 512]]], rtol=1e-6)


def test_a_mask_passes_on():
    frames = keras.Input((None, N))
    layer = FeatureScaling(WHITENED)
    scaled = layer(keras.layers.Masking()(frames))
    mean = keras.layers.GlobalAveragePooling1D()(scaled)
    absent = np.where((np.arange(7) < 3)[:, None], FLOATS, 0).astype(np.float32)
    output = ops.convert_to_numpy(keras.Model(frames, mean)(absent))
    np.testing.assert_allclose(output, ops.convert_to_numpy(layer(FLOATS))[:, :3].mean(1), atol=1e-5)


def test_errors():
    with pytest.raises(ValueError, match="Expected at least 9 features, got input shape"):
        FeatureScaling(9)(BYTES)
    layer = FeatureScaling(WHITENED)
    layer.build((None, None, N))
    for eigenvalues in (np.ones(3), -np.ones(4), np.ones((2, 2)), np.array(["a"] * 4), np.full(4, np.nan)):
        with pytest.raises(UserError, match="PCA eigenvalues must be an array of at least 4 numbers >= 0"):
            layer.set_eigenvalues(eigenvalues)
