"""Golden item 1: the NeXtVLAD layer alone, values, gradients and batch-norm updates."""

import numpy as np
import pytest
import tensorflow as tf

from tests import golden_data
from youtube8m_mod import tf1_names
from youtube8m_mod.layers.nextvlad import NeXtVLAD

GOLDEN = golden_data.item("nextvlad_layer")


@pytest.mark.parametrize("training_rows", [None, 10**9], ids=["direct", "folded"])
@pytest.mark.parametrize("case", GOLDEN.cases)
def test_layer(case, training_rows, close):
    info = GOLDEN.cases[case]
    prefix = case.split("_")[0]
    training = info["is_training"]
    layer = NeXtVLAD(info["groups"], info["clusters"], info["expansion"], training_rows)
    layer.build((None, None, info["feature_size"]))
    variables = tf1_names.pooling_variables(layer, "L")
    assert set(variables) == {name for name, _ in info["variables"]}
    for name, variable in variables.items():
        variable.assign(GOLDEN.array(prefix, "var", name))
    inputs = tf.constant(GOLDEN.array(prefix, "input"))
    mask = tf.sequence_mask(info["num_frames"], info["frames"]) if info["masked"] else None

    trainable = {name: variables[name].value for name in variables if "moving" not in name}
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = layer(inputs, mask, training=training)
        product = tf.reduce_sum(output * GOLDEN.array(prefix, "cotangent"))
    gradients = tape.gradient(product, trainable | {"input": inputs})

    # In train mode a batch of 5 makes the batch norms ill-conditioned: 1e-4 relative, as the golden set supports.
    tolerance = dict(relative=1e-4) if training else dict(absolute=1e-5)
    mode = "train" if training else "eval"
    close("1 nextvlad_layer", f"output, {mode}", output, GOLDEN.array(case, "output"), **tolerance)
    for name, gradient in gradients.items():
        expected = GOLDEN.array(case, "grad", name)
        close("1 nextvlad_layer", f"gradients, {mode}", gradient, expected, relative=1e-4, absolute=1e-5)
    updated = GOLDEN.keys(case, "updated")
    assert len(updated) == info["num_update_ops"]
    for name in variables:
        if "moving" in name:
            expected = GOLDEN.array(case, "updated", name) if training else GOLDEN.array(prefix, "var", name)
            close("1 nextvlad_layer", "moving averages", variables[name], expected, relative=1e-5)


@pytest.mark.parametrize("case", [case for case in GOLDEN.cases if case.endswith("eval")])
def test_parts_of_the_formula(case, close):
    """The stages of Eq. 2-5, computed from the layer's weights step by step."""
    info = GOLDEN.cases[case]
    prefix = case.split("_")[0]
    w = {name: GOLDEN.array(prefix, "var", name).astype(np.float64) for name, _ in info["variables"]}
    G, K = info["groups"], info["clusters"]
    x = GOLDEN.array(prefix, "input").astype(np.float64)
    expanded = x @ w["L/fully_connected/weights"] + w["L/fully_connected/biases"]
    attention = 1 / (1 + np.exp(-(expanded @ w["L/fully_connected_1/weights"] + w["L/fully_connected_1/biases"])))
    logits = expanded @ w["L/cluster_weights"]
    logits = ((logits - w["L/cluster_bn/moving_mean"]) / np.sqrt(w["L/cluster_bn/moving_variance"] + 1e-3)
              * w["L/cluster_bn/gamma"] + w["L/cluster_bn/beta"]).reshape(len(x), -1, K)
    soft = np.exp(logits - logits.max(-1, keepdims=True))
    soft /= soft.sum(-1, keepdims=True)
    close("1 nextvlad_layer", "expansion", expanded, GOLDEN.array(case, "projected"), absolute=1e-5)
    close("1 nextvlad_layer", "attention", attention, GOLDEN.array(case, "attention_raw"), absolute=1e-5)
    close("1 nextvlad_layer", "assignment", soft, GOLDEN.array(case, "soft_assign"), absolute=1e-5)
    mask = np.arange(info["frames"])[None] < np.array(info["num_frames"])[:, None]
    attention = attention * (mask[..., None] if info["masked"] else 1)
    alpha = soft * attention.reshape(len(x), -1, 1)
    vlad = np.einsum("bmf,bmk->bfk", expanded.reshape(len(x), info["frames"] * G, -1), alpha)
    vlad = vlad - alpha.sum(1, keepdims=True) * w["L/cluster_weights2"]
    vlad /= np.sqrt(np.maximum((vlad**2).sum(1, keepdims=True), 1e-12))
    close("1 nextvlad_layer", "after Eq. 5", vlad, GOLDEN.array(case, "vlad_l2"), absolute=1e-5)
