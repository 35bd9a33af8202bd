"""From stored features to the model's input: dequantising and de-whitening."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from youtube8m_mod.data.records import DEQUANTIZE_OFFSET, DEQUANTIZE_SCALE, FLOAT_RANGE
from youtube8m_mod.errors import UserError
from youtube8m_mod.tree import Shape, Tensor

WHITENED_OFFSET = 4 / 512  # What the dataset's quantiser added to its PCA features.


def input_offset(width: int, whitened_size: int) -> np.ndarray:
    """float32 `(width,)`: what is subtracted from each dequantised value before it is scaled."""
    offset = np.zeros(width, np.float32)
    offset[:whitened_size] = WHITENED_OFFSET
    return offset


@keras.saving.register_keras_serializable("youtube8m_mod")
class FeatureScaling(keras.layers.Layer):
    """Dequantises bytes, zeroes absent frames, undoes the PCA whitening of the first feature.

    With byte b: x = b * 4/255 + 4/512 - 2, and 0 in frames that do not exist. Then (x - 4/512) * scale in the first
    `whitened_size` columns, where scale = sqrt(PCA eigenvalue) + 1e-4; other columns stay. The scale is a weight of
    the layer: a saved model carries it. Float features are taken as dequantised already, and clipped as the dataset's
    were before they were quantised: to [-2, 2] (up to 2 + 4/512, which its largest byte dequantises to).

    Args:
        whitened_size: width of the de-whitened feature (rgb: 1024); 0 only dequantises.
        clip: False leaves float features as they are.

    Call arguments:
        features: uint8 or float `(batch, frames, features)`.
        present_frames: `(batch,)`, leading frames that exist; None: all.

    Returns:
        `(batch, frames, features)`, float32 unless the layer is given another dtype; a mask passes on.
    """

    def __init__(self, whitened_size: int, clip: bool = True, **kwargs):
        super().__init__(**{"dtype": "float32", "autocast": False} | kwargs)  # Computed in float32 in any case.
        self.whitened_size, self.clip = whitened_size, clip
        self.input_spec = keras.InputSpec(ndim=3)
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        width = input_shape[-1]
        if self.whitened_size > width:
            raise ValueError(f"Expected at least {self.whitened_size} features, got input shape {input_shape}.")
        self.scale = self.add_weight(name="scale", shape=(width,), autocast=False, initializer="ones", trainable=False)
        self.offset = input_offset(width, self.whitened_size)
        self.input_spec = keras.InputSpec(ndim=3, axes={-1: width})

    def call(self, features: Tensor, present_frames: Tensor | None = None) -> Tensor:
        dtype = keras.backend.standardize_dtype(features.dtype)
        quantized = dtype == "uint8"
        if not (quantized or "float" in dtype):
            raise ValueError(f"Expected stored features, uint8, or dequantised ones, float; got {dtype}.")
        features = ops.cast(features, "float32")
        if quantized:
            features = features * DEQUANTIZE_SCALE + DEQUANTIZE_OFFSET
        elif self.clip:
            features = ops.clip(features, *FLOAT_RANGE)
        if present_frames is not None:
            present = ops.arange(ops.shape(features)[1], dtype="int32") < ops.cast(present_frames, "int32")[:, None]
            features = ops.where(present[:, :, None], features, 0.0)
        return ops.cast((features - self.offset) * self.scale, self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:  # Named as in `build`: a model's summary asks by name.
        return input_shape

    def set_eigenvalues(self, eigenvalues: Sequence[float] | np.ndarray) -> None:
        """Sets the scale from the dataset's PCA eigenvalues, `(n,)` or `(n, 1)`, n >= whitened_size."""
        eigenvalues = np.asarray(eigenvalues)
        flat = eigenvalues.reshape(-1)
        if (
            eigenvalues.dtype.kind not in "fiu"
            or eigenvalues.shape[:1] != (eigenvalues.size,)
            or flat.size < self.whitened_size
            or not np.all(flat[: self.whitened_size] >= 0)
        ):
            raise UserError(
                f"The PCA eigenvalues must be an array of at least {self.whitened_size} numbers >= 0, "
                f"got {eigenvalues.dtype} of shape {eigenvalues.shape}."
            )
        scale = np.ones(self.scale.shape, np.float32)
        leading = np.sqrt(flat[: self.whitened_size].astype(np.float64)).astype(np.float32)
        scale[: self.whitened_size] = leading + np.float32(1e-4)
        self.scale.assign(scale)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"whitened_size": self.whitened_size, "clip": self.clip}
