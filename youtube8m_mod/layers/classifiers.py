"""Classifiers on top of a pooled video: logistic (Fig. 5) and mixture of experts (the starter code's)."""

from typing import Any

import keras
from keras import ops

from youtube8m_mod.layers.checks import check_positive
from youtube8m_mod.layers.initializers import slim_variance_scaling
from youtube8m_mod.layers.projection import project
from youtube8m_mod.tree import Shape, Tensor


class _Classifier(keras.layers.Layer):
    """What the classifiers share: from `(batch, H)` to float32 logits and probabilities, `(batch, C)` each."""

    def __init__(self, num_classes: int, **kwargs):
        super().__init__(**kwargs)
        check_positive(num_classes=num_classes)
        self.num_classes = num_classes
        self.input_spec = keras.InputSpec(ndim=2)

    def compute_output_shape(self, input_shape: Shape) -> tuple[Shape, Shape]:
        return ((input_shape[0], self.num_classes),) * 2

    def compute_output_spec(self, inputs: keras.KerasTensor) -> tuple[keras.KerasTensor, ...]:
        return tuple(keras.KerasTensor(shape, "float32") for shape in self.compute_output_shape(inputs.shape))

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None) -> None:
        return None

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"num_classes": self.num_classes}


@keras.saving.register_keras_serializable("youtube8m_mod")
class LogisticClassifier(_Classifier):
    """One logistic regression a class (Fig. 5): p = sigmoid(z), z = W h + b.

    Args:
        num_classes: C.

    Call arguments:
        inputs: `(batch, H)`.

    Returns:
        (logits, probabilities), float32 `(batch, C)` each.
    """

    def build(self, input_shape: Shape) -> None:
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.num_classes),
            autocast=False,
            initializer=slim_variance_scaling(),
        )
        self.bias = self.add_weight(name="bias", shape=(self.num_classes,), initializer="zeros")
        self.input_spec = keras.InputSpec(ndim=2, axes={-1: input_shape[-1]})

    @property
    def regularized_weights(self) -> list[keras.Variable]:
        """Weights under the l2 penalty."""
        return [self.kernel, self.bias]

    def call(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        logits = ops.cast(project(inputs, self.kernel), "float32") + ops.cast(self.bias, "float32")
        return logits, ops.sigmoid(logits)


@keras.saving.register_keras_serializable("youtube8m_mod")
class MixtureOfExpertsClassifier(_Classifier):
    """A mixture of E logistic experts a class, with a dummy expert that always says no.

    p_c = sum_{e <= E} softmax_e(gate_ce) sigmoid(expert_ce), the softmax over E + 1 gates: the probabilities are mixed.

    Args:
        num_classes: C.
        experts: E.

    Call arguments:
        inputs: `(batch, H)`.

    Returns:
        (logits, probabilities), float32 `(batch, C)` each; the logits are those of the mixed probabilities.

    Reference: S. Abu-El-Haija et al., YouTube-8M, https://arxiv.org/abs/1609.08675; the starter code.
    """

    def __init__(self, num_classes: int, experts: int, **kwargs):
        super().__init__(num_classes, **kwargs)
        check_positive(experts=experts)
        self.experts = experts

    def build(self, input_shape: Shape) -> None:
        size = input_shape[-1]
        self.gate_kernel = self.add_weight(
            name="gate_kernel", shape=(size, self.num_classes * (self.experts + 1)), initializer="glorot_uniform"
        )
        self.expert_kernel = self.add_weight(
            name="expert_kernel", shape=(size, self.num_classes * self.experts), initializer="glorot_uniform"
        )
        self.expert_bias = self.add_weight(
            name="expert_bias", shape=(self.num_classes * self.experts,), initializer="zeros"
        )
        self.input_spec = keras.InputSpec(ndim=2, axes={-1: size})

    @property
    def regularized_weights(self) -> list[keras.Variable]:
        """Weights under the l2 penalty."""
        return [self.gate_kernel, self.expert_kernel]

    def call(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        C, E = self.num_classes, self.experts
        gates = ops.reshape(ops.matmul(inputs, self.gate_kernel), (-1, C, E + 1))
        experts = ops.reshape(ops.matmul(inputs, self.expert_kernel) + self.expert_bias, (-1, C, E))
        gates = ops.softmax(ops.cast(gates, "float32"))[..., :E]
        probabilities = ops.sum(gates * ops.sigmoid(ops.cast(experts, "float32")), axis=-1)
        clipped = ops.clip(probabilities, 1e-7, 1 - 1e-7)
        return ops.log(clipped) - ops.log1p(-clipped), probabilities

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"experts": self.experts}
