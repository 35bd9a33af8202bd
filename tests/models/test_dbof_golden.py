"""Golden item 5: the starter code's deep bag of frames with its mixture of experts."""

import numpy as np
import pytest

from tests import backend, golden_data
from tests.models import golden_models
from tests.models.golden_models import EVAL, NORMS, TRAIN
from youtube8m_mod import losses
from youtube8m_mod.config import ModelConfig
from youtube8m_mod.layers.deep_bag_of_frames import DeepBagOfFrames
from youtube8m_mod.models.nextvlad import DBoFModel
from youtube8m_mod.tf1 import variable_names

GOLDEN = golden_data.item("dbof_model")
ITEM = "5 dbof_model"


def _prefix(case):
    return case.rsplit("_", 1)[0]


def _width(info):
    return dict(info["variables"])["tower/cluster_weights"][0]


def _input(info, prefix):
    """Normal frames, zero beyond the video's end, l2-normalised a frame where the case says so."""
    frames = golden_models.frames(info, GOLDEN, prefix, width=_width(info))
    frames = frames * (np.arange(info["frames"])[None] < np.array(info["num_frames"])[:, None])[..., None]
    if info["l2_normalize"]:
        frames = frames / np.sqrt(np.maximum((frames**2).sum(-1, keepdims=True), 1e-12))
    return frames.astype(np.float32)


def _frame_index(info, case, prefix):
    """The frames that the case samples: ours where it draws them singly, the starter's where it takes a sequence."""
    expected = GOLDEN.array(case, "frame_index")
    if info["sample_random_frames"]:
        uniform = GOLDEN.array(prefix, "uniform")
        index = (uniform * np.array(info["num_frames"], np.float32)[:, None]).astype(np.int32)
        np.testing.assert_array_equal(index, expected)
    return expected


def test_no_unknown_arrays():
    GOLDEN.check_cases(_prefix)
    for case in GOLDEN.cases:
        GOLDEN.check_keys({"labels", "uniform"}, _prefix(case))


@pytest.mark.parametrize("case", GOLDEN.cases)
def test_model(case, close):
    info = GOLDEN.cases[case]
    prefix = _prefix(case)
    training = info["is_training"]
    config = ModelConfig(
        "golden",
        pooling="dbof",
        feature_names=("all",),
        feature_sizes=(_width(info),),
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
        l2_normalize=False,
        unbiased_moving_variance=True,
    )
    leaf.build((None, None, _width(info)))
    variables = variable_names.dbof_variables(leaf, "tower")
    golden_models.assign(variables, info, GOLDEN, prefix)
    labels = GOLDEN.array(prefix, "labels")

    def forward():
        hidden = leaf.bag(_input(info, prefix), frame_index=_frame_index(info, case, prefix), training=training)
        _, probabilities = leaf.classifier(hidden)
        return hidden, probabilities, losses.binary_cross_entropy(labels, probabilities)

    gradients = backend.gradients(lambda: forward()[-1], [variables[name] for name in info["grad_norm_names"]])
    golden_models.assign(variables, info, GOLDEN, prefix)  # Computing the gradients moved the averages.
    hidden, probabilities, label_loss = forward()

    mode = "train" if training else "eval"
    tolerance = TRAIN if training else EVAL
    close(ITEM, f"predictions, {mode}", probabilities, GOLDEN.array(case, "predictions"), **tolerance)
    close(ITEM, f"hidden, {mode}", hidden, GOLDEN.array(case, "hidden_activation"), **tolerance)
    close(ITEM, f"label loss, {mode}", label_loss, GOLDEN.array(case, "label_loss"), relative=1e-4)
    # The starter's penalty on gates and experts has the scale 1e-8.
    penalties = [losses.l2_penalty([weight], 1e-8) for weight in leaf.regularized_weights]
    close(ITEM, "l2 losses", penalties, GOLDEN.array(case, "reg_losses"), relative=1e-5)
    norms = golden_models.norms(gradients)
    meaningful = golden_models.meaningful(info["grad_norm_names"], training)
    close(ITEM, f"gradient norms, {mode}", norms[meaningful], GOLDEN.array(case, "grad_norms")[meaningful], **NORMS)
    for name in GOLDEN.keys(case, "updated"):
        close(ITEM, "moving averages", variables[name], GOLDEN.array(case, "updated", name), relative=1e-4)
    GOLDEN.check_keys(
        {"predictions", "hidden_activation", "label_loss", "reg_losses", "frame_index", "grad_norms", "updated"}, case
    )
