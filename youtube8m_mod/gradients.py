"""Custom gradients, alike under each of Keras' backends."""

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from youtube8m_mod.tree import Tensor


def custom_gradient(function: Callable[..., tuple[Tensor, Callable[[Tensor], Any]]]) -> Callable[..., Tensor]:
    """Decorates a function of tensors that gives (output, function from the output's gradient to those of the inputs).

    As `keras.ops.custom_gradient`, whose backends hand over the output's gradient in different ways. What computes the
    gradients is named as TensorFlow's tape names the backward pass.
    """

    @functools.wraps(function)
    @ops.custom_gradient
    def with_gradient(*inputs):
        output, gradient = function(*inputs)

        def backward(*args, upstream=None):
            with keras.name_scope("gradient_tape"):
                return gradient(args[0] if upstream is None else upstream)

        return output, backward

    return with_gradient
