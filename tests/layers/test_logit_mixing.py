"""LogitMixing as a Keras layer, and its formula."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.layers.layer_checks import check_layer, functional, save_and_load
from youtube8m_mod.layers import LogitMixing

N, FRAMES, CLASSES, CHILDREN = 5, 4, 7, 3
RANDOM = np.random.default_rng(0)
FRAMES_IN = RANDOM.normal(size=(6, FRAMES, N)).astype(np.float32)
LOGITS = [RANDOM.normal(size=(6, CLASSES)).astype(np.float32) for _ in range(CHILDREN)]
MASK = np.arange(FRAMES) < np.array([[4], [2], [3], [1], [4], [2]])


def test_layer(bfloat16):
    check_layer(
        LogitMixing,
        {"children": CHILDREN},
        [FRAMES_IN, LOGITS],
        ((None, CLASSES), (None, CHILDREN)),
        N * CHILDREN + CHILDREN + 2 * N,
        2 * N,
        dtype="float32",
    )


def test_saved(tmp_path):
    model = functional(LogitMixing(CHILDREN, momentum=0.5), [FRAMES_IN, LOGITS])
    loaded = save_and_load(model, tmp_path, [FRAMES_IN, *LOGITS])
    assert loaded.layers[-1].momentum == 0.5


def test_equal_weights_at_first_sight_of_nothing():
    """Frames of zeros: every child weighs 1/3, and the mixture is the mean of the logits."""
    logits, weights = LogitMixing(CHILDREN)(np.zeros_like(FRAMES_IN), LOGITS)
    np.testing.assert_allclose(ops.convert_to_numpy(weights), np.full((6, 3), 1 / 3), rtol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(logits), np.mean(LOGITS, axis=0), atol=1e-6)


@pytest.mark.parametrize("mask", [None, MASK], ids=["all frames", "masked"])
def test_formula(mask):
    layer = LogitMixing(CHILDREN)
    logits, weights = map(ops.convert_to_numpy, layer(FRAMES_IN, LOGITS, mask=mask))
    kept = np.ones((6, FRAMES, 1)) if mask is None else mask[..., None]
    mean = (FRAMES_IN * kept).sum(1) / kept.sum(1) / np.sqrt(1.001)
    expected = np.exp(mean @ ops.convert_to_numpy(layer.kernel))
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(weights, expected, rtol=1e-4)
    np.testing.assert_allclose(logits, np.einsum("be,ebc->bc", expected, LOGITS), rtol=1e-4, atol=1e-5)


def test_mask_from_the_layer_before():
    layer = LogitMixing(CHILDREN)
    frames, logits = keras.Input((None, N)), [keras.Input((CLASSES,)) for _ in LOGITS]
    model = keras.Model([frames, *logits], layer(keras.layers.Masking()(frames), logits))
    absent = np.where(MASK[..., None], FRAMES_IN, 0)
    for ours, expected in zip(model([absent, *LOGITS]), layer(FRAMES_IN, LOGITS, mask=MASK)):
        np.testing.assert_allclose(ops.convert_to_numpy(ours), ops.convert_to_numpy(expected), atol=1e-5)
    assert layer.compute_mask([FRAMES_IN, LOGITS], MASK) is None


def test_errors():
    with pytest.raises(ValueError, match="Expected children to be a positive integer, got -1"):
        LogitMixing(-1)
    for frames, logits in (
        (FRAMES_IN, LOGITS[:2]),
        (keras.Input((None, N)), [keras.Input((CLASSES,)) for _ in range(2)]),
    ):
        with pytest.raises(ValueError, match="Expected the logits of 3 children, got 2"):
            LogitMixing(CHILDREN)(frames, logits)
    with pytest.raises(ValueError, match=r"Expected logits of one shape \(batch, classes\), got shapes"):
        LogitMixing(CHILDREN)(FRAMES_IN, [*LOGITS[:2], LOGITS[2][:, :1]])
    with pytest.raises(ValueError, match=r"Expected frames of shape \(batch, frames, features\), got shape \(6, 5\)"):
        LogitMixing(CHILDREN)(FRAMES_IN[:, 0], LOGITS)
