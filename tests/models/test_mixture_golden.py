"""Golden item 3: the mixture of leaves, every loss term, gradient norms, batch-norm updates."""

import pytest
from keras import ops

from tests import backend, golden_data
from tests.models import golden_models
from tests.models.golden_models import EVAL, EVAL_LOGITS, KL, NORMS, TRAIN
from youtube8m_mod import losses
from youtube8m_mod.config import Recipe
from youtube8m_mod.distillation import softmax_divergence
from youtube8m_mod.models.mixture import Mixture
from youtube8m_mod.models.nextvlad import NeXtVLADModel
from youtube8m_mod.tf1 import variable_names

GOLDEN = golden_data.item("mix_model")
ITEM = "3 mix_model"


def test_no_unknown_arrays():
    GOLDEN.check_cases(golden_data.prefix)
    for case in GOLDEN.cases:
        GOLDEN.check_keys({"labels", "label_weights"}, golden_data.prefix(case))


@pytest.mark.parametrize("case", GOLDEN.cases)
def test_mixture(case, close):
    info = GOLDEN.cases[case]
    prefix = golden_data.prefix(case)
    training = info["is_training"]
    temperature = info["cl_temperature"]
    recipe = Recipe(temperature=temperature, distillation_weight=info["cl_lambda"])
    config = golden_models.model_config(info, (info["mix_number"],))
    mixture = Mixture([NeXtVLADModel(config, unbiased_moving_variance=True) for _ in range(info["mix_number"])])
    mixture.build((None, None, config.feature_size))
    variables = variable_names.mixture_variables(mixture, "tower_0")
    golden_models.assign(variables, info, GOLDEN, prefix)
    frames, num_frames = golden_models.frames(info, GOLDEN, prefix), golden_models.num_frames(info)
    labels, label_weights = GOLDEN.array(prefix, "labels"), GOLDEN.array(prefix, "label_weights")
    leaves = [str(index) for index in range(info["mix_number"])]

    def forward():
        output = mixture(frames, num_frames, training=training)
        terms = losses.tree_losses(output, labels, label_weights, recipe)
        l2 = [losses.l2_penalty([weight], info["l2_penalty"]) for weight in mixture.regularized_weights]
        return output, terms, l2, losses.total_loss(terms, recipe) + sum(l2)

    gradients = backend.gradients(lambda: forward()[-1], [variables[name] for name in info["grad_norm_names"]])
    golden_models.assign(variables, info, GOLDEN, prefix)  # Computing the gradients moved the averages.
    output, terms, l2, total = forward()
    kl = sum(terms[f"kl/{leaf}"] for leaf in leaves)
    unweighted = losses.tree_losses(output, labels, None, recipe)

    mode, tolerance, logits_tolerance = ("train", TRAIN, TRAIN) if training else ("eval", EVAL, EVAL_LOGITS)
    loss_tolerance = TRAIN if training else dict(relative=1e-5)
    softened = [ops.softmax(node.logits / temperature) for node in (output, *output.children)]
    values = {
        "predictions": (output.probabilities, tolerance),
        "aux_predictions": (ops.stack([leaf.probabilities for leaf in output.children], 1), tolerance),
        "mix_logits": (output.logits, logits_tolerance),
        "branch_logits": (ops.stack([leaf.logits for leaf in output.children], 1), logits_tolerance),
        "mix_weights": (output.weights, EVAL),
        "softmax_mix_T": (softened[0], tolerance),
        "softmax_branch_T": (ops.stack(softened[1:], 1), tolerance),
        "kl_per_example_branch": (
            ops.stack(
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
    norms = golden_models.norms(gradients)
    meaningful = golden_models.meaningful(info["grad_norm_names"], training)
    close(ITEM, f"gradient norms, {mode}", norms[meaningful], GOLDEN.array(case, "grad_norms")[meaningful], **NORMS)
    for name, (value, allowed) in values.items():
        close(ITEM, f"{name}, {mode}", value, GOLDEN.array(case, name), **allowed)
    for name in GOLDEN.keys(case, "updated"):
        close(ITEM, "moving averages", variables[name], GOLDEN.array(case, "updated", name), relative=1e-4)
