"""Small models that look trained: batch-norm averages, offsets and the PCA scale are not 0 and 1."""

import dataclasses

import keras
import numpy as np

from youtube8m_mod.config import PHASES, ModelConfig
from youtube8m_mod.models.mod import MOD

SMALL = ModelConfig(
    "small",
    feature_sizes=(24, 8),
    num_classes=20,
    max_frames=9,
    clusters=6,
    groups=4,
    expansion=2,
    hidden_size=16,
    gating_reduction=4,
    experts=3,
    sampled_frames=4,
)


def trained_model(config=SMALL, segments=False, placement=None, seed=0, **fields):
    """A `MOD` with random weights; `fields` replace those of the configuration."""
    keras.utils.set_random_seed(seed)
    phase = PHASES["finetune" if segments else "pretrain"]
    model = MOD.for_phase(dataclasses.replace(config, **fields), phase, placement)
    random = np.random.default_rng(seed)
    for variable in model.variables:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(random.uniform(0.5, 2, variable.shape))
        elif variable.name in ("beta", "moving_mean") or "bias" in variable.name:
            variable.assign(random.normal(0, 0.5, variable.shape))
    if model.scaling.whitened_size:
        model.scaling.set_eigenvalues(random.uniform(0.05, 4, model.scaling.whitened_size))
    return model


def batch_of(model, present, frames=None, seed=0, quantized=True):
    """A batch with as many present frames an example; `frames` are its rows, the model's where None.

    Bytes of absent rows are not 0: nothing may read them.
    """
    random = np.random.default_rng(seed)
    features = random.integers(0, 256, (len(present), model.config.max_frames, model.config.feature_size), np.uint8)
    if not quantized:
        features = (features * np.float32(4 / 255) + np.float32(4 / 512 - 2)).astype(np.float32)
    present = np.array(present, np.int32)
    attended = np.full_like(present, 5) if model.segments else present
    return {"features": features[:, : frames or model.frames], "num_frames": attended, "present_frames": present}
