"""The deep bag of frames of the starter code (Table 1's baseline)."""

from typing import Any

import keras
from keras import ops

from youtube8m_mod.layers.batch_norm import BatchNormalization
from youtube8m_mod.layers.checks import check_positive, combine_masks
from youtube8m_mod.tree import Shape, Tensor


@keras.saving.register_keras_serializable("youtube8m_mod")
class DeepBagOfFrames(keras.layers.Layer):
    """Pooling over the cluster activations of sampled frames.

    `sampled_frames` frames are drawn with replacement in training; in inference they stand at even distances, so that
    the same video always gives the same scores (the starter code draws there too). Each frame is l2-normalised and
    batch-normalised, projected on the clusters, batch-normalised and squashed; the maximum over frames is projected to
    the hidden size, batch-normalised and squashed.

    Args:
        clusters: width of the bag.
        hidden_size: H.
        sampled_frames: frames drawn from a video.
        activation: what squashes: "sigmoid", as the paper's baseline, or "relu6".
        pooling: over frames: "max", as the paper's baseline, or "average".
        l2_normalize: whether frames are l2-normalised first; False where the input is already.
        unbiased_moving_variance: of the batch norms; see `BatchNormalization`.
        momentum: of their moving averages.
        seed: of the drawing.

    Call arguments:
        inputs: `(batch, frames, features)`, dequantised.
        num_frames: `(batch,)`, leading frames to draw from; None: all.
        mask: bool `(batch, frames)`, frames to draw from, as Keras passes it on from the layer before; None: all.
        frame_index: int `(batch, sampled_frames)`, frames to use in place of drawing.

    Returns:
        `(batch, H)`. There is no frame axis any more, and no mask.

    Raises:
        ValueError: on an unknown activation or pooling, or a mask of another shape.

    Reference: S. Abu-El-Haija et al., YouTube-8M, https://arxiv.org/abs/1609.08675; the starter code.
    """

    def __init__(
        self,
        clusters: int,
        hidden_size: int,
        sampled_frames: int = 30,
        activation: str = "sigmoid",
        pooling: str = "max",
        l2_normalize: bool = True,
        unbiased_moving_variance: bool = False,
        momentum: float = 0.999,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive(clusters=clusters, hidden_size=hidden_size, sampled_frames=sampled_frames)
        self.clusters, self.hidden_size, self.sampled_frames = clusters, hidden_size, sampled_frames
        if activation not in ("sigmoid", "relu6") or pooling not in ("max", "average"):
            raise ValueError(
                'Expected activation "sigmoid" or "relu6" and pooling "max" or "average", '
                f'got "{activation}" and "{pooling}".'
            )
        self.activation, self.pooling = activation, pooling
        self.l2_normalize, self.seed = l2_normalize, seed
        self.unbiased_moving_variance, self.momentum = unbiased_moving_variance, momentum
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.input_norm, self.cluster_norm, self.hidden_norm = (
            BatchNormalization(unbiased_moving_variance, momentum, name=name, dtype=self.dtype_policy)
            for name in ("input_norm", "cluster_norm", "hidden_norm")
        )
        self.input_spec = keras.InputSpec(ndim=3)

    def build(self, input_shape: Shape) -> None:
        size = input_shape[-1]
        self.cluster_kernel = self.add_weight(
            name="cluster_kernel",
            shape=(size, self.clusters),
            initializer=keras.initializers.RandomNormal(stddev=size**-0.5),
        )
        self.hidden_kernel = self.add_weight(
            name="hidden_kernel",
            shape=(self.clusters, self.hidden_size),
            initializer=keras.initializers.RandomNormal(stddev=self.clusters**-0.5),
        )
        self.input_norm.build((None, None, size))
        self.cluster_norm.build((None, None, self.clusters))
        self.hidden_norm.build((None, self.hidden_size))
        self.input_spec = keras.InputSpec(ndim=3, axes={-1: size})

    def call(
        self,
        inputs: Tensor,
        num_frames: Tensor | None = None,
        frame_index: Tensor | None = None,
        mask: Tensor | None = None,
        training: bool | None = None,
    ) -> Tensor:
        if frame_index is None:
            frame_index = self._draw(inputs, num_frames, combine_masks(inputs, {"mask": mask}), training)
        if self.l2_normalize:  # In float32: a square below 1e-12 is 0 in float16.
            squared_norm = ops.sum(ops.square(ops.cast(inputs, "float32")), axis=-1, keepdims=True)
            inputs = inputs * ops.cast(ops.rsqrt(ops.maximum(squared_norm, 1e-12)), inputs.dtype)
        frames = ops.take_along_axis(inputs, frame_index[:, :, None], axis=1)  # (B, S, N)
        frames = self.input_norm(frames, training=training)
        bag = self.cluster_norm(ops.matmul(frames, self.cluster_kernel), training=training)
        squash = ops.sigmoid if self.activation == "sigmoid" else ops.relu6
        bag = (ops.max if self.pooling == "max" else ops.mean)(squash(bag), axis=1)  # (B, clusters)
        return squash(self.hidden_norm(ops.matmul(bag, self.hidden_kernel), training=training))

    def _draw(self, inputs, num_frames, mask, training):
        """Int `(batch, sampled_frames)`, numbers of frames."""
        batch, frames = ops.shape(inputs)[:2]
        count = self.sampled_frames
        if training:
            position = keras.random.uniform((batch, count), seed=self.seed_generator)
        else:
            position = ops.broadcast_to((ops.arange(count, dtype="float32") + 0.5) / count, (batch, count))
        if mask is None:
            num_frames = ops.full((batch,), frames) if num_frames is None else num_frames
            return _floor(position, num_frames)
        number = ops.arange(frames, dtype="int32")
        if num_frames is not None:
            mask = ops.logical_and(mask, number < ops.cast(num_frames, "int32")[:, None])
        mask = ops.broadcast_to(mask, (batch, frames))
        kept_first = ops.argsort(ops.where(mask, number, number + frames), axis=1)
        drawn = _floor(position, ops.sum(ops.cast(mask, "int32"), axis=1))
        return ops.cast(ops.take_along_axis(kept_first, drawn, axis=1), "int32")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape[0], self.hidden_size

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None) -> None:
        return None

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "clusters": self.clusters,
            "hidden_size": self.hidden_size,
            "sampled_frames": self.sampled_frames,
            "activation": self.activation,
            "pooling": self.pooling,
            "l2_normalize": self.l2_normalize,
            "unbiased_moving_variance": self.unbiased_moving_variance,
            "momentum": self.momentum,
            "seed": self.seed,
        }


def _floor(position, num_frames):
    """Of positions in [0, 1) along videos, the numbers of the frames: floor, as both factors are >= 0."""
    return ops.cast(position * ops.cast(num_frames, "float32")[:, None], "int32")
