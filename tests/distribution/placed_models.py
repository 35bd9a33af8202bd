"""Small models on devices, and what a few steps make of them."""

import keras
import numpy as np
import tensorflow as tf

from youtube8m_mod import config
from youtube8m_mod.distribution.placement import Placement
from youtube8m_mod.models.graph_passes import few_passes
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.training import checkpoints
from youtube8m_mod.training.optimizer import FusedAdam

FOUR = ("CPU:0", "CPU:1", "CPU:2", "CPU:3")
SIZES = (
    "feature_sizes=16,8",
    "num_classes=20",
    "max_frames=6",
    "clusters=4",
    "groups=2",
    "expansion=2",
    "hidden_size=12",
    "gating_reduction=2",
)


class Run:
    """A model with its optimizer and its step, always of the same initial weights.

    Args:
        placement: a `Placement`.
        branching: of the model.
        dropout: rate.
    """

    def __init__(self, placement=None, branching="4", dropout=0.5, batch_size=8):
        self.placement = placement or Placement()
        model = config.model_config("nextvlad_tiny", [*SIZES, f"branching={branching}"])
        phase = config.phase_config(
            "finetune", {"batch_size": batch_size, "dropout": dropout, "l2_penalty": 0.01, "temperature": 2.0}
        )
        keras.utils.set_random_seed(3)
        with self.placement.variables():
            self.model = MOD.for_phase(model, phase, self.placement, seed=5)
            self.optimizer = FusedAdam(0.001)
            self.model.compile(self.optimizer)
        self.step = self.placement.step(self.model.train_step)

    def train(self, batches):
        """Loss terms of the steps, one row a step; their graph is the one that the Trainer runs."""
        with few_passes():
            return np.array([self._terms(batch) for batch in batches])

    def _terms(self, batch):
        self.model.reset_metrics()
        self.step(batch)
        return [value.numpy() for value in self.model.loss_means.terms().values()]

    def state(self):
        """{path: array} of model and optimizer, as a checkpoint names them."""
        variables = checkpoints.model_variables(self.model) | checkpoints.optimizer_variables(
            self.model, self.optimizer
        )
        return {path: variable.numpy() for path, variable in variables.items()}


def batch(size=8, seed=0, copies=1):
    """A batch of rated segments; with `copies` the examples repeat so many times."""
    random = np.random.default_rng(seed)
    own = size // copies
    values = {
        "features": random.integers(0, 256, (own, 5, 24), dtype=np.uint8),
        "num_frames": np.full(own, 5, np.int32),
        "present_frames": random.integers(2, 6, own, dtype=np.int32),
        "labels": random.integers(0, 2, (own, 20), dtype=np.uint8),
        "label_weights": random.integers(0, 2, (own, 20), dtype=np.uint8),
    }
    return {key: tf.constant(np.concatenate([value] * copies)) for key, value in values.items()}


def assert_close(first, second, absolute, relative=1e-4):
    """Asserts that two results of `Run.state` are close, array by array.

    Left out is the pooling's last beta: the batch norm behind the hidden layer takes any shift away, its true gradient
    is 0, and Adam makes steps of full size of the rounding errors (golden item 4 leaves it out for the same reason).
    """
    assert first.keys() == second.keys()
    for path in first:
        if "output_norm/beta" in path:
            continue
        np.testing.assert_allclose(first[path], second[path], atol=absolute, rtol=relative, err_msg=path)
