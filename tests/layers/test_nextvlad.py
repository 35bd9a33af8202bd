"""NeXtVLAD as a Keras layer; its numbers are those of test_nextvlad_golden.py."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.layers.layer_checks import check_layer, functional, save_and_load
from youtube8m_mod.layers import NeXtVLAD

N, G, K, FRAMES = 6, 3, 4, 7
CONFIG = {"groups": G, "clusters": K, "expansion": 2}
WIDTH = 2 * N
NORMS = G * K + WIDTH // G * K
INPUTS = np.random.default_rng(0).normal(size=(3, FRAMES, N)).astype(np.float32)
MASK = np.arange(FRAMES) < np.array([[7], [2], [4]])


def test_layer(bfloat16):
    expansion, attention, assignment = N * WIDTH + WIDTH, WIDTH * G + G, WIDTH * G * K
    centers = WIDTH // G * K
    check_layer(
        NeXtVLAD,
        CONFIG,
        [INPUTS],
        (None, WIDTH // G * K),
        expansion + attention + assignment + centers + 2 * NORMS,
        2 * NORMS,
    )


def test_saved_with_a_mask_as_input(tmp_path):
    frames, mask = keras.Input((None, N)), keras.Input((None,), dtype="bool")
    model = keras.Model([frames, mask], NeXtVLAD(**CONFIG)(frames, frame_mask=mask))
    loaded = save_and_load(model, tmp_path, [INPUTS, MASK])
    assert loaded.layers[-1].get_config() == model.layers[-1].get_config()


def test_masks_of_all_kinds_are_one(tmp_path):
    layer = NeXtVLAD(**CONFIG)
    expected = ops.convert_to_numpy(layer(INPUTS, MASK))
    given = {
        "frame_mask": layer(INPUTS, frame_mask=MASK),
        "mask": layer(INPUTS, mask=MASK),
        "both": layer(INPUTS, frame_mask=MASK, mask=np.ones_like(MASK)),
        "parts": layer(INPUTS, frame_mask=MASK | (np.arange(FRAMES) % 2 > 0), mask=MASK | (np.arange(FRAMES) % 2 == 0)),
    }
    for name, value in given.items():
        np.testing.assert_allclose(ops.convert_to_numpy(value), expected, atol=1e-6, err_msg=name)
    frames = keras.Input((None, N))
    masked = keras.Model([frames], layer(keras.layers.Masking()(frames)))
    absent = np.where(MASK[:, :, None], INPUTS, 0)
    np.testing.assert_allclose(ops.convert_to_numpy(masked([absent])), expected, atol=1e-6)
    save_and_load(masked, tmp_path, [absent])


def test_masked_frames_have_no_effect_and_the_mask_ends_here():
    layer = NeXtVLAD(**CONFIG)
    other = np.where(MASK[:, :, None], INPUTS, 100)
    first, second = (ops.convert_to_numpy(layer(frames, mask=MASK)) for frames in (INPUTS, other))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - ops.convert_to_numpy(layer(INPUTS))).max() > 1e-3
    assert layer.supports_masking and layer.compute_mask(INPUTS, MASK) is None


def test_no_frame_at_all():
    """A video all of whose frames are masked gives a vector without NaN."""
    assert np.isfinite(ops.convert_to_numpy(NeXtVLAD(**CONFIG)(INPUTS, mask=np.zeros_like(MASK)))).all()


def test_clusters_share_what_a_frame_gives():
    """Eq. 2 with one group and two alike clusters, each of which gets half of half (the attention) of every frame."""
    layer = NeXtVLAD(groups=1, clusters=2, expansion=1)
    layer.build((None, None, 2))
    layer.expansion_kernel.assign(np.eye(2))
    layer.attention_kernel.assign(np.zeros((2, 1)))
    layer.assignment_kernel.assign(np.zeros((2, 2)))
    layer.centers.assign([[[1.0, 0.0], [0.0, 0.0]]])
    output = ops.convert_to_numpy(layer(np.array([[[4.0, 0.0], [1.0, 8.0]]], np.float32)))
    # First cluster: ((4 - 1) + (1 - 1)) / 4 and (0 + 8) / 4; second: (4 + 1) / 4 and 8 / 4. Each is l2-normalised; the
    # batch norm at its start divides by sqrt(1 + 1e-3).
    first, second = (np.array(vector) / np.hypot(*vector) for vector in ((0.75, 2), (1.25, 2)))
    np.testing.assert_allclose(output, [np.stack([first, second], 1).reshape(-1) / np.sqrt(1.001)], rtol=1e-5)


@pytest.mark.parametrize(
    "config, shape, message",
    [
        ({"groups": 0}, None, "Expected groups to be a positive integer, got 0"),
        ({"clusters": 2.5}, None, "Expected clusters to be a positive integer, got 2.5"),
        ({"groups": 5}, (None, None, N), "6 features expanded by 2 to 12 must split into 5 groups"),
        ({"expansion": 0.1}, (None, None, N), "expanded by 0.1 to 0 must split"),
        ({}, (3, N), "expected ndim=3, found ndim=2"),
    ],
)
def test_errors(config, shape, message):
    with pytest.raises(ValueError, match=message):
        layer = NeXtVLAD(**CONFIG | config)
        layer(keras.KerasTensor(shape))


def test_errors_of_calls():
    layer = NeXtVLAD(**CONFIG)
    with pytest.raises(ValueError, match=r"Expected frame_mask of shape \(batch, frames\)"):
        layer(INPUTS, frame_mask=np.ones(3, bool))
    with pytest.raises(ValueError, match="Expected mask of shape"):
        layer(INPUTS, mask=np.ones((3, FRAMES + 1), bool))
    functional(layer, [INPUTS])
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 6"):
        layer(INPUTS[:, :, :5])
