"""Golden item 3: the mixture of leaves, every loss term, gradient norms, batch-norm updates."""

import numpy as np
import pytest
import tensorflow as tf

from tests import golden_data
from tests.models import golden_models
from youtube8m_mod import losses

GOLDEN = golden_data.item("mix_model")
ITEM = "3 mix_model"


def _labels(case, info):
    prefix = case.split("_")[0]
    keys = [key for key in GOLDEN.arrays if "label" in key and "loss" not in key]
    labels = GOLDEN.array(prefix, "labels")
    weights = GOLDEN.array(prefix, "label_weights") if f"{prefix}|label_weights" in keys else None
    return labels, weights


@pytest.mark.parametrize("case", GOLDEN.cases)
def test_mixture(case, close):
    info = GOLDEN.cases[case]
    prefix = case.split("_")[0]
    training = info["is_training"]
    temperature = info["cl_temperature"]
    model, variables = golden_models.mod_model(
        info, (info["mix_number"],), GOLDEN, prefix, temperature=temperature, distillation_weight=info["cl_lambda"])
    frames, num_frames = golden_models.frames(info, GOLDEN, prefix), golden_models.num_frames(info)
    labels, label_weights = _labels(case, info)

    with tf.GradientTape() as tape:
        output = model.root(frames, num_frames, training=training)
        weighted = losses.tree_losses(output, labels, label_weights, temperature)
        bce, kl = weighted["bce"], sum(weighted["kl"].values())
        l2 = [losses.l2_penalty([weight], info["l2_penalty"]) for weight in model.root.regularized_weights]
        total = sum(bce.values()) + info["cl_lambda"] * kl + sum(l2)
    trainable = {name: variable.value for name, variable in variables.items() if "moving" not in name}
    gradients = tape.gradient(total, trainable)
    unweighted = losses.tree_losses(output, labels, None, temperature)["bce"]
    leaves = [str(index) for index in range(info["mix_number"])]

    mode = "train" if training else "eval"
    tolerance = dict(relative=1e-4) if training else dict(absolute=1e-5)
    logits_tolerance = dict(relative=1e-4 if training else 1e-5)
    softened = [tf.nn.softmax(node.logits / temperature) for node in (output, *output.children)]
    values = {
        "predictions": (output.probabilities, tolerance),
        "aux_predictions": (tf.stack([leaf.probabilities for leaf in output.children], 1), tolerance),
        "mix_logits": (output.logits, logits_tolerance),
        "branch_logits": (tf.stack([leaf.logits for leaf in output.children], 1), logits_tolerance),
        "mix_weights": (output.weights, dict(absolute=1e-5)),
        "softmax_mix_T": (softened[0], tolerance),
        "softmax_branch_T": (tf.stack(softened[1:], 1), tolerance),
        "kl_per_example_branch": (
            tf.stack([losses.distillation_per_example(output.logits, leaf.logits, temperature)
                      for leaf in output.children], 1), dict(relative=1e-4)),
        "kl_regularization_loss": (kl * info["cl_lambda"], dict(relative=1e-4)),
        "label_loss_mix_weighted": (bce[""], dict(relative=1e-5 if not training else 1e-4)),
        "label_loss_aux_weighted": ([bce[leaf] for leaf in leaves], dict(relative=1e-5 if not training else 1e-4)),
        "label_loss_mix_unweighted": (unweighted[""], dict(relative=1e-5 if not training else 1e-4)),
        "label_loss_aux_unweighted": ([unweighted[leaf] for leaf in leaves],
                                      dict(relative=1e-5 if not training else 1e-4)),
        "l2_losses": (l2, dict(relative=1e-5)),
        "total_weighted": (total, dict(relative=1e-4)),
        "grad_norms": ([tf.norm(gradients[name]) for name in info["grad_norm_names"]], dict(relative=1e-3)),
    }
    stored = {key.split("/")[0] for key in GOLDEN.keys(case)} - {"updated"}
    assert stored == set(values), stored ^ set(values)
    for name, (value, allowed) in values.items():
        close(ITEM, f"{name}, {mode}", value, GOLDEN.array(case, name), **allowed)
    for name in GOLDEN.keys(case, "updated"):
        close(ITEM, "moving averages", variables[name], GOLDEN.array(case, "updated", name), relative=1e-4)


def test_gradient_reaches_the_teacher():
    """The golden gradients hold the teacher's share: with it stopped, they would differ."""
    teacher = tf.Variable(np.array([[1.0, 0.0, -1.0]], np.float32))
    with tf.GradientTape() as tape:
        loss = losses.distillation(teacher, tf.constant([[0.0, 1.0, 0.0]]), 1.0)
    assert float(tf.norm(tape.gradient(loss, teacher))) > 0.1
