"""Golden item 3: the mixture of leaves, every loss term, gradient norms, batch-norm updates."""

import numpy as np
import pytest
import tensorflow as tf

from tests import golden_data
from tests.models import golden_models
from tests.models.golden_models import EVAL, EVAL_LOGITS, KL, NORMS, TRAIN
from youtube8m_mod import losses
from youtube8m_mod.distillation import softmax_divergence

GOLDEN = golden_data.item("mix_model")
ITEM = "3 mix_model"


def _prefix(case):
    return case.split("_")[0]


def test_no_unknown_arrays():
    GOLDEN.check_cases(_prefix)
    for case in GOLDEN.cases:
        GOLDEN.check_keys({"labels", "label_weights"}, _prefix(case))


@pytest.mark.parametrize("case", GOLDEN.cases)
def test_mixture(case, close):
    info = GOLDEN.cases[case]
    prefix = _prefix(case)
    training = info["is_training"]
    temperature = info["cl_temperature"]
    model, variables = golden_models.mod_model(
        info, (info["mix_number"],), GOLDEN, prefix, temperature=temperature, distillation_weight=info["cl_lambda"]
    )
    frames, num_frames = golden_models.frames(info, GOLDEN, prefix), golden_models.num_frames(info)
    labels, label_weights = GOLDEN.array(prefix, "labels"), GOLDEN.array(prefix, "label_weights")

    leaves = [str(index) for index in range(info["mix_number"])]

    with tf.GradientTape() as tape:
        output = model.root(frames, num_frames, training=training)
        terms = losses.tree_losses(output, labels, label_weights, model.recipe)
        kl = sum(terms[f"kl/{leaf}"] for leaf in leaves)
        l2 = [losses.l2_penalty([weight], info["l2_penalty"]) for weight in model.root.regularized_weights]
        total = losses.total_loss(terms, model.recipe) + sum(l2)
    trainable = {name: variable.value for name, variable in variables.items() if "moving" not in name}
    gradients = tape.gradient(total, trainable)
    unweighted = losses.tree_losses(output, labels, None, model.recipe)

    mode, tolerance, logits_tolerance = ("train", TRAIN, TRAIN) if training else ("eval", EVAL, EVAL_LOGITS)
    loss_tolerance = TRAIN if training else dict(relative=1e-5)
    softened = [tf.nn.softmax(node.logits / temperature) for node in (output, *output.children)]
    values = {
        "predictions": (output.probabilities, tolerance),
        "aux_predictions": (tf.stack([leaf.probabilities for leaf in output.children], 1), tolerance),
        "mix_logits": (output.logits, logits_tolerance),
        "branch_logits": (tf.stack([leaf.logits for leaf in output.children], 1), logits_tolerance),
        "mix_weights": (output.weights, EVAL),
        "softmax_mix_T": (softened[0], tolerance),
        "softmax_branch_T": (tf.stack(softened[1:], 1), tolerance),
        "kl_per_example_branch": (
            tf.stack(
                [softmax_divergence(output.logits, leaf.logits, temperature) for leaf in output.children],
                1,
            ),
            KL,
        ),
        "kl_regularization_loss": (kl * info["cl_lambda"], KL),
        "label_loss_mix_weighted": (terms["bce"], loss_tolerance),
        "label_loss_aux_weighted": ([terms[f"bce/{leaf}"] for leaf in leaves], loss_tolerance),
        "label_loss_mix_unweighted": (unweighted["bce"], loss_tolerance),
        "label_loss_aux_unweighted": ([unweighted[f"bce/{leaf}"] for leaf in leaves], loss_tolerance),
        "l2_losses": (l2, dict(relative=1e-5)),
        "total_weighted": (total, TRAIN),
    }
    stored = {key.split("/")[0] for key in GOLDEN.keys(case)} - {"updated", "grad_norms"}
    assert stored == set(values), stored ^ set(values)
    norms = golden_models.gradient_norms(gradients, info["grad_norm_names"])
    meaningful = golden_models.meaningful(info["grad_norm_names"], training)
    close(ITEM, f"gradient norms, {mode}", norms[meaningful], GOLDEN.array(case, "grad_norms")[meaningful], **NORMS)
    for name, (value, allowed) in values.items():
        close(ITEM, f"{name}, {mode}", value, GOLDEN.array(case, name), **allowed)
    for name in GOLDEN.keys(case, "updated"):
        close(ITEM, "moving averages", variables[name], GOLDEN.array(case, "updated", name), relative=1e-4)


def test_gradient_reaches_the_teacher():
    """The golden gradients hold the teacher's share: with it stopped, they would differ."""
    teacher = tf.Variable(np.array([[1.0, 0.0, -1.0]], np.float32))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(softmax_divergence(teacher, tf.constant([[0.0, 1.0, 0.0]]), 1.0))
    assert float(tf.norm(tape.gradient(loss, teacher))) > 0.1
