"""The original's accidents (docs/fidelity.md): what `original_accidents` gives back, and what training does without."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from youtube8m_mod import losses
from youtube8m_mod.config import PHASES, ModelConfig
from youtube8m_mod.models.mod import MOD

CONFIG = ModelConfig(
    "small",
    branching=(3, 2),
    feature_sizes=(8, 4),
    num_classes=5,
    groups=2,
    clusters=4,
    hidden_size=8,
    gating_reduction=2,
    max_frames=6,
)
ROWS = 4


def batch():
    random = np.random.default_rng(1)
    return {
        "features": tf.constant(random.normal(size=(ROWS, CONFIG.max_frames, 12)), tf.float32),
        "labels": tf.constant(random.random((ROWS, 5)) < 0.4),
    }


def model(accidents, branching=CONFIG.branching):
    phase = dataclasses.replace(PHASES["pretrain"], batch_size=ROWS, dropout=0.0, original_accidents=accidents)
    return MOD.for_phase(dataclasses.replace(CONFIG, branching=branching), phase)


def gating_norm(model, path):
    """(moving mean, moving variance) of a leaf's gating after one step from 0 and 1."""
    norm = model.node(path).gating.norm
    return norm.moving_mean.numpy(), norm.moving_variance.numpy()


def test_cumulative_l2():
    for accidents, times in ((True, [3, 2, 1]), (False, [1, 1, 1])):
        small = model(accidents)
        terms, *_ = small.losses_and_gradients(batch())
        for index, subtree in enumerate(small.subtrees):
            once = losses.l2_penalty(subtree.regularized_weights, small.recipe.l2_penalty)
            np.testing.assert_allclose(terms[f"l2/{index}"], times[index] * once, rtol=1e-6)


def test_averages_of_the_root():
    for accidents in (True, False):
        small = model(accidents)
        small.losses_and_gradients(batch())
        root, tower = small.root.mixing.norm, small.root.nodes[0].mixing.norm
        assert np.any(root.moving_mean.numpy()) != accidents
        assert np.any(tower.moving_mean.numpy())  # Those of the mixtures below always learn.


def test_a_mixture_without_towers_learns_its_averages():
    small = model(accidents=True, branching=(2,))
    small.losses_and_gradients(batch())
    assert np.any(small.root.mixing.norm.moving_mean.numpy())


@pytest.mark.parametrize("branching, path", [((3, 2), "0/0"), ((), "")])
def test_unbiased_variance_of_the_gating(branching, path):
    """Bessel's correction with it, in mixtures only; the original's single model has no such batch norm."""
    small = model(True, branching)
    plain = model(False, branching)
    for ours, theirs in zip(plain.variables, small.variables):
        ours.assign(theirs)
    for each in (small, plain):
        each.losses_and_gradients(batch())
    mean, variance = gating_norm(small, path)
    plain_mean, plain_variance = gating_norm(plain, path)
    np.testing.assert_allclose(mean, plain_mean, rtol=1e-6)
    correction = ROWS / (ROWS - 1) if branching else 1
    np.testing.assert_allclose((variance - 0.999) / (plain_variance - 0.999), correction, rtol=1e-2)


@pytest.mark.parametrize("accidents", [True, False])
def test_unbiased_variance_of_the_deep_bag_of_frames(accidents):
    config = ModelConfig(
        "bag",
        pooling="dbof",
        feature_sizes=(8, 4),
        num_classes=5,
        clusters=4,
        hidden_size=8,
        gating_reduction=2,
        max_frames=6,
    )
    bag = MOD.for_phase(config, dataclasses.replace(PHASES["pretrain"], original_accidents=accidents)).root.bag
    assert [norm.unbiased_moving_variance for norm in (bag.input_norm, bag.cluster_norm, bag.hidden_norm)] == [
        accidents
    ] * 3


def test_dropout_of_zero_is_none():
    """The original takes drop_rate=0 for its default 0.5."""
    small = model(accidents=True)
    first, second = (small.tree(batch(), training=True).logits for _ in range(2))
    np.testing.assert_allclose(first, second, rtol=1e-6)
