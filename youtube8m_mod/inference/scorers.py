"""What scores a batch: folded models, several of which give the weighted mean of their logits."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from youtube8m_mod.inference.embeddings import CONCATENATE
from youtube8m_mod.inference.folded_model import Examples, FoldedModel, Values


class Scorer:
    """Folded models that score together, sigmoid(sum_m w_m z_m) with z_m the logits of model m.

    Args:
        models: `FoldedModel`s that score the same classes.
        weights: one a model, summing to one.
        attends_to_all: whether a batch counts as having no padding: a segment's five frames, those past the end of the
            video too, as in finetuning.
        padded_frames: the rows that examples count as padded to, where not those of the models in training
            (`Examples`).

    Call arguments:
        features: `(batch, frames, features)`.
        num_frames: `(batch,)`, frames to attend to.
        present_frames: `(batch,)`, leading frames that exist.

    Returns:
        probabilities, float32 `(batch, C)`.
    """

    def __init__(
        self,
        models: Sequence[FoldedModel],
        weights: Sequence[float],
        attends_to_all: bool = False,
        padded_frames: int | None = None,
    ):
        self.models, self.weights = models, weights
        self.attends_to_all, self.padded_frames = attends_to_all, padded_frames

    def __call__(self, features: Values, num_frames: Values, present_frames: Values) -> tf.Tensor:
        if len(self.models) == 1:
            return self.models[0].predict(*self._examples(features, num_frames, present_frames))
        return tf.sigmoid(self.logits(features, num_frames, present_frames))

    def logits(self, features: Values, num_frames: Values, present_frames: Values) -> tf.Tensor:
        """The mean of the models' logits, float32 `(batch, C)`; arguments as of a call."""
        examples = self._examples(features, num_frames, present_frames)
        logits = [model.predict_logits(*examples) for model in self.models]
        return weighted_mean(logits, self.weights)

    def outputs(
        self, features: Values, num_frames: Values, present_frames: Values, join: str
    ) -> tuple[tf.Tensor, np.ndarray]:
        """What `logits` gives, and the embeddings of the batch, float32 `(batch, size)`.

        Args:
            join: how leaves and models are joined; see `join_leaves`.
        """
        examples = self._examples(features, num_frames, present_frames)
        logits, hidden = zip(*(model.predict_outputs(*examples) for model in self.models))
        return weighted_mean(logits, self.weights), join_leaves([each.numpy() for each in hidden], self.weights, join)

    def _examples(self, features, num_frames, present_frames):
        return Examples(features, None if self.attends_to_all else num_frames, present_frames, self.padded_frames)


@dataclasses.dataclass
class Ones:
    """Gives every segment probability 1 in every class: P_seg^0, for which no model is needed."""

    num_classes: int

    def __call__(self, features: Values, num_frames: Values, present_frames: Values) -> np.ndarray:
        return np.ones((len(features), self.num_classes), np.float32)


def weighted_mean(values: Sequence[Values], weights: Sequence[float]) -> Values:
    """The mean of the models' values, by weights that sum to one."""
    return sum(np.float32(weight) * each for weight, each in zip(weights, values))


def join_leaves(hidden: Sequence[np.ndarray], weights: Sequence[float], join: str) -> np.ndarray:
    """The embeddings of a batch from the hidden vectors of the leaves of some models.

    Args:
        hidden: float32 (batch, leaves, hidden size) of each model.
        weights: one a model, summing to one.
        join: `CONCATENATE`: the leaves of the first model, in the order of the tree, then those of the next; `MEAN`:
            the mean over leaves of each model, then over models by weight, for which their hidden sizes must agree.

    Returns:
        float32 (batch, size).
    """
    if join == CONCATENATE:
        return np.concatenate([np.reshape(each, (len(each), -1)) for each in hidden], axis=1)
    return weighted_mean([np.mean(each, axis=1) for each in hidden], weights)
