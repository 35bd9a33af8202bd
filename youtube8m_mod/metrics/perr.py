"""Precision at equal recall rate."""

from typing import Any

import keras
from keras import ops

from youtube8m_mod.metrics.rated import rated
from youtube8m_mod.tree import Tensor


@keras.saving.register_keras_serializable("youtube8m_mod")
class PERR(keras.metrics.Mean):
    """Mean over examples of the precision among as many best classes as the example has labels.

    mean over v of |labels of v among its |labels of v| best classes| / |labels of v|. A class of probability 0 is no
    hit, and an example without labels gives 0. Arguments of `update_state` as those of `GAP`; weights of examples
    weight the mean.

    Reference: S. Abu-El-Haija et al., YouTube-8M, https://arxiv.org/abs/1609.08675.
    """

    def __init__(self, name: str = "perr", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        labels, predictions, weights = rated(y_true, y_pred, sample_weight)
        count = ops.sum(ops.cast(labels > 0, "int32"), axis=1)
        looked_at = _largest(count, labels.shape[1])
        best, classes = ops.top_k(predictions, looked_at)
        first = ops.arange(looked_at, dtype="int32") < count[:, None]
        hits = ops.logical_and(ops.logical_and(first, best > 0), ops.take_along_axis(labels, classes, axis=1) > 0)
        precision = ops.sum(ops.cast(hits, "float32"), axis=1) / ops.cast(ops.maximum(count, 1), "float32")
        super().update_state(precision, sample_weight=weights)


def _largest(count, classes):
    """The largest number of labels, or in a graph, where it is not known, that of the classes: sorting all is slow."""
    try:
        return min(int(ops.max(count, initial=1)), classes)  # A replica may have no example.
    except TypeError:
        return classes
