"""The averaged teacher of a recipe: what it teaches is what the model with the averages of its weights would say."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training import tiny
from youtube8m_mod import distillation, losses
from youtube8m_mod.config import Recipe, phase_config
from youtube8m_mod.errors import UserError
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.training.optimizer import FusedAdam

CONFIG = tiny.run(name="mod_nextvlad_tiny", model=("branching=2x2",)).model
RECIPE = Recipe(temperature=2, averaged_teacher=True, teacher_without_child=True)


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(0)
    features = random.integers(0, 256, (4, CONFIG.max_frames, CONFIG.feature_size), np.uint8)
    labels = random.random((4, CONFIG.num_classes)) < 0.1
    return {"features": tf.constant(features), "labels": tf.constant(labels.astype(np.float32))}


def model(recipe=None, momentum=0.5):
    keras.utils.set_random_seed(1)
    made = MOD(CONFIG, dropout=0.0)
    if recipe is not None:
        made.compile(FusedAdam(0.1, use_ema=bool(momentum), ema_momentum=momentum or 0.99), recipe=recipe)
    return made


@pytest.fixture(scope="module")
def trained(batch):
    """(model after some steps, what its averages say, its losses, gradients and output then)."""
    made = model(RECIPE)
    for _ in range(4):
        made.train_step(batch)
    # A copy by the averages, the moving averages of the batch norms as they are before the next pass.
    twin = model()
    twin.set_weights(made.get_weights())
    for variable, average in zip(twin.trainable_variables, made.optimizer.model_averages):
        variable.assign(average)
    teacher = twin.tree(batch, training=False)
    return made, teacher, made.losses_and_gradients(batch)


def test_what_is_taught_is_what_the_average_says(trained):
    _, teacher, (terms, _, output) = trained
    expected = losses.tree_losses(output, np.zeros((4, CONFIG.num_classes)), None, RECIPE, teacher=teacher)
    own = losses.tree_losses(output, np.zeros((4, CONFIG.num_classes)), None, RECIPE)
    names = ("kl/0", "kl/1", "kl/0/1", "kl/1/0")
    taught, expected, own = (np.array([float(found[name]) for name in names]) for found in (terms, expected, own))
    np.testing.assert_allclose(taught, expected, rtol=1e-4, atol=1e-6)
    # Each is another than without the averages; one of them, by the weights of a machine, only by some 0.006.
    different = np.abs(taught - own)
    assert np.all(different > 1e-3 * own) and different.sum() > 0.01 * own.sum()


def test_the_child_that_is_left_out_is_the_averaged_one(trained):
    """What is left of a mixture of two without the one is the other."""
    _, teacher, _ = trained
    others = distillation.without_child(teacher.logits, teacher.children[0].logits, teacher.weights, 0)
    np.testing.assert_allclose(others, teacher.children[1].logits, rtol=1e-3, atol=1e-4)
    _, _, (terms, _, output) = trained
    expected = distillation.softmax_divergence(teacher.children[1].logits, output.children[0].logits, 2.0)
    assert float(terms["kl/0"]) == pytest.approx(float(np.mean(expected)), rel=1e-3)


def test_it_is_not_changed_by_what_it_teaches(trained, batch):
    """The root mixes as if nothing were taught: it is no teacher, and has none."""
    made, _, (_, gradients, _) = trained
    made.set_recipe(Recipe(temperature=0))
    _, undistilled, _ = made.losses_and_gradients(batch)
    made.set_recipe(RECIPE)
    mixing = {id(variable) for variable in made.root.mixing.trainable_variables}
    same = [id(variable) in mixing for variable in made.trainable_variables]
    assert sum(same) == len(mixing)
    for is_root, gradient, other in zip(same, gradients, undistilled):
        if is_root:
            np.testing.assert_allclose(gradient, other, rtol=1e-3, atol=1e-6)
    assert any(np.abs(a - b).max() > 1e-4 for a, b in zip(gradients, undistilled))


def test_nothing_is_taught_before_there_is_an_average():
    assert float(distillation.schedule(0, RECIPE)) == 0 and float(distillation.schedule(1, RECIPE)) == 1
    ramp = Recipe(averaged_teacher=True, distillation_ramp_steps=10)
    assert float(distillation.schedule(5, ramp)) == pytest.approx(np.exp(-1.25))


def test_it_needs_averages():
    with pytest.raises(ValueError, match="use_ema"):
        model(RECIPE, momentum=0)
    with pytest.raises(UserError, match="ema_momentum"):
        phase_config("finetune", ["averaged_teacher=true"])
    assert phase_config("finetune", ["averaged_teacher=true", "ema_momentum=0.99"]).averaged_teacher


def test_a_run_with_it_resumes_exactly(tmp_path, eager):
    data = tiny.write_data(tmp_path / "data")
    fields = dict(averaged_teacher=True, ema_momentum=0.9, temperature=1)
    whole = tiny.trainer(data, tmp_path / "whole", tiny.run(max_steps=4, **fields))
    whole.train()
    tiny.trainer(data, tmp_path / "cut", tiny.run(max_steps=2, **fields)).train()
    cut = tiny.trainer(data, tmp_path / "cut", tiny.run(max_steps=4, **fields))
    cut.train()
    for name, value in zip([v.path for v in whole.model.variables], whole.model.get_weights()):
        assert np.isfinite(value).all(), name
    for one, other in zip(whole.model.get_weights(), cut.model.get_weights()):
        np.testing.assert_array_equal(one, other)
