"""Hit@1."""

from typing import Any

import keras
from keras import ops

from youtube8m_mod.metrics.rated import rated
from youtube8m_mod.tree import Tensor


@keras.saving.register_keras_serializable("youtube8m_mod")
class HitAt1(keras.metrics.Mean):
    """Share of the examples whose best class is a label.

    Arguments of `update_state` as those of `GAP`; weights of examples weight the mean.

    Reference: S. Abu-El-Haija et al., YouTube-8M, https://arxiv.org/abs/1609.08675.
    """

    def __init__(self, name: str = "hit_at_1", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        labels, predictions, weights = rated(y_true, y_pred, sample_weight)
        best = ops.argmax(predictions, axis=1)
        hits = ops.take_along_axis(labels, best[:, None], axis=1)[:, 0] > 0
        super().update_state(ops.cast(hits, "float32"), sample_weight=weights)
