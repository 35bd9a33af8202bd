"""Golden item 2: one NeXtVLAD model, as a branch of a mixture and as the single model."""

import pytest

from tests import golden_data
from tests.models import golden_models
from youtube8m_mod import losses, tf1_names
from youtube8m_mod.models.nextvlad import NeXtVLADModel

GOLDEN = golden_data.item("nextvlad_model")
SUFFIXES = {"mixbranch": "vlad", "NeXtVLADModel": "VLAD"}


@pytest.mark.parametrize("case", GOLDEN.cases)
def test_model(case, close):
    info = GOLDEN.cases[case]
    prefix = case.split("_")[0]
    training = info["is_training"]
    leaf = NeXtVLADModel(golden_models.model_config(info, ()),
                         unbiased_moving_variance=bool(info["gating_bn_fused_ops"]))
    leaf.build((None, None, 1152))
    variables = tf1_names.leaf_variables(leaf, info["scope"], SUFFIXES[info["cls"]])
    golden_models.assign(variables, info, GOLDEN, prefix)
    stages = {}
    leaf.dropout.call = lambda x, training=None: stages.setdefault("vlad_concat", x)
    gating = leaf.gating.call
    leaf.gating.call = lambda x, training=None: stages.setdefault(
        "gated_hidden", gating(stages.setdefault("hidden_after_bn", x), training=training))
    output = leaf(golden_models.frames(info, GOLDEN, prefix), golden_models.num_frames(info), training=training)

    tolerance = dict(relative=1e-4) if training else dict(absolute=1e-5)
    mode = "train" if training else "eval"
    for name, value in {"predictions": output.probabilities, "logits": output.logits, **stages}.items():
        # Logits and hidden values reach 10: their eval tolerance is the predictions' 1e-5, relative.
        allowed = tolerance if name == "predictions" else tolerance | {"relative": 1e-4 if training else 1e-5}
        close("2 nextvlad_model", f"{name}, {mode}", value, GOLDEN.array(case, name), **allowed)
    penalties = [losses.l2_penalty([weight], info["l2_penalty"]) for weight in leaf.regularized_weights]
    close("2 nextvlad_model", "l2 losses", penalties, GOLDEN.array(case, "reg_losses"), relative=1e-5)
    updated = GOLDEN.keys(case, "updated")
    assert len(updated) == info["num_update_ops"]
    for name in updated:
        close("2 nextvlad_model", "moving averages", variables[name], GOLDEN.array(case, "updated", name),
              relative=1e-4)
