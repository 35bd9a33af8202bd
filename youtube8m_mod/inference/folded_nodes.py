"""The leaves of a folded model: each part reads the weights of a trained layer and keeps what inference needs.

An affine map of columns is a pair (scale, shift), x -> x * scale + shift, in float64 until it is multiplied into
weights. Each takes the `Weights` below its own place in the tree.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from youtube8m_mod.config import ModelConfig
from youtube8m_mod.inference.aligned import aligned
from youtube8m_mod.layers.batch_norm import EPSILON
from youtube8m_mod.models.nextvlad import pooling_name

if TYPE_CHECKING:
    from youtube8m_mod.inference.weights import Weights

_BLOCK = 64  # Rows of a large kernel that are in float64 at a time: they stay in the cache.


class Inputs(NamedTuple):
    """What the nodes of a folded model read.

    Attributes:
        streams: `(batch, frames, size)` in units of a byte for each feature; 0 where a frame is absent.
        attended: bool `(batch, frames)`, frames that contribute; None: all.
        num_frames: int32 `(batch,)`, their number.
        mean: float32 `(batch, features)`, the mean over the padded video, in units of a byte.
    """

    streams: list
    attended: Any
    num_frames: Any
    mean: Any


class Settings(NamedTuple):
    """How nodes are folded.

    Attributes:
        input_map: (scale, shift) of the input.
        dtype: of the large matmuls.
        classes: numbers of the classes to score; None: all.
        kernels_right: use weights as right factors only, as TFLite's int8 kernels want them.
        leaf: what makes the leaves, called as `fold_leaf`, which it is where None.
    """

    input_map: tuple
    dtype: Any
    classes: Any
    kernels_right: bool
    leaf: Any = None


def fold_leaf(config: ModelConfig, weights: "Weights", settings: Settings) -> "FoldedLeaf":
    """The folded form of a leaf, a `FoldedLeaf`; see `folded_mixtures.fold_node`."""
    return (FoldedDBoF if config.pooling == "dbof" else FoldedNeXtVLAD)(config, weights, settings)


class FoldedLeaf(tf.Module):
    """A leaf: `embed` gives its hidden vector, of which `classify` makes the logits."""

    def __call__(self, inputs: Inputs) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """(logits, float32 `(batch, classes)`, and in a list the hidden vector, float32 `(batch, hidden_size)`)."""
        hidden = self.embed(inputs)
        return self.classify(hidden), [hidden]


class FoldedPooling(tf.Module):
    """`NeXtVLAD` without its output norm.

    The projections of attention and assignment read the input where the expansion widens it, and the expansion
    where it narrows it: in both cases the narrower of the two.
    """

    def __init__(
        self,
        size: int,
        width: int,
        groups: int,
        clusters: int,
        weights: "Weights",
        input_map: Sequence[np.ndarray],
        dtype: tf.DType,
    ):
        super().__init__()
        G, K = self.groups, self.clusters = groups, clusters
        self.group_width = width // groups
        self.dtype = dtype
        kernel, bias = dense(
            float64(weights("expansion_kernel", size, width)), weights("expansion_bias", width), input_map
        )
        scale, shift = norm_map(weights.below("assignment_norm"), G * K)
        attention, assignment = weights("attention_kernel", width, G), weights("assignment_kernel", width, G * K)
        projection = np.concatenate([attention, assignment * scale], axis=1)
        projection_bias = np.concatenate([weights("attention_bias", G), shift])
        self.reads_input = kernel.shape[1] > kernel.shape[0]
        if self.reads_input:
            projection, projection_bias = kernel @ projection, bias @ projection + projection_bias
        self.kernel, self.bias, self.projection, self.projection_bias = make_variables(
            dtype, kernel.T, bias, projection.T, projection_bias
        )
        (self.centers,) = make_variables(tf.float32, weights("centers", 1, self.group_width, K))

    def __call__(self, frames: tf.Tensor, attended: tf.Tensor | None) -> tf.Tensor:
        G, K, F = self.groups, self.clusters, self.group_width
        batch, count = tf.shape(frames)[0], tf.shape(frames)[1]
        frames = tf.reshape(frames, (-1, frames.shape[-1]))  # (B*M, N)
        expanded = _project(frames, self.kernel, self.bias)  # (B*M, G*F)
        projected = _project(frames if self.reads_input else expanded, self.projection, self.projection_bias)
        attention, assignment = tf.split(projected, [G, G * K], axis=1)
        attention = tf.sigmoid(attention)
        if attended is not None:
            attention *= tf.cast(tf.reshape(attended, (-1, 1)), self.dtype)
        attention = tf.reshape(attention, (batch, count * G, 1))
        assignment = tf.nn.softmax(tf.reshape(assignment, (batch, count * G, K)))
        grouped = tf.reshape(expanded, (batch, count * G, F))  # (B, M*G, F)
        vlad = tf.matmul(grouped, assignment * attention, transpose_a=True)  # (B, F, K)
        weight = tf.matmul(attention, assignment, transpose_a=True)  # (B, 1, K)
        vlad = tf.cast(vlad, tf.float32) - tf.cast(weight, tf.float32) * self.centers
        squared_norm = tf.reduce_sum(tf.square(vlad), axis=1, keepdims=True)
        vlad = tf.cast(vlad * tf.math.rsqrt(tf.maximum(squared_norm, 1e-12)), self.dtype)
        return tf.reshape(vlad, (batch, F * K))  # (B, F*K)


class FoldedNeXtVLAD(FoldedLeaf):
    """`NeXtVLADModel`: the poolings' output norms and the hidden norm are in the hidden layer's weights."""

    def __init__(self, config: ModelConfig, weights: "Weights", settings: Settings):
        super().__init__()
        self.dtype = settings.dtype
        self.project = _project if settings.kernels_right else _project_few
        self.poolings, output_maps, start = [], [], 0
        for (name, size, groups, clusters), end in zip(config.streams, np.cumsum(config.feature_sizes)):
            input_map = [part[start:end] for part in settings.input_map]
            own, width = weights.below(pooling_name(name)), int(config.expansion * size)
            self.poolings.append(FoldedPooling(size, width, groups, clusters, own, input_map, settings.dtype))
            output_maps.append(norm_map(own.below("output_norm"), width // groups * clusters))
            start = end
        output_map, hidden_size = np.concatenate(output_maps, axis=1), config.hidden_size
        self.hidden, self.hidden_bias = _large_dense(
            settings.dtype,
            weights.below("hidden")("kernel", len(output_map[0]), hidden_size),
            output_map,
            norm_map(weights.below("hidden_norm"), hidden_size),
        )
        gating, reduced = weights.below("gating"), hidden_size // config.gating_reduction
        scale, shift = norm_map(gating.below("norm"), reduced)
        self.squeeze, self.squeeze_bias, self.excite = make_variables(
            settings.dtype,
            gating("squeeze", hidden_size, reduced) * scale,
            shift,
            gating("excite", reduced, hidden_size),
        )
        classifier = weights.below("classifier")
        kernel, bias = classifier("kernel", hidden_size, config.num_classes), classifier("bias", config.num_classes)
        if settings.classes is not None:
            kernel, bias = kernel[:, settings.classes], bias[settings.classes]
        # bfloat16 logits would tie: a class' ranking is over hundreds of thousands of them.
        self.classifier, self.classifier_bias = make_variables(tf.float32, kernel.T, bias)

    def embed(self, inputs: Inputs) -> tf.Tensor:
        pooled = [pooling(frames, inputs.attended) for pooling, frames in zip(self.poolings, inputs.streams)]
        hidden = self.project(tf.concat(pooled, axis=1), self.hidden, self.hidden_bias)
        gates = tf.nn.relu(tf.nn.bias_add(tf.matmul(hidden, self.squeeze), self.squeeze_bias))
        return tf.cast(hidden * tf.sigmoid(tf.matmul(gates, self.excite)), tf.float32)

    def classify(self, hidden: tf.Tensor) -> tf.Tensor:
        return self.project(hidden, self.classifier, self.classifier_bias)


class FoldedDBoF(FoldedLeaf):
    """`DBoFModel`: its batch norms are in the kernels beside them; frames are scaled by their own norm first."""

    def __init__(self, config: ModelConfig, weights: "Weights", settings: Settings):
        super().__init__()
        size, clusters, hidden_size = config.feature_size, config.clusters, config.hidden_size
        self.dtype, self.experts, self.sampled_frames = settings.dtype, config.experts, config.sampled_frames
        bag, classifier = weights.below("bag"), weights.below("classifier")
        input_norm, cluster_norm, hidden_norm = (
            norm_map(bag.below(name), width)
            for name, width in (("input_norm", size), ("cluster_norm", clusters), ("hidden_norm", hidden_size))
        )
        kernel, bias = dense(float64(bag("cluster_kernel", size, clusters)), 0.0, input_norm)
        scale, shift = cluster_norm
        self.cluster, self.cluster_bias = make_variables(settings.dtype, kernel * scale, bias * scale + shift)
        scale, shift = hidden_norm
        self.hidden, self.hidden_bias = make_variables(
            settings.dtype, bag("hidden_kernel", clusters, hidden_size) * scale, shift
        )

        def of_classes(name, rows, per_class):
            weight = classifier(name, *rows, config.num_classes * per_class)
            parts = weight.reshape(-1, config.num_classes, per_class)
            return (parts if settings.classes is None else parts[:, settings.classes]).reshape(len(parts), -1)

        self.gate, self.expert, self.expert_bias = make_variables(
            tf.float32,
            of_classes("gate_kernel", (hidden_size,), self.experts + 1),
            of_classes("expert_kernel", (hidden_size,), self.experts),
            of_classes("expert_bias", (), self.experts)[0],
        )

    def embed(self, inputs: Inputs) -> tf.Tensor:
        frames = tf.concat(inputs.streams, axis=-1)
        position = (tf.range(self.sampled_frames, dtype=tf.float32) + 0.5) / self.sampled_frames
        index = tf.cast(position * tf.cast(inputs.num_frames, tf.float32)[:, None], tf.int32)
        frames = tf.cast(tf.gather(frames, index, batch_dims=1), tf.float32)  # (B, S, N)
        frames = tf.cast(tf.math.l2_normalize(frames, axis=-1), self.dtype)
        rows = tf.reshape(frames, (-1, frames.shape[-1]))
        rows = tf.sigmoid(tf.nn.bias_add(tf.matmul(rows, self.cluster), self.cluster_bias))
        bag = tf.reduce_max(tf.reshape(rows, (-1, self.sampled_frames, rows.shape[-1])), axis=1)
        return tf.cast(tf.sigmoid(tf.nn.bias_add(tf.matmul(bag, self.hidden), self.hidden_bias)), tf.float32)

    def classify(self, hidden: tf.Tensor) -> tf.Tensor:
        E = self.experts
        gates = tf.nn.softmax(tf.reshape(tf.matmul(hidden, self.gate), (-1, self.gate.shape[1] // (E + 1), E + 1)))
        experts = tf.matmul(hidden, self.expert) + self.expert_bias
        experts = tf.sigmoid(tf.reshape(experts, (-1, self.expert.shape[1] // E, E)))
        probabilities = tf.clip_by_value(tf.reduce_sum(gates[..., :E] * experts, axis=-1), 1e-7, 1 - 1e-7)
        return tf.math.log(probabilities) - tf.math.log1p(-probabilities)


def _project(rows, kernel, bias):
    """rows @ kernel^T + bias: what a dense layer with the transposed kernel gives."""
    if rows.dtype == tf.float32:
        return tf.nn.bias_add(tf.matmul(rows, kernel, transpose_b=True), bias)
    # A bias that is fused into a bfloat16 matmul doubles its time; into a batch of one it is not fused.
    return tf.matmul(rows[tf.newaxis], kernel[tf.newaxis], transpose_b=True)[0] + bias


def _project_few(rows, kernel, bias):
    """As `_project`, for fewer rows than the kernel has: the larger matrix on the left runs up to twice as fast."""
    return tf.transpose(tf.matmul(kernel[tf.newaxis], rows[tf.newaxis], transpose_b=True)[0]) + bias


def float64(weight: np.ndarray) -> np.ndarray:
    return weight.astype(np.float64)


def make_variables(dtype: tf.DType, *values: np.ndarray) -> list[tf.Variable]:
    return [_variable(dtype, aligned(value.shape, value)) for value in values]


def _variable(dtype, array):
    """A variable that takes over the memory of an `aligned` array: a copy of the largest would be held beside it."""
    return tf.Variable(tf.cast(tf.experimental.dlpack.from_dlpack(array.__dlpack__()), dtype), trainable=False)


def norm_map(weights: "Weights", size: int) -> tuple[np.ndarray, np.ndarray]:
    """The affine map that a batch norm is in inference, from the `Weights` below it."""
    scale = weights("gamma", size) / np.sqrt(float64(weights("moving_variance", size)) + EPSILON)
    return scale, weights("beta", size) - weights("moving_mean", size) * scale


def dense(
    kernel: np.ndarray, bias: np.ndarray | float, input_map: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """(kernel, bias) of x -> (x * scale + shift) @ kernel + bias."""
    scale, shift = input_map
    return scale[:, None] * kernel, shift @ kernel + bias


def _large_dense(dtype, kernel, input_map, output_map):
    """Variables (kernel^T, bias) of x -> ((x * scale + shift) @ kernel) * output scale + output shift.

    A block of rows at a time: the whole kernel in float64 would take the time and the memory.
    """
    scale, shift = output_map
    folded, bias = aligned(kernel.shape[::-1]), np.zeros(kernel.shape[1])
    for start in range(0, len(kernel), _BLOCK):
        rows = slice(start, start + _BLOCK)
        block, own_bias = dense(float64(kernel[rows]), 0.0, [part[rows] for part in input_map])
        bias += own_bias
        block *= scale
        folded[:, rows] = block.T
    return _variable(dtype, folded), *make_variables(dtype, bias * scale + shift)
