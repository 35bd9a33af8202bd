"""The NeXtVLAD pooling layer (Fig. 2, Eq. 2-5)."""

import math
from typing import Any

import keras
from keras import ops

from youtube8m_mod.layers.batch_norm import BatchNormalization
from youtube8m_mod.layers.checks import check_positive, combine_masks
from youtube8m_mod.layers.initializers import slim_variance_scaling
from youtube8m_mod.tree import Shape, Tensor


@keras.saving.register_keras_serializable("youtube8m_mod")
class NeXtVLAD(keras.layers.Layer):
    """Aggregates the frames of a video into K residual vectors, shared by G groups.

    A frame x of N values is expanded to lambda N values and split into G groups x^g. Group g has an attention
    alpha_g = sigmoid(w_g^T x + b_g) (Eq. 3) and an assignment alpha_gk, a softmax over the K clusters; then

        y_jk = sum_{i,g} alpha_g(x_i) alpha_gk(x_i) (x^g_ij - c_jk)    (Eq. 2, 4)

    is l2-normalised over j (Eq. 5), flattened as [feature, cluster], and batch-normalised.

    In a training step of known shape with more than lambda N / (lambda - 1) frames, the expansion is multiplied into
    the projections of attention and assignment, which is exact and saves operations.

    Args:
        groups: G; must divide the expanded width.
        clusters: K.
        expansion: lambda; the expanded width is int(lambda N).
        momentum: of the batch norms' moving averages.

    Call arguments:
        inputs: `(batch, frames, features)`.
        frame_mask: bool `(batch, frames)`, frames that may contribute; None: all. Masked frames still count in the
            batch-norm statistics of the assignment, as in the original.
        mask: the same, as Keras passes it on from the layer before; a frame contributes where both say so.

    Returns:
        `(batch, expanded width / G * K)`. There is no frame axis any more, and no mask.

    Raises:
        ValueError: where G does not divide the expanded width, or a mask is of another shape.

    Reference: R. Lin, J. Xiao, J. Fan, NeXtVLAD, https://arxiv.org/abs/1811.05014.
    """

    def __init__(self, groups: int, clusters: int, expansion: float = 2, momentum: float = 0.999, **kwargs):
        super().__init__(**kwargs)
        check_positive(groups=groups, clusters=clusters)
        self.groups, self.clusters, self.expansion, self.momentum = groups, clusters, expansion, momentum
        self.assignment_norm, self.output_norm = (
            BatchNormalization(momentum=momentum, name=name, dtype=self.dtype_policy)
            for name in ("assignment_norm", "output_norm")
        )
        self.input_spec = keras.InputSpec(ndim=3)

    def build(self, input_shape: Shape) -> None:
        size, width = input_shape[-1], self._expanded_width(input_shape)
        G, K = self.groups, self.clusters
        self.group_width = width // G

        def weight(name, shape, initializer=None):
            return self.add_weight(name=name, shape=shape, initializer=initializer or slim_variance_scaling())

        self.expansion_kernel = weight("expansion_kernel", (size, width))
        self.expansion_bias = weight("expansion_bias", (width,), "zeros")
        self.attention_kernel = weight("attention_kernel", (width, G))
        self.attention_bias = weight("attention_bias", (G,), "zeros")
        self.assignment_kernel = weight("assignment_kernel", (width, G * K))
        self.centers = weight("centers", (1, self.group_width, K))
        self.assignment_norm.build((None, None, G * K))
        self.output_norm.build((None, self.group_width * K))
        self.input_spec = keras.InputSpec(ndim=3, axes={-1: size})

    def call(
        self, inputs: Tensor, frame_mask: Tensor | None = None, mask: Tensor | None = None, training: bool | None = None
    ) -> Tensor:
        G, K, F = self.groups, self.clusters, self.group_width
        batch, frames = ops.shape(inputs)[:2]
        mask = combine_masks(inputs, {"frame_mask": frame_mask, "mask": mask})

        expanded = ops.matmul(inputs, self.expansion_kernel) + self.expansion_bias  # (B, M, G*F)
        attention, assignment = self._projections(inputs, expanded, training)  # (B, M, G), (B, M, G*K)
        attention = ops.sigmoid(attention + self.attention_bias)
        if mask is not None:
            attention = attention * ops.cast(mask, attention.dtype)[:, :, None]
        assignment = self.assignment_norm(assignment, training=training)
        assignment = ops.softmax(ops.reshape(assignment, (batch, frames * G, K)))  # (B, M*G, K)
        assignment = assignment * ops.reshape(attention, (batch, frames * G, 1))

        grouped = ops.reshape(expanded, (batch, frames * G, F))  # (B, M*G, F)
        vlad = ops.matmul(ops.transpose(grouped, (0, 2, 1)), assignment)  # (B, F, K)
        vlad = vlad - ops.sum(assignment, axis=1, keepdims=True) * self.centers
        vlad = ops.cast(vlad, "float32")
        squared_norm = ops.sum(ops.square(vlad), axis=1, keepdims=True)
        vlad = vlad * ops.rsqrt(ops.maximum(squared_norm, 1e-12))
        return self.output_norm(ops.reshape(vlad, (batch, F * K)), training=training)  # (B, F*K)

    def _projections(self, inputs, expanded, training):
        """Attention and assignment before bias and normalisation: of the expansion, or folded with it."""
        if not (training and self._folding_pays(inputs.shape)):
            return ops.matmul(expanded, self.attention_kernel), ops.matmul(expanded, self.assignment_kernel)
        kernel = ops.concatenate([self.attention_kernel, self.assignment_kernel], axis=1)
        folded = ops.matmul(inputs, ops.matmul(self.expansion_kernel, kernel))
        folded = folded + ops.matmul(self.expansion_bias[None], kernel)
        return ops.split(folded, [self.groups], axis=-1)

    def _folding_pays(self, input_shape):
        if None in input_shape:
            return False
        size, width = self.expansion_kernel.shape
        return math.prod(input_shape[:-1]) * (width - size) > size * width

    def _expanded_width(self, input_shape):
        size = input_shape[-1]
        width = int(self.expansion * size)
        if width < 1 or width % self.groups:
            raise ValueError(
                f"{size} features expanded by {self.expansion:g} to {width} must split into "
                f"{self.groups} groups of equal width; got input shape {input_shape}."
            )
        return width

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape[0], self._expanded_width(input_shape) // self.groups * self.clusters

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None) -> None:
        return None

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "groups": self.groups,
            "clusters": self.clusters,
            "expansion": self.expansion,
            "momentum": self.momentum,
        }
