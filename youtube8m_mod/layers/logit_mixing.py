"""The gate that mixes the logits of a node's children (Fig. 6 and 7)."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from youtube8m_mod.layers.batch_norm import BatchNormalization
from youtube8m_mod.layers.checks import check_positive, combine_masks
from youtube8m_mod.layers.initializers import slim_variance_scaling
from youtube8m_mod.tree import Shape, Tensor


@keras.saving.register_keras_serializable("youtube8m_mod")
class LogitMixing(keras.layers.Layer):
    """Weighted sum of logits (Fig. 6, 7): z^e = sum_m w_m z^m with w = softmax(FC(batch_norm(mean of the frames))).

    Without a mask, the mean is over all frames of the input, padding included, as in the original. Computed in float32.

    Args:
        children: number of logits to mix.
        momentum: of the batch norm's moving averages; 1: they never update, as the original's root.

    Call arguments:
        frames: `(batch, frames, features)`, the scaled input of the children.
        logits: sequence of `children` tensors `(batch, classes)`.
        mask: bool `(batch, frames)`, frames of which the mean is taken; None: all.
        frames_mask: the same, as Keras passes it on from the layer that gave the frames.

    Returns:
        (mixed logits `(batch, classes)`, weights `(batch, children)`), float32.

    Raises:
        ValueError: where there are not as many logits as children, or frames or a mask are of another shape.
    """

    def __init__(self, children: int, momentum: float = 0.999, **kwargs):
        super().__init__(**{"dtype": "float32", "autocast": False} | kwargs)
        check_positive(children=children)
        self.children, self.momentum = children, momentum
        self.norm = BatchNormalization(momentum=momentum, name="norm", dtype="float32")

    def build(self, frames_shape: Shape, logits_shape: Sequence[Shape] | None = None) -> None:
        if len(frames_shape) != 3:
            raise ValueError(f"Expected frames of shape (batch, frames, features), got shape {tuple(frames_shape)}.")
        if logits_shape is not None:
            self._check_children(logits_shape)
        size = frames_shape[-1]
        self.kernel = self.add_weight(
            name="kernel", shape=(size, self.children), initializer=slim_variance_scaling(), autocast=False
        )
        self.bias = self.add_weight(name="bias", shape=(self.children,), initializer="zeros", autocast=False)
        self.norm.build((None, size))

    def call(
        self,
        frames: Tensor,
        logits: Sequence[Tensor],
        mask: Tensor | None = None,
        frames_mask: Tensor | None = None,
        training: bool | None = None,
    ) -> tuple[Tensor, Tensor]:
        self._check_children(logits)
        if len(shapes := {tuple(each.shape) for each in logits if None not in each.shape}) > 1:
            raise ValueError(
                f"Expected logits of one shape (batch, classes), got shapes {', '.join(map(str, sorted(shapes)))}."
            )
        mask = combine_masks(frames, {"mask": mask, "frames_mask": frames_mask})
        mean = self.norm(self._mean(ops.cast(frames, "float32"), mask), training=training)  # (B, N)
        kernel, bias = (ops.cast(weight, "float32") for weight in (self.kernel, self.bias))
        weights = ops.softmax(ops.matmul(mean, kernel) + bias)  # (B, E)
        stacked = ops.cast(ops.stack(list(logits), axis=1), "float32")  # (B, E, C)
        return ops.sum(weights[:, :, None] * stacked, axis=1), weights

    def _mean(self, frames, mask):
        if mask is None:
            return ops.mean(frames, axis=1)
        kept = ops.cast(mask, "float32")[:, :, None]
        return ops.sum(frames * kept, axis=1) / ops.maximum(ops.sum(kept, axis=1), 1)

    def _check_children(self, logits):
        if len(logits) != self.children:
            raise ValueError(f"Expected the logits of {self.children} children, got {len(logits)}.")

    def compute_output_shape(self, frames_shape: Shape, logits_shape: Sequence[Shape]) -> tuple[Shape, Shape]:
        return tuple(logits_shape[0]), (frames_shape[0], self.children)

    def compute_output_spec(
        self,
        frames: keras.KerasTensor,
        logits: Sequence[keras.KerasTensor],
        mask: Tensor | None = None,
        frames_mask: Tensor | None = None,
        training: bool | None = None,
    ) -> tuple[keras.KerasTensor, ...]:
        self._check_children(logits)
        shapes = self.compute_output_shape(frames.shape, [each.shape for each in logits])
        return tuple(keras.KerasTensor(shape, "float32") for shape in shapes)

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None) -> None:
        return None

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"children": self.children, "momentum": self.momentum}
