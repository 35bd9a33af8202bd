"""`batch_norm_momentum` reaches every batch norm of the tree."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from youtube8m_mod.config import PHASES, ModelConfig
from youtube8m_mod.models.mod import MOD

CONFIG = ModelConfig(
    "small",
    branching=(2, 2),
    feature_sizes=(8, 4),
    num_classes=5,
    groups=2,
    clusters=4,
    hidden_size=8,
    gating_reduction=2,
    max_frames=6,
)


def averages_after_a_step(config, momentum):
    """{path: value} of all moving averages that began at 0 and 1."""
    phase = dataclasses.replace(PHASES["pretrain"], batch_size=4, dropout=0.0, batch_norm_momentum=momentum)
    random = np.random.default_rng(1)
    keras.utils.set_random_seed(0)
    model = MOD.for_phase(config, phase)
    model.losses_and_gradients(
        {
            "features": tf.constant(random.normal(size=(4, config.max_frames, 12)), tf.float32),
            "labels": tf.constant(random.random((4, 5)) < 0.4),
        }
    )
    return {variable.path: variable.numpy() for variable in model.variables if "moving_" in variable.path}


@pytest.mark.parametrize(
    "config, norms",
    [
        # A leaf has two poolings of two norms, the hidden and the gating norm; there are three mixing nets.
        (CONFIG, 4 * 6 + 3),
        (dataclasses.replace(CONFIG, branching=(), pooling="dbof", sampled_frames=4), 3),
    ],
)
def test_all_averages_take_their_share(config, norms):
    at_once, half = averages_after_a_step(config, 0.0), averages_after_a_step(config, 0.5)
    assert len(at_once) == len(half) == 2 * norms
    for path, value in at_once.items():
        start = 0 if path.endswith("moving_mean") else 1
        assert np.any(value != start), path
        if "dbof" not in config.pooling:  # Its sampling draws other frames each time.
            np.testing.assert_allclose(half[path], 0.5 * start + 0.5 * value, rtol=1e-4, atol=1e-6, err_msg=path)
        assert np.any(half[path] != start), path
