"""Golden item 1: the NeXtVLAD layer alone, values, gradients and batch-norm updates."""

import keras
import numpy as np
import pytest
from keras import ops

from tests import backend, golden_data
from youtube8m_mod.layers.nextvlad import NeXtVLAD
from youtube8m_mod.tf1 import variable_names

GOLDEN = golden_data.item("nextvlad_layer")
ITEM = "1 nextvlad_layer"
# In train mode a tiny batch makes the batch norms ill-conditioned: 1e-4 relative, as the golden set supports.
TOLERANCE = {True: dict(relative=1e-4), False: dict(absolute=1e-5, relative=1e-5)}
STAGES = {"projected", "attention_raw", "soft_assign", "vlad_l2"}


def _scope(info):
    return info["variables"][0][0].split("/")[0]


def test_no_unknown_arrays():
    GOLDEN.check_cases(golden_data.prefix)
    for case in GOLDEN.cases:
        GOLDEN.check_keys({"var", "input", "cotangent"}, golden_data.prefix(case))
        GOLDEN.check_keys({*STAGES, "output", "grad", "updated"}, case)


@pytest.mark.parametrize("folded", [False, True], ids=["direct", "folded"])
@pytest.mark.parametrize("case", GOLDEN.cases)
def test_layer(case, folded, close, monkeypatch):
    monkeypatch.setattr(NeXtVLAD, "_folding_pays", lambda self, input_shape: folded)
    info = GOLDEN.cases[case]
    prefix = golden_data.prefix(case)
    training = info["is_training"]
    layer = NeXtVLAD(info["groups"], info["clusters"], info["expansion"])
    layer.build((None, None, info["feature_size"]))
    variables = variable_names.pooling_variables(layer, _scope(info))
    assert set(variables) == {name for name, _ in info["variables"]}
    for name, variable in variables.items():
        variable.assign(GOLDEN.array(prefix, "var", name))
    inputs = keras.Variable(GOLDEN.array(prefix, "input"))
    mask = np.arange(info["frames"]) < np.array(info["num_frames"])[:, None] if info["masked"] else None
    cotangent = ops.convert_to_tensor(GOLDEN.array(prefix, "cotangent"))

    trainable = {name: variables[name] for name in variables if "moving" not in name} | {"input": inputs}
    values = backend.gradients(
        lambda: ops.sum(layer(inputs.value, mask, training=training) * cotangent), list(trainable.values())
    )
    gradients = dict(zip(trainable, values))
    for name in variables:
        if "moving" in name:  # Computing the gradients has moved them too, except under JAX.
            variables[name].assign(GOLDEN.array(prefix, "var", name))
    output = layer(inputs.value, mask, training=training)

    mode = "train" if training else "eval"
    close(ITEM, f"output, {mode}", output, GOLDEN.array(case, "output"), **TOLERANCE[training])
    assert set(GOLDEN.keys(case, "grad")) == set(gradients)
    for name, gradient in gradients.items():
        expected = GOLDEN.array(case, "grad", name)
        close(ITEM, f"gradients, {mode}", gradient, expected, relative=1e-4, absolute=1e-5)
    updated = GOLDEN.keys(case, "updated")
    assert len(updated) == info["num_update_ops"]
    for name in variables:
        if "moving" in name:
            expected = GOLDEN.array(case, "updated", name) if training else GOLDEN.array(prefix, "var", name)
            close(ITEM, "moving averages", variables[name], expected, relative=1e-5)


@pytest.mark.parametrize("case", GOLDEN.cases)
def test_parts_of_the_formula(case, close):
    """The stages of Eq. 2-5, computed from the layer's weights step by step."""
    info = GOLDEN.cases[case]
    prefix = golden_data.prefix(case)
    training = info["is_training"]
    w = {
        name.removeprefix(f"{_scope(info)}/"): GOLDEN.array(prefix, "var", name).astype(np.float64)
        for name, _ in info["variables"]
    }
    G, K = info["groups"], info["clusters"]
    x = GOLDEN.array(prefix, "input").astype(np.float64)
    expanded = x @ w["fully_connected/weights"] + w["fully_connected/biases"]
    attention = 1 / (1 + np.exp(-(expanded @ w["fully_connected_1/weights"] + w["fully_connected_1/biases"])))
    logits = expanded @ w["cluster_weights"]
    mean, variance = w["cluster_bn/moving_mean"], w["cluster_bn/moving_variance"]
    if training:
        mean, variance = logits.mean((0, 1)), logits.var((0, 1))
    logits = (logits - mean) / np.sqrt(variance + 1e-3) * w["cluster_bn/gamma"] + w["cluster_bn/beta"]
    logits = logits.reshape(len(x), -1, K)
    soft = np.exp(logits - logits.max(-1, keepdims=True))
    soft /= soft.sum(-1, keepdims=True)
    mask = np.arange(info["frames"])[None] < np.array(info["num_frames"])[:, None]
    alpha = soft * (attention * (mask[..., None] if info["masked"] else 1)).reshape(len(x), -1, 1)
    vlad = np.einsum("bmf,bmk->bfk", expanded.reshape(len(x), info["frames"] * G, -1), alpha)
    vlad = vlad - alpha.sum(1, keepdims=True) * w["cluster_weights2"]
    vlad /= np.sqrt(np.maximum((vlad**2).sum(1, keepdims=True), 1e-12))
    stages = {"projected": expanded, "attention_raw": attention, "soft_assign": soft, "vlad_l2": vlad}
    assert set(stages) == STAGES
    for name, value in stages.items():
        close(
            ITEM, f"{name}, {'train' if training else 'eval'}", value, GOLDEN.array(case, name), **TOLERANCE[training]
        )
