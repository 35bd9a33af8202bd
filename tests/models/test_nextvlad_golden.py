"""Golden item 2: one NeXtVLAD model, as a branch of a mixture and as the single model."""

import pytest
from keras import ops

from tests import golden_data
from tests.models import golden_models
from tests.models.golden_models import EVAL, EVAL_LOGITS, TRAIN
from youtube8m_mod import losses
from youtube8m_mod.models.nextvlad import NeXtVLADModel
from youtube8m_mod.tf1 import variable_names

GOLDEN = golden_data.item("nextvlad_model")
ITEM = "2 nextvlad_model"
SUFFIXES = {"mixbranch": "vlad", "NeXtVLADModel": "VLAD"}


def test_no_unknown_arrays():
    GOLDEN.check_cases(golden_data.prefix)


@pytest.mark.parametrize("case", GOLDEN.cases)
def test_model(case, close):
    info = GOLDEN.cases[case]
    training = info["is_training"]
    leaf = NeXtVLADModel(
        golden_models.model_config(info, ()), unbiased_moving_variance=bool(info["gating_bn_fused_ops"])
    )
    leaf.build((None, None, sum(golden_models.feature_sizes(info))))
    variables = variable_names.leaf_variables(leaf, info["scope"], SUFFIXES[info["cls"]])
    prefix = golden_data.prefix(case)
    golden_models.assign(variables, info, GOLDEN, prefix)
    stages = _record_stages(leaf)
    output = leaf(golden_models.frames(info, GOLDEN, prefix), golden_models.num_frames(info), training=training)

    mode, logits = ("train", TRAIN) if training else ("eval", EVAL_LOGITS)
    close(
        ITEM,
        f"predictions, {mode}",
        output.probabilities,
        GOLDEN.array(case, "predictions"),
        **(TRAIN if training else EVAL),
    )
    for name, value in {"logits": output.logits, **stages}.items():
        close(ITEM, f"{name}, {mode}", value, GOLDEN.array(case, name), **logits)
    penalties = [losses.l2_penalty([weight], info["l2_penalty"]) for weight in leaf.regularized_weights]
    close(ITEM, "l2 losses", penalties, GOLDEN.array(case, "reg_losses"), relative=1e-5)
    updated = GOLDEN.keys(case, "updated")
    assert len(updated) == info["num_update_ops"]
    for name in updated:
        close(ITEM, "moving averages", variables[name], GOLDEN.array(case, "updated", name), relative=1e-4)
    GOLDEN.check_keys({"predictions", "logits", *stages, "reg_losses", "updated"}, case)


def _record_stages(leaf):
    """A dict that the leaf's next call fills with what flows between its layers."""
    stages = {}
    gating, norm = leaf.gating.call, leaf.gating.norm.call

    def gate(inputs, training=None):
        stages["hidden_after_bn"] = inputs
        stages["gated_hidden"] = gating(inputs, training=training)
        return stages["gated_hidden"]

    def normalize(inputs, **options):
        outputs = norm(inputs, **options)
        stages["gates_after_relu"] = ops.relu(outputs)
        return outputs

    leaf.dropout.call = lambda inputs, training=None: stages.setdefault("vlad_concat", inputs)
    leaf.gating.call, leaf.gating.norm.call = gate, normalize
    return stages
