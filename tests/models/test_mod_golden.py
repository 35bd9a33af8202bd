"""Golden item 4: the two-layer mixture, step by step through the original's training graph."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests import golden_data
from tests.models import golden_models
from tests.models.golden_models import EVAL, EVAL_LOGITS, KL, NORMS, TRAIN
from youtube8m_mod import losses
from youtube8m_mod.distillation import softmax_divergence
from youtube8m_mod.models.graph_passes import few_passes
from youtube8m_mod.training.optimizer import FusedAdam, StaircaseDecay

GOLDEN = golden_data.item("mod_model")
ITEM = "4 mod_model"
AFTER = {"var_sum", "var_l2", "var_samples", "delta_l2", "adam_m_l2", "adam_m_samples", "adam_v_l2", "adam_v_samples"}
LOSSES = {"loss_tower_mix_and_aux", "loss_final", "tower_kl", "final_kl", "tower_reg_losses"}
FIRST_STEP = {"total_loss", "label_loss", "reg_loss", "l2_each"}


def _batch(case, info):
    """The case's raw features, as floats, with what the reader would say of them."""
    raw = np.clip(np.float32(0.7) * golden_models.frames(info, GOLDEN, case, "raw"), -2, 2)
    batch = {
        "features": tf.constant(raw),
        "present_frames": tf.constant(info["num_frames"]),
        "labels": tf.constant(GOLDEN.array(case, "labels")),
    }
    if info["segment"]:
        return batch | {"label_weights": tf.constant(GOLDEN.array(case, "label_weights"))}
    return batch | {"num_frames": tf.constant(info["num_frames"])}


class Case:
    """The model of a case, the recipe's values of its variables, and its batch."""

    def __init__(self, name):
        self.name, self.info = name, GOLDEN.cases[name]
        info = self.info
        self.model, self.variables = golden_models.mod_model(
            info,
            (info["towers"], info["mix_number"]),
            GOLDEN,
            name,
            temperature=info["cl_temperature"],
            distillation_weight=info["cl_lambda"],
            root_temperature=info["final_temperature"],
            root_distillation_weight=info["final_lambda"],
        )
        self.model.scaling.set_eigenvalues(np.load(golden_data.path("eigenvals.npy")))
        self.batch = _batch(name, info)
        self.start = self.values()

    def values(self):
        return {name: variable.numpy() for name, variable in self.variables.items()}

    def assign(self, values):
        for name, variable in self.variables.items():
            variable.assign(values[name])

    def array(self, *key):
        return GOLDEN.array(self.name, *key)

    def scores(self, training):
        """The model's output; batch-norm averages stay."""
        before = self.values()
        output = self.model.tree(self.batch, training=training)
        self.assign(before)
        return output


@pytest.fixture(scope="module", params=GOLDEN.cases)
def case(request):
    return Case(request.param)


def test_no_unknown_arrays():
    GOLDEN.check_cases(lambda case: case)
    for name, info in GOLDEN.cases.items():
        GOLDEN.check_keys({"labels", "label_weights", "train", "eval", "model_input_samples"}, name)
        steps = {key.split("/")[0] for key in GOLDEN.keys(name, "train")}
        assert {f"after{step}" for step in range(1, info["steps"] + 1)} | {"step0"} <= steps
        assert steps <= {f"{kind}{step}" for kind in ("step", "after") for step in range(info["steps"] + 1)}
        for step in steps:
            GOLDEN.check_keys(
                AFTER
                if step.startswith("after")
                else {
                    *LOSSES,
                    "grad_norm",
                    "final_predictions",
                    *(
                        FIRST_STEP
                        | {
                            "clipped_grad_norm",
                            "final_logit",
                            "final_mix_weights",
                            "tower_logits",
                            "tower_predictions",
                            "aux_predictions",
                            "final_kl_per_example_tower",
                        }
                        if step == "step0"
                        else ()
                    ),
                },
                name,
                "train",
                step,
            )


def test_training_steps(case, close):
    """Losses, gradients and predictions before each step on the same batch; variables and Adam's moments after it."""
    info, model, variables = case.info, case.model, case.variables
    schedule = StaircaseDecay(info["base_lr"], info["lr_batch_size"], info["lr_decay"], info["lr_decay_examples"])
    adam = info["adam"]
    optimizer = FusedAdam(schedule, adam["beta1"], adam["beta2"], adam["epsilon"], clip_norm=1.0)
    trainable = model.trainable_variables
    optimizer.build(trainable)
    names = {id(variable): key for key, variable in variables.items()}
    order = [names[id(variable)] for variable in trainable]
    assert sorted(order) == sorted(info["grad_order"])
    # A graph of this tree takes longer to make than three steps without one; one case takes its step as a graph.
    step_function = functools.partial(model.losses_and_gradients, case.batch)
    if info["steps"] == 1:
        step_function = tf.function(step_function, autograph=False)
    # Nothing is stored of the losses after the last step of a case with few.
    stored = {key.split("/")[0] for key in GOLDEN.keys(case.name, "train")}

    for step in range(info["steps"] + 1):
        if f"step{step}" not in stored and step == info["steps"]:
            break
        with few_passes():  # As the Trainer takes it.
            terms, gradients, output = step_function()
        gradients = dict(zip(order, gradients))
        if f"step{step}" in stored:
            predictions = case.array("train", f"step{step}", "final_predictions")
            close(ITEM, "final_predictions, train", output.probabilities, predictions, **TRAIN)
            _check_losses(case, terms, f"step{step}", close)
            _check_norms(case, gradients, "grad_norm", f"step{step}", close)
        if step == 0:
            clipped = dict(zip(order, optimizer.clipped([gradients[key] for key in order])))
            _check_norms(case, clipped, "clipped_grad_norm", "step0", close)
            _check_sums(case, terms, close)
        if step < info["steps"]:
            optimizer.apply([gradients[key] for key in order], trainable)
            _check_variables(case, f"after{step + 1}", close)
            moments = [dict(zip(order, slots)) for slots in (optimizer.first_moments, optimizer.second_moments)]
            _check_moments(case, moments, f"after{step + 1}", close)

    for name in info["moving_averages_not_updated_by_train_step"]:
        np.testing.assert_array_equal(variables[name], case.start[name])
    case.assign(case.start)


def _check_losses(case, terms, step, close):
    """Every loss term. Our L2 term of tower t counts (towers - t) times; theirs adds up from tower to tower."""
    towers, branches = (range(count) for count in case.model.config.branching)
    weight, root_weight = case.info["cl_lambda"], case.info["final_lambda"]
    kl = weight * np.array([sum(terms[f"kl/{t}/{b}"] for b in branches) for t in towers])
    l2 = np.array([terms[f"l2/{t}"] for t in towers]) / (len(towers) - np.arange(len(towers)))
    values = {
        "loss_tower_mix_and_aux": (
            [[terms[f"bce/{t}"], *(terms[f"bce/{t}/{b}"] for b in branches)] for t in towers],
            TRAIN,
        ),
        "loss_final": (terms["bce"], TRAIN),
        "tower_kl": (kl, KL),
        "final_kl": (root_weight * sum(terms[f"kl/{t}"] for t in towers), KL),
        "tower_reg_losses": (kl + np.cumsum(l2), TRAIN),
    }
    assert set(values) == LOSSES
    for name, (value, tolerance) in values.items():
        close(ITEM, name, value, case.array("train", step, name), **tolerance)


def _check_sums(case, terms, close):
    info, model = case.info, case.model
    total = losses.total_loss(terms, model.recipe)
    label_loss = sum(value for name, value in terms.items() if name.startswith("bce"))
    each = [
        losses.l2_penalty([weight], info["l2_penalty"])
        for subtree in model.subtrees
        for weight in subtree.regularized_weights
    ]
    values = {
        "total_loss": (total, TRAIN),
        "label_loss": (label_loss, TRAIN),
        "reg_loss": (total - label_loss, TRAIN),
        "l2_each": (each, dict(relative=1e-5)),
    }
    assert set(values) == FIRST_STEP
    for name, (value, tolerance) in values.items():
        close(ITEM, name, value, case.array("train", "step0", name), **tolerance)


def _rows(case, order):
    """Rows whose gradient is not 0 but for rounding errors, which Adam turns into steps of full size."""
    return np.array([name not in case.info["near_zero_gradient_variables"] for name in case.info[order]])


def _check_norms(case, gradients, key, step, close):
    norms, rows = golden_models.norms([gradients[name] for name in case.info["grad_order"]]), _rows(case, "grad_order")
    close(ITEM, key, norms[rows], case.array("train", step, key)[rows], **NORMS)


def _sampled(values, count):
    """The entries of each array that the golden set keeps: flat[(j * size) // count]."""
    flat = [np.asarray(value).reshape(-1) for value in values]
    return np.array([[array[j * array.size // count] for j in range(count)] for array in flat])


def _check_variables(case, after, close):
    order, rows = case.info["var_order"], _rows(case, "var_order")
    values = [case.variables[name].numpy() for name in order]
    changes = [np.linalg.norm(value - case.start[name]) for name, value in zip(order, values)]
    expected = {key: case.array("train", after, key)[rows] for key in AFTER if not key.startswith("adam")}
    samples = _sampled(values, expected["var_samples"].shape[1])
    sums = np.array([value.sum(dtype=np.float64) for value in values])
    norms = np.array([np.linalg.norm(value) for value in values])
    close(ITEM, "var_l2", norms[rows], expected["var_l2"], each=1e-4)
    close(ITEM, "var_sum", sums[rows], expected["var_sum"], **TRAIN)
    close(ITEM, "var_samples", samples[rows], expected["var_samples"], **TRAIN)
    close(ITEM, "delta_l2", np.array(changes)[rows], expected["delta_l2"], **NORMS)


def _check_moments(case, moments, after, close):
    order, rows = case.info["grad_order"], _rows(case, "grad_order")
    for slots, letter in zip(moments, "mv"):
        arrays = [slots[name].numpy() for name in order]
        norms, samples = (case.array("train", after, f"adam_{letter}_{kind}")[rows] for kind in ("l2", "samples"))
        close(ITEM, f"adam_{letter}_l2", np.array([np.linalg.norm(array) for array in arrays])[rows], norms, **NORMS)
        close(ITEM, f"adam_{letter}_samples", _sampled(arrays, samples.shape[1])[rows], samples, relative=1e-3)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_scores(case, training, close):
    output, batch = case.scores(training), case.batch
    prefix, mode = (("train", "step0"), "train") if training else (("eval",), "eval")
    probabilities, logits = (TRAIN, TRAIN) if training else (EVAL, EVAL_LOGITS)
    towers = output.children
    values = {
        "final_predictions": (output.probabilities, probabilities),
        "final_logit": (output.logits, logits),
        "final_mix_weights": (output.weights, EVAL),
        "tower_logits": (tf.stack([tower.logits for tower in towers], 1), logits),
        "aux_predictions": (
            tf.stack([tf.stack([leaf.probabilities for leaf in tower.children], 1) for tower in towers], 1),
            probabilities,
        ),
    }
    if training:
        values["tower_predictions"] = (tf.stack([tower.probabilities for tower in towers], 1), probabilities)
        values["final_kl_per_example_tower"] = (
            tf.stack(
                [softmax_divergence(output.logits, tower.logits, case.info["final_temperature"]) for tower in towers],
                1,
            ),
            KL,
        )
    else:
        label_loss = losses.binary_cross_entropy(batch["labels"], output.probabilities, batch.get("label_weights"))
        values["label_loss"] = (label_loss, dict(relative=1e-5))
        assert set(values) == set(GOLDEN.keys(case.name, "eval"))
    for key, (value, tolerance) in values.items():
        close(ITEM, f"{key}, {mode}", value, case.array(*prefix, key), **tolerance)


def test_learning_rate_schedule(case, close):
    info = case.info
    schedule = StaircaseDecay(info["base_lr"], info["lr_batch_size"], info["lr_decay"], info["lr_decay_examples"])
    for step, rate in info["lr_schedule"]:
        close(ITEM, "learning rate", schedule(step), np.float32(rate), relative=1e-6)


def test_model_input(case, close):
    """De-whitening of raw features: the golden set keeps evenly spaced entries of the flattened input."""
    scaled = np.array(case.model.scaling(case.batch["features"], case.batch["present_frames"])).reshape(-1)
    expected = case.array("model_input_samples")
    samples = scaled[np.arange(expected.size) * scaled.size // expected.size]
    close(ITEM, "de-whitened input", samples, expected, absolute=1e-5)
