"""Batch normalisation with the original's settings."""

import math
from typing import Any

import keras
from keras import ops

from youtube8m_mod.tree import Tensor

EPSILON = 1e-3


@keras.saving.register_keras_serializable("youtube8m_mod")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' batch normalisation with slim's decay and epsilon.

    Args:
        unbiased_moving_variance: let the moving average take the batch variance with Bessel's correction, as
            TensorFlow 1's fused kernel does; the normalisation itself is the same. An accident of the original.
        **kwargs: of `keras.layers.BatchNormalization`; momentum 0.999 and epsilon 1e-3 by default.
    """

    def __init__(
        self, unbiased_moving_variance: bool = False, momentum: float = 0.999, epsilon: float = EPSILON, **kwargs
    ):
        super().__init__(momentum=momentum, epsilon=epsilon, **kwargs)
        self.unbiased_moving_variance = unbiased_moving_variance

    def add_weight(self, *args, trainable: bool = True, **kwargs) -> keras.Variable:
        # Replicas of a data-parallel model share the mean of their moving averages.
        aggregation = {} if trainable else {"aggregation": "mean"}
        return super().add_weight(*args, trainable=trainable, **aggregation | kwargs)

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        outputs = super().call(inputs, training=training, mask=mask)
        if self.unbiased_moving_variance and training and self.trainable:
            rows, variance = self._rows_and_variance(ops.cast(inputs, "float32"), mask)
            self.moving_variance.assign_add((1 - self.momentum) * variance / ops.maximum(rows - 1, 1))
        return outputs

    @staticmethod
    def _rows_and_variance(inputs, mask):
        axes = list(range(len(inputs.shape) - 1))
        if mask is None:
            rows = ops.cast(math.prod(ops.shape(inputs)[axis] for axis in axes), "float32")
            return rows, ops.moments(inputs, axes=axes)[1]
        kept = ops.cast(mask, "float32")[..., None]
        rows = ops.sum(kept)
        mean = ops.sum(inputs * kept, axis=axes) / ops.maximum(rows, 1)
        return rows, ops.sum(ops.square(inputs - mean) * kept, axis=axes) / ops.maximum(rows, 1)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"unbiased_moving_variance": self.unbiased_moving_variance}
