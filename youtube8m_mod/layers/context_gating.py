"""Context gating with a squeeze (Fig. 5)."""

from typing import Any

import keras
from keras import ops

from youtube8m_mod.layers.batch_norm import BatchNormalization
from youtube8m_mod.layers.checks import check_positive
from youtube8m_mod.layers.initializers import slim_variance_scaling
from youtube8m_mod.tree import Shape, Tensor


@keras.saving.register_keras_serializable("youtube8m_mod")
class ContextGating(keras.layers.Layer):
    """Lets each hidden unit be gated by the others: h * sigmoid(W2 relu(batch_norm(W1 h))) (Fig. 5).

    Args:
        reduction: r; W1 maps H to H/r values, W2 back.
        unbiased_moving_variance: of the batch norm; see `BatchNormalization`.
        momentum: of its moving averages.

    Call arguments:
        inputs: `(batch, H)`.

    Returns:
        `(batch, H)`.

    Raises:
        ValueError: where H is below r, or r no positive integer.

    Reference: A. Miech, I. Laptev, J. Sivic, Learnable pooling with Context Gating, https://arxiv.org/abs/1706.06905.
    """

    def __init__(self, reduction: int, unbiased_moving_variance: bool = False, momentum: float = 0.999, **kwargs):
        super().__init__(**kwargs)
        check_positive(reduction=reduction)
        self.reduction = reduction
        self.unbiased_moving_variance, self.momentum = unbiased_moving_variance, momentum
        self.norm = BatchNormalization(unbiased_moving_variance, momentum, name="norm", dtype=self.dtype_policy)
        self.input_spec = keras.InputSpec(ndim=2)
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        size = input_shape[-1]
        reduced = size // self.reduction
        if not reduced:
            raise ValueError(f"Expected at least {self.reduction} features to reduce, got input shape {input_shape}.")
        self.squeeze = self.add_weight(name="squeeze", shape=(size, reduced), initializer=slim_variance_scaling())
        self.excite = self.add_weight(name="excite", shape=(reduced, size), initializer=slim_variance_scaling())
        self.norm.build((None, reduced))
        self.input_spec = keras.InputSpec(ndim=2, axes={-1: size})

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        gates = ops.relu(self.norm(ops.matmul(inputs, self.squeeze), training=training))
        return inputs * ops.sigmoid(ops.matmul(gates, self.excite))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "reduction": self.reduction,
            "unbiased_moving_variance": self.unbiased_moving_variance,
            "momentum": self.momentum,
        }
