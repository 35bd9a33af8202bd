"""Products of few rows with a large matrix, whose backward pass spares the memory."""

from typing import Any

import keras
from keras import ops

from youtube8m_mod.gradients import custom_gradient
from youtube8m_mod.layers.checks import check_positive
from youtube8m_mod.layers.initializers import slim_variance_scaling
from youtube8m_mod.tree import Shape, Tensor

# Measured on two cores of a Xeon with AMX; docs/speed.md.
_FEW_ROWS = 40


def project(inputs: Tensor, kernel: Tensor) -> Tensor:
    """x W: `inputs` `(batch, N)` times a `kernel` `(N, H)`, in the dtype of the inputs.

    With few rows, the step waits for the memory in which the kernel and its gradient lie. So the gradient with respect
    to the kernel, x^T dy, is computed in the kernel's dtype where the rows are known to be few: in bfloat16 it would be
    written, read and cast, which takes longer. That with respect to the inputs is (W dy^T)^T: the kernel is read row by
    row.
    """
    few = inputs.shape[0] is not None and inputs.shape[0] <= _FEW_ROWS

    @custom_gradient
    def product(inputs, kernel):
        cast_kernel = ops.cast(kernel, inputs.dtype)

        def gradient(upstream):
            inputs_gradient = ops.transpose(ops.matmul(cast_kernel, ops.transpose(upstream)))
            left, right = (ops.cast(factor, kernel.dtype) if few else factor for factor in (inputs, upstream))
            return inputs_gradient, ops.cast(ops.matmul(ops.transpose(left), right), kernel.dtype)

        return ops.matmul(inputs, cast_kernel), gradient

    # The cast reads the variable: a custom gradient takes tensors only.
    return product(inputs, ops.cast(kernel, kernel.dtype))


@keras.saving.register_keras_serializable("youtube8m_mod")
class Projection(keras.layers.Layer):
    """A dense layer without bias, through `project`.

    Args:
        units: H.

    Call arguments:
        inputs: `(batch, N)`.

    Returns:
        `(batch, H)`.
    """

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        check_positive(units=units)
        self.units = units
        self.initializer = slim_variance_scaling()  # Made here: its seed comes before those made in `build`.
        self.input_spec = keras.InputSpec(ndim=2)
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        # Not cast by Keras: its cast would give the gradient in the compute dtype.
        self.kernel = self.add_weight(
            name="kernel", shape=(input_shape[-1], self.units), autocast=False, initializer=self.initializer
        )
        self.input_spec = keras.InputSpec(ndim=2, axes={-1: input_shape[-1]})

    def call(self, inputs: Tensor) -> Tensor:
        return project(inputs, self.kernel)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape[0], self.units

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"units": self.units}
