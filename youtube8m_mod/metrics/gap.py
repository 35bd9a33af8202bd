"""Global average precision."""

import threading
from typing import Any

import keras
import numpy as np
from keras import ops

from youtube8m_mod.metrics.average_precision import GAP_TOP_K, ranked_average_precision
from youtube8m_mod.metrics.rated import rated
from youtube8m_mod.tree import Tensor


@keras.saving.register_keras_serializable("youtube8m_mod")
class GAP(keras.metrics.Metric):
    """Average precision over the `top_k` best predictions of every example, taken together.

    With all these predictions in order of probability,

        GAP = sum_i P(i) rel(i) / number of labels,

    P(i) being the precision among the first i and rel(i) whether the i-th is a label. Exact: it holds every prediction
    that counts, 5 bytes each (100 bytes an example), in the memory of the process and not in variables. So it works
    under TensorFlow, in graphs too, and eagerly under PyTorch; it cannot be compiled by XLA (`jit_compile=True`).

    Args:
        top_k: predictions of an example that count.

    Call arguments of `update_state`:
        y_true: multi-hot labels `(batch, classes)`.
        y_pred: probabilities `(batch, classes)`.
        sample_weight: `(batch, classes)`, 0 where a class does not count (it was not rated); or `(batch,)`, 0 where an
            example does not.

    Raises:
        ValueError: where labels, probabilities or weights are of other shapes.

    Reference: the YouTube-8M challenges.
    """

    def __init__(self, top_k: int = GAP_TOP_K, name: str = "gap", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        if top_k < 1:
            raise ValueError(f"Expected top_k of at least 1, got {top_k}.")
        self.top_k = top_k
        self._lock = threading.Lock()  # Replicas take their turns.
        self.reset_state()

    def reset_state(self) -> None:
        self._negated, self._correct = np.zeros(0, np.float32), np.zeros(0, bool)  # In order of probability.
        self._num_labels = 0

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        labels, predictions, weights = rated(y_true, y_pred, sample_weight)
        counts = weights > 0
        probabilities, classes = ops.top_k(predictions, min(self.top_k, labels.shape[-1]))
        correct = ops.take_along_axis(labels, classes, axis=1) > 0
        counted = ops.logical_and(counts[:, None], probabilities > -float("inf"))
        num_labels = ops.sum(ops.cast(labels > 0, "float32") * ops.cast(counts, "float32")[:, None])
        _call(self._insert, (probabilities, correct, counted, num_labels))

    def result(self) -> Tensor:
        return _call(self._value, (), "float64")

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"top_k": self.top_k}

    def _insert(self, probabilities, correct, counted, num_labels):
        negated, correct = -probabilities[counted], correct[counted]
        order = np.argsort(negated, kind="stable")
        with self._lock:
            # After earlier ones of the same probability.
            places = np.searchsorted(self._negated, negated[order], side="right")
            self._negated = np.insert(self._negated, places, negated[order])
            self._correct = np.insert(self._correct, places, correct[order])
            self._num_labels += int(num_labels)

    def _value(self):
        with self._lock:
            return np.float64(ranked_average_precision(self._correct, self._num_labels))


def _call(function, values, dtype=None):
    """`function` of the values as arrays, in TensorFlow's graphs too."""
    if keras.backend.backend() != "tensorflow":
        return function(*(ops.convert_to_numpy(value) for value in values))
    import tensorflow as tf

    result = tf.numpy_function(function, values, [] if dtype is None else dtype)
    return None if dtype is None else tf.ensure_shape(result, ())
