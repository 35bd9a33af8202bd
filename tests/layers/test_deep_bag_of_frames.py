"""DeepBagOfFrames as a Keras layer, and the frames that it draws; its numbers are those of test_dbof_golden.py."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.layers.layer_checks import check_layer, functional, save_and_load
from youtube8m_mod.layers import DeepBagOfFrames

N, FRAMES, CLUSTERS, H, SAMPLED = 5, 8, 6, 4, 3
CONFIG = {"clusters": CLUSTERS, "hidden_size": H, "sampled_frames": SAMPLED, "seed": 1}
INPUTS = np.random.default_rng(0).normal(size=(3, FRAMES, N)).astype(np.float32)
NUM_FRAMES = np.array([8, 3, 1], np.int32)
MASK = np.arange(FRAMES) < NUM_FRAMES[:, None]


def test_layer(bfloat16):
    norms = N + CLUSTERS + H
    check_layer(DeepBagOfFrames, CONFIG, [INPUTS], (None, H), N * CLUSTERS + CLUSTERS * H + 2 * norms, 2 * norms)


def test_saved(tmp_path):
    save_and_load(functional(DeepBagOfFrames(**CONFIG, pooling="average"), [INPUTS]), tmp_path, [INPUTS])


def test_frames_at_even_distances():
    """Of 8 frames, those in which 1/6, 3/6 and 5/6 of the video lie."""
    layer = DeepBagOfFrames(**CONFIG)
    expected = ops.convert_to_numpy(layer(INPUTS, frame_index=np.tile([[1, 4, 6]], (3, 1))))
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(INPUTS)), expected)
    short = layer(INPUTS, frame_index=np.array([[1, 4, 6], [0, 1, 2], [0, 0, 0]]))
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(INPUTS, NUM_FRAMES)), ops.convert_to_numpy(short))


@pytest.mark.parametrize("training", [False, True])
def test_mask_and_number_of_frames_are_one(training):
    first, second = DeepBagOfFrames(**CONFIG), DeepBagOfFrames(**CONFIG)
    second.build((None, None, N))
    first.build((None, None, N))
    second.set_weights(first.get_weights())
    expected = first(INPUTS, num_frames=NUM_FRAMES, training=training)
    masked = second(INPUTS, mask=MASK, training=training)
    np.testing.assert_allclose(ops.convert_to_numpy(masked), ops.convert_to_numpy(expected), atol=1e-6)


def test_any_mask():
    """Only frames that the mask keeps are drawn, wherever they stand."""
    layer = DeepBagOfFrames(**CONFIG)
    mask = np.zeros((3, FRAMES), bool)
    mask[:, [2, 5, 7]] = True
    expected = ops.convert_to_numpy(layer(INPUTS, frame_index=np.tile([[2, 5, 7]], (3, 1))))
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(INPUTS, mask=mask)), expected)
    both = layer(INPUTS, mask=mask, num_frames=np.array([6, 6, 6]))
    expected = layer(INPUTS, frame_index=np.tile([[2, 5, 5]], (3, 1)))
    np.testing.assert_array_equal(ops.convert_to_numpy(both), ops.convert_to_numpy(expected))
    absent = np.where(mask[..., None], INPUTS, 0)
    frames = keras.Input((None, N))
    masked = keras.Model(frames, layer(keras.layers.Masking()(frames)))
    np.testing.assert_array_equal(ops.convert_to_numpy(masked(absent)), ops.convert_to_numpy(layer(INPUTS, mask=mask)))
    assert layer.compute_mask(INPUTS, mask) is None


def test_the_seed_is_that_of_the_drawing():
    def drawn(seed):
        layer = DeepBagOfFrames(**CONFIG | {"seed": seed})
        layer.build((None, None, N))
        layer.set_weights(weights)
        return ops.convert_to_numpy(layer(INPUTS, training=True))

    layer = DeepBagOfFrames(**CONFIG)
    layer.build((None, None, N))
    weights = layer.get_weights()
    np.testing.assert_array_equal(drawn(1), drawn(1))
    assert np.abs(drawn(1) - drawn(2)).max() > 1e-4


def test_frames_of_zeros_have_no_direction():
    assert np.isfinite(ops.convert_to_numpy(DeepBagOfFrames(**CONFIG)(np.zeros_like(INPUTS)))).all()


def test_errors():
    with pytest.raises(ValueError, match='Expected activation "sigmoid" or "relu6" and pooling "max" or "average"'):
        DeepBagOfFrames(**CONFIG, activation="tanh")
    with pytest.raises(ValueError, match="Expected sampled_frames to be a positive integer, got 0"):
        DeepBagOfFrames(**CONFIG | {"sampled_frames": 0})
    with pytest.raises(ValueError, match="expected ndim=3, found ndim=2"):
        DeepBagOfFrames(**CONFIG)(INPUTS[0])
