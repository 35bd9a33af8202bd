"""Golden items 1, 2, 3 and 5 through layers, leaves, mixtures and losses under any Keras backend.

    KERAS_BACKEND=jax python -m tests.backends.golden     (or torch, or tensorflow)

Prints the largest differences, as the tests under TensorFlow do; the exit code is 1 where one is beyond its tolerance.
Runs without TensorFlow installed.
"""

import sys

import keras
import numpy as np
from keras import ops

from tests import golden_data
from tests.models import golden_models
from youtube8m_mod import losses
from youtube8m_mod.config import ModelConfig, Recipe
from youtube8m_mod.layers.deep_bag_of_frames import DeepBagOfFrames
from youtube8m_mod.layers.feature_scaling import FeatureScaling
from youtube8m_mod.layers.nextvlad import NeXtVLAD
from youtube8m_mod.models.mixture import Mixture
from youtube8m_mod.models.nextvlad import DBoFModel, NeXtVLADModel
from youtube8m_mod.tf1 import variable_names

EVAL, TRAIN, NORMS = 1e-5, 1e-4, 1e-3  # What the golden set supports; train mode and gradient norms are relative.


class Comparison:
    """The largest difference of each thing compared, and its tolerance."""

    def __init__(self):
        self.rows = {}

    def __call__(self, item, what, actual, expected, relative=0.0, absolute=0.0):
        difference, ratio = golden_data.max_differences(ops.convert_to_numpy(actual), expected)
        row = self.rows.setdefault((item, what), [0.0, 0.0, relative, absolute, True])
        row[:2] = max(row[0], difference), max(row[1], ratio)
        row[4] = row[4] and bool(difference <= absolute or ratio <= relative)  # NaN fails.

    def show(self):
        """Prints the table; gives the number of rows beyond their tolerance."""
        for (item, what), (difference, ratio, relative, absolute, good) in sorted(self.rows.items()):
            print(
                f"{item:16} {what:30} absolute {difference:8.2e} ({absolute:g})  relative {ratio:8.2e} "
                f"({relative:g}){'' if good else '  BEYOND'}"
            )
        return sum(not row[-1] for row in self.rows.values())


def gradients(function, variables):
    """Gradients of the scalar `function()` in each of `variables`, by the backend in use."""
    backend = keras.backend.backend()
    values = [variable.value for variable in variables]
    if backend == "jax":
        import jax

        def stateless(values):
            with keras.StatelessScope(state_mapping=list(zip(variables, values))):
                return function()

        return jax.grad(stateless)(values)
    if backend == "torch":
        import torch

        return torch.autograd.grad(function(), values)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        value = function()
    return tape.gradient(value, values)


def tolerance(training):
    return {"relative": TRAIN} if training else {"absolute": EVAL}


def mode(training):
    return "train" if training else "eval"


def compare_scaling(compare):
    """Bytes to the model's input, against the formula in float64."""
    random = np.random.default_rng(0)
    features, scale = random.integers(0, 256, (3, 7, 6), np.uint8), random.random(6) + 0.5
    present = np.array([7, 0, 4], np.int32)
    layer = FeatureScaling(4)
    layer.build((None, None, 6))
    layer.scale.assign(scale)
    expected = (features * (4 / 255) + 4 / 512 - 2) * (np.arange(7) < present[:, None])[..., None]
    expected = (expected - np.where(np.arange(6) < 4, 4 / 512, 0)) * scale
    compare("scaling", "output", layer(features, present), expected, EVAL)


def compare_layer(compare, folded):
    """Item 1: the NeXtVLAD layer, its gradients and batch-norm updates."""
    golden = golden_data.item("nextvlad_layer")
    NeXtVLAD._folding_pays = lambda self, input_shape: folded
    item = "1 layer" if not folded else "1 layer, folded"
    for case, info in golden.cases.items():
        prefix, training = case.split("_")[0], info["is_training"]
        layer = NeXtVLAD(info["groups"], info["clusters"], info["expansion"])
        layer.build((None, None, info["feature_size"]))
        variables = variable_names.pooling_variables(layer, "L")
        for name, variable in variables.items():
            variable.assign(golden.array(prefix, "var", name))
        inputs = keras.Variable(golden.array(prefix, "input"))
        mask = np.arange(info["frames"]) < np.array(info["num_frames"])[:, None] if info["masked"] else None
        trainable = {name: variable for name, variable in variables.items() if "moving" not in name}
        trainable["input"] = inputs

        cotangent = ops.convert_to_tensor(golden.array(prefix, "cotangent"))

        def product():
            return ops.sum(layer(inputs.value, mask, training=training) * cotangent)

        # Before the values: under backends with state, this call too moves the averages.
        moving = {name: ops.convert_to_numpy(variable) for name, variable in variables.items() if "moving" in name}
        for name, gradient in zip(trainable, gradients(product, list(trainable.values()))):
            compare(item, f"gradients, {mode(training)}", gradient, golden.array(case, "grad", name), TRAIN, EVAL)
        for name, value in moving.items():
            variables[name].assign(value)
        output = layer(inputs.value, mask, training=training)
        compare(item, f"output, {mode(training)}", output, golden.array(case, "output"), **tolerance(training))
        for name in golden.keys(case, "updated"):
            compare(item, "moving averages", variables[name], golden.array(case, "updated", name), EVAL)


def compare_leaf(compare):
    """Item 2: the NeXtVLAD model."""
    golden = golden_data.item("nextvlad_model")
    for case, info in golden.cases.items():
        prefix, training = case.split("_")[0], info["is_training"]
        leaf = NeXtVLADModel(
            golden_models.model_config(info, ()), unbiased_moving_variance=bool(info["gating_bn_fused_ops"])
        )
        leaf.build((None, None, leaf.config.feature_size))
        suffix = {"mixbranch": "vlad", "NeXtVLADModel": "VLAD"}[info["cls"]]
        variables = variable_names.leaf_variables(leaf, info["scope"], suffix)
        golden_models.assign(variables, info, golden, prefix)
        output = leaf(golden_models.frames(info, golden, prefix), golden_models.num_frames(info), training=training)
        compare(
            "2 model",
            f"predictions, {mode(training)}",
            output.probabilities,
            golden.array(case, "predictions"),
            **tolerance(training),
        )
        compare(
            "2 model",
            f"logits, {mode(training)}",
            output.logits,
            golden.array(case, "logits"),
            TRAIN if training else EVAL,
        )
        for name in golden.keys(case, "updated"):
            compare("2 model", "moving averages", variables[name], golden.array(case, "updated", name), TRAIN)


def compare_mixture(compare):
    """Item 3: the mixture, its losses and gradient norms."""
    golden = golden_data.item("mix_model")
    for case, info in golden.cases.items():
        prefix, training = case.split("_")[0], info["is_training"]
        recipe = Recipe(temperature=info["cl_temperature"], distillation_weight=info["cl_lambda"])
        config = golden_models.model_config(info, (info["mix_number"],))
        mixture = Mixture([NeXtVLADModel(config, unbiased_moving_variance=True) for _ in range(info["mix_number"])])
        mixture.build((None, None, config.feature_size))
        variables = variable_names.mixture_variables(mixture, "tower_0")
        golden_models.assign(variables, info, golden, prefix)
        labels, label_weights = (
            ops.cast(golden.array(prefix, key), "float32") if f"{prefix}|{key}" in golden.arrays else None
            for key in ("labels", "label_weights")
        )
        frames, num_frames = golden_models.frames(info, golden, prefix), golden_models.num_frames(info)

        def total():
            output = mixture(frames, num_frames, training=training)
            terms = losses.tree_losses(output, labels, label_weights, recipe)
            terms["l2"] = losses.l2_penalty(mixture.regularized_weights, info["l2_penalty"])
            return losses.total_loss(terms, recipe)

        moving = {name: ops.convert_to_numpy(variable) for name, variable in variables.items() if "moving" in name}
        norms = [
            ops.norm(ops.reshape(gradient, (-1,)))
            for gradient in gradients(total, [variables[name] for name in info["grad_norm_names"]])
        ]
        compare(
            "3 mixture", f"gradient norms, {mode(training)}", ops.stack(norms), golden.array(case, "grad_norms"), NORMS
        )
        for name, value in moving.items():
            variables[name].assign(value)
        output = mixture(frames, num_frames, training=training)
        terms = losses.tree_losses(output, labels, label_weights, recipe)
        compare(
            "3 mixture",
            f"predictions, {mode(training)}",
            output.probabilities,
            golden.array(case, "predictions"),
            **tolerance(training),
        )
        compare("3 mixture", "mixing weights", output.weights, golden.array(case, "mix_weights"), absolute=EVAL)
        compare(
            "3 mixture",
            f"KL, {mode(training)}",
            sum(terms[f"kl/{index}"] for index in range(info["mix_number"])) * info["cl_lambda"],
            golden.array(case, "kl_regularization_loss"),
            TRAIN,
        )
        compare(
            "3 mixture",
            f"BCE, {mode(training)}",
            terms["bce"],
            golden.array(case, "label_loss_mix_weighted"),
            TRAIN if training else EVAL,
        )
        for name in golden.keys(case, "updated"):
            compare("3 mixture", "moving averages", variables[name], golden.array(case, "updated", name), TRAIN)


def compare_dbof(compare):
    """Item 5: the deep bag of frames with its mixture of experts."""
    golden = golden_data.item("dbof_model")
    for case, info in golden.cases.items():
        prefix, training = case.rsplit("_", 1)[0], info["is_training"]
        config = ModelConfig(
            "golden",
            pooling="dbof",
            num_classes=info["vocab"],
            clusters=info["clusters"],
            hidden_size=info["hidden"],
            gating_reduction=1,
            experts=info["mixtures"],
            sampled_frames=info["iterations"],
            max_frames=info["frames"],
        )
        leaf = DBoFModel(config, unbiased_moving_variance=True)
        leaf.bag = DeepBagOfFrames(
            info["clusters"],
            info["hidden"],
            info["iterations"],
            info["activation"],
            info["pooling"],
            l2_normalize=info["l2_normalize"],
            unbiased_moving_variance=True,
        )
        width = dict(info["variables"])["tower/input_bn/gamma"][0]
        leaf.build((None, None, width))
        variables = variable_names.dbof_variables(leaf, "tower")
        golden_models.assign(variables, info, golden, prefix)
        frames = golden_models.frames(info, golden, prefix, width=width)
        frames = frames * (np.arange(info["frames"]) < np.array(info["num_frames"])[:, None])[..., None]
        hidden = leaf.bag(frames.astype(np.float32), frame_index=golden.array(case, "frame_index"), training=training)
        _, probabilities = leaf.classifier(hidden)
        compare(
            "5 bag of frames",
            f"predictions, {mode(training)}",
            probabilities,
            golden.array(case, "predictions"),
            **tolerance(training),
        )
        for name in golden.keys(case, "updated"):
            compare("5 bag of frames", "moving averages", variables[name], golden.array(case, "updated", name), TRAIN)


def main():
    if keras.backend.backend() == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", "highest")  # A GPU would take TF32 otherwise.
    compare = Comparison()
    compare_scaling(compare)
    compare_layer(compare, folded=False)
    compare_layer(compare, folded=True)
    compare_leaf(compare)
    compare_mixture(compare)
    compare_dbof(compare)
    beyond = compare.show()
    print(
        f"Keras {keras.__version__} on {keras.backend.backend()}: "
        + (f"{beyond} beyond tolerance" if beyond else "all within tolerance")
    )
    return min(beyond, 1)


if __name__ == "__main__":
    sys.exit(main())
