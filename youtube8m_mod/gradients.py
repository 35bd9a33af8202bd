"""Custom gradients, alike under each of Keras' backends."""

import functools

import keras
from keras import ops


def custom_gradient(function):
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
