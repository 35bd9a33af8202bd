"""Golden item 4: the two-layer mixture, step by step through the original's training graph."""

import numpy as np
import pytest
import tensorflow as tf

from tests import golden_data
from tests.models import golden_models
from youtube8m_mod import losses
from youtube8m_mod.training.optimizer import FusedAdam, StaircaseDecay

GOLDEN = golden_data.item("mod_model")
ITEM = "4 mod_model"
TRAIN = dict(relative=1e-4)
NORMS = dict(relative=1e-3)


def _batch(case, info):
    """The case's raw features, as floats, with what the reader would say of them."""
    raw = np.clip(np.float32(0.7) * golden_models.frames(info, GOLDEN, case, "raw"), -2, 2)
    batch = {"features": tf.constant(raw), "present_frames": tf.constant(info["num_frames"]),
             "labels": tf.constant(GOLDEN.array(case, "labels"))}
    if info["segment"]:
        return batch | {"label_weights": tf.constant(GOLDEN.array(case, "label_weights"))}
    return batch | {"num_frames": tf.constant(info["num_frames"])}


@pytest.fixture(scope="module", params=GOLDEN.cases)
def case(request):
    info = GOLDEN.cases[request.param]
    assert (info["cl_temperature"], info["cl_lambda"]) == (info["final_temperature"], info["final_lambda"])
    model, variables = golden_models.mod_model(
        info, (info["towers"], info["mix_number"]), GOLDEN, request.param, temperature=info["cl_temperature"],
        distillation_weight=info["cl_lambda"])
    model.scaling.set_eigenvalues(np.load(golden_data.path("eigenvals.npy")))
    return request.param, info, model, variables, _batch(request.param, info)


def _sampled(values):
    """The entries of each array that the golden set keeps: flat[(j * size) // 8]."""
    flat = [np.asarray(value).reshape(-1) for value in values]
    return np.array([[array[j * array.size // 8] for j in range(8)] for array in flat])


def _stack(model, terms, kind, depth):
    """Terms of one depth of the tree, nested by subtree."""
    towers, branches = model.config.branching
    if depth == 1:
        return [terms[kind][str(t)] for t in range(towers)]
    return [[terms[kind][f"{t}/{b}"] for b in range(branches)] for t in range(towers)]


def test_training_steps(case, close):
    name, info, model, variables, batch = case
    config = model.config
    start = {key: variable.numpy() for key, variable in variables.items()}
    schedule = StaircaseDecay(info["base_lr"], info["lr_batch_size"], info["lr_decay"], info["lr_decay_examples"])
    adam = info["adam"]
    optimizer = FusedAdam(schedule, adam["beta1"], adam["beta2"], adam["epsilon"], clip_norm=1.0)
    trainable = model.ordered_trainable_variables
    optimizer.build(trainable)
    names = {id(variable): key for key, variable in variables.items()}
    order = [names[id(variable)] for variable in trainable]
    assert sorted(order) == sorted(info["grad_order"])
    # The true gradient of vlad_bn/beta is 0: Adam turns its rounding errors into steps of full size.
    meaningful = np.array([key not in info["near_zero_gradient_variables"] for key in info["grad_order"]])
    meaningful_variables = np.array([key not in info["near_zero_gradient_variables"] for key in info["var_order"]])
    step_function = tf.function(lambda: model.losses_and_gradients(batch))

    def check(what, actual, key, **tolerance):
        close(ITEM, what, actual, GOLDEN.array(name, "train", key), **tolerance)

    for step in range(info["steps"] + 1):
        prefix = f"step{step}"
        if not GOLDEN.keys(name, "train", prefix):
            break
        terms, gradients = step_function()
        gradients = dict(zip(order, gradients))
        towers = range(config.branching[0])
        tower_losses = [[terms["bce"][str(t)], *(terms["bce"][f"{t}/{b}"] for b in range(config.branching[1]))]
                        for t in towers]
        tower_kl = np.array([sum(terms["kl"][f"{t}/{b}"] for b in range(config.branching[1])) for t in towers])
        final_kl = sum(terms["kl"][str(t)] for t in towers)
        lam = info["cl_lambda"]
        # Our L2 term of tower t counts (towers - t) times; the original's tower t adds that of all before it too.
        l2 = np.array([terms["l2"][str(t)] for t in towers]) / (len(towers) - np.arange(len(towers)))
        check("bce of towers and branches", tower_losses, f"{prefix}/loss_tower_mix_and_aux", **TRAIN)
        check("bce of the root", terms["bce"][""], f"{prefix}/loss_final", **TRAIN)
        check("kl in the towers", tower_kl * lam, f"{prefix}/tower_kl", **TRAIN)
        check("kl at the root", final_kl * lam, f"{prefix}/final_kl", **TRAIN)
        check("regularisation of the towers", tower_kl * lam + np.cumsum(l2), f"{prefix}/tower_reg_losses", **TRAIN)
        norms = np.array([tf.norm(gradients[key]) for key in info["grad_order"]])
        close(ITEM, "gradient norms", norms[meaningful],
              GOLDEN.array(name, "train", prefix, "grad_norm")[meaningful], **NORMS)
        if step == 0:
            clipped = np.array([tf.norm(optimizer.clipped(gradients[key])) for key in info["grad_order"]])
            close(ITEM, "gradient norms, clipped", clipped[meaningful],
                  GOLDEN.array(name, "train", prefix, "clipped_grad_norm")[meaningful], **NORMS)
            total = model.total_loss(terms)
            label_loss = sum(terms["bce"].values())
            check("total loss", total, f"{prefix}/total_loss", **TRAIN)
            check("label losses", label_loss, f"{prefix}/label_loss", **TRAIN)
            check("regularisation", total - label_loss, f"{prefix}/reg_loss", **TRAIN)
            each = [losses.l2_penalty([weight], info["l2_penalty"])
                    for subtree in model.subtrees for weight in subtree.regularized_weights]
            check("l2, each weight", each, f"{prefix}/l2_each", relative=1e-5)
        if step == info["steps"]:
            break
        optimizer.apply([gradients[key] for key in order], trainable)

        after = f"after{step + 1}"
        values = [variables[key].numpy() for key in info["var_order"]]
        moments = [dict(zip(order, slots)) for slots in (optimizer.first_moments, optimizer.second_moments)]
        deltas = np.array([np.linalg.norm(value - start[key]) for key, value in zip(info["var_order"], values)])

        def check_rows(what, actual, key, rows, **tolerance):
            close(ITEM, what, np.asarray(actual)[rows], GOLDEN.array(name, "train", after, key)[rows], **tolerance)

        check_rows("variables, sum", [value.sum(dtype=np.float64) for value in values], "var_sum",
                   meaningful_variables, **TRAIN)
        check_rows("variables, l2", [np.linalg.norm(value) for value in values], "var_l2", meaningful_variables,
                   **TRAIN)
        check_rows("variables, change", deltas, "delta_l2", meaningful_variables, **NORMS)
        check_rows("variables, entries", _sampled(values), "var_samples", meaningful_variables, **TRAIN)
        for slots, letter in zip(moments, "mv"):
            arrays = [slots[key].numpy() for key in info["grad_order"]]
            check_rows(f"Adam {letter}, l2", [np.linalg.norm(array) for array in arrays], f"adam_{letter}_l2",
                       meaningful, **NORMS)
            check_rows(f"Adam {letter}, entries", _sampled(arrays), f"adam_{letter}_samples", meaningful, **NORMS)
    else:
        raise AssertionError(f"The golden set has more than {info['steps'] + 1} steps.")

    for variable_name in info["moving_averages_not_updated_by_train_step"]:
        np.testing.assert_array_equal(variables[variable_name], start[variable_name])
    for key, variable in variables.items():
        variable.assign(start[key])


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_scores(case, training, close):
    name, info, model, variables, batch = case
    start = {key: variable.numpy() for key, variable in variables.items()}
    output = model.tree(batch, training=training)
    for key, variable in variables.items():
        variable.assign(start[key])
    prefix = "train/step0" if training else "eval"
    mode = "train" if training else "eval"
    probabilities = dict(relative=1e-4) if training else dict(absolute=1e-5)
    logits = dict(relative=1e-4 if training else 1e-5)
    towers = output.children
    values = {
        "final_predictions": (output.probabilities, probabilities),
        "final_logit": (output.logits, logits),
        "final_mix_weights": (output.weights, dict(absolute=1e-5)),
        "tower_logits": (tf.stack([tower.logits for tower in towers], 1), logits),
        "aux_predictions": (tf.stack([tf.stack([leaf.probabilities for leaf in tower.children], 1)
                                      for tower in towers], 1), probabilities),
    }
    if training:
        values["tower_predictions"] = (tf.stack([tower.probabilities for tower in towers], 1), probabilities)
        values["final_kl_per_example_tower"] = (
            tf.stack([losses.distillation_per_example(output.logits, tower.logits, info["final_temperature"])
                      for tower in towers], 1), dict(relative=1e-4))
    else:
        label_loss = losses.binary_cross_entropy(batch["labels"], output.probabilities, batch.get("label_weights"))
        values["label_loss"] = (label_loss, dict(relative=1e-5))
    for key, (value, tolerance) in values.items():
        close(ITEM, f"{key}, {mode}", value, GOLDEN.array(name, prefix, key), **tolerance)


def test_learning_rate_schedule(case, close):
    name, info, *_ = case
    schedule = StaircaseDecay(info["base_lr"], info["lr_batch_size"], info["lr_decay"], info["lr_decay_examples"])
    for step, rate in info["lr_schedule"]:
        close(ITEM, "learning rate", schedule(step), np.float32(rate), relative=1e-6)


def test_model_input(case, close):
    """De-whitening of raw features: the golden set keeps evenly spaced entries of the flattened input."""
    name, info, model, _, batch = case
    scaled = np.array(model.scaling(batch["features"], batch["present_frames"])).reshape(-1)
    expected = GOLDEN.array(name, "model_input_samples")
    samples = scaled[np.arange(expected.size) * scaled.size // expected.size]
    close(ITEM, "de-whitened input", samples, expected, absolute=1e-5)
