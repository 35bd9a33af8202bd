"""The gate that mixes the logits of a node's children (Fig. 6 and 7)."""

import keras
from keras import ops

from youtube8m_mod.layers.batch_norm import BatchNormalization
from youtube8m_mod.layers.initializers import slim_variance_scaling


@keras.saving.register_keras_serializable("youtube8m_mod")
class LogitMixing(keras.layers.Layer):
    """Weighted sum of logits: z^e = sum_m w_m z^m with w = softmax(FC(batch_norm(mean of the frames))).

    The mean is over all frames of the input, padding included, as in the original. Computed in float32.

    Args:
        children: number of logits to mix.
        momentum: of the batch norm's moving averages; 1: they never update, as the original's root.

    Call arguments:
        frames: `(batch, frames, features)`, the scaled input of the children.
        logits: sequence of `children` tensors `(batch, classes)`.

    Returns:
        (mixed logits `(batch, classes)`, weights `(batch, children)`).
    """

    def __init__(self, children, momentum=0.999, **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        self.children, self.momentum = children, momentum
        self.norm = BatchNormalization(momentum=momentum, name="norm", dtype="float32")

    def build(self, frames_shape, logits_shape=None):
        size = frames_shape[-1]
        self.kernel = self.add_weight(name="kernel", shape=(size, self.children), initializer=slim_variance_scaling())
        self.bias = self.add_weight(name="bias", shape=(self.children,), initializer="zeros")
        self.norm.build((None, size))

    def call(self, frames, logits, training=None):
        if len(logits) != self.children:
            raise ValueError(f"Expected the logits of {self.children} children, got {len(logits)}.")
        mean = self.norm(ops.mean(frames, axis=1), training=training)  # (B, N)
        weights = ops.softmax(ops.matmul(mean, self.kernel) + self.bias)  # (B, E)
        stacked = ops.stack(list(logits), axis=1)  # (B, E, C)
        return ops.sum(weights[:, :, None] * stacked, axis=1), weights

    def get_config(self):
        return super().get_config() | {"children": self.children, "momentum": self.momentum}
