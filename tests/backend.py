"""Keras' backend in use, in the tests that run under each of them: `KERAS_BACKEND=jax pytest tests`, or torch."""

# Of what imports no TensorFlow; under another backend, pytest collects these only.
ANY_BACKEND = (
    "tests/layers",
    "tests/losses",
    "tests/models/test_dbof_golden.py",
    "tests/models/test_mixture_golden.py",
    "tests/models/test_nextvlad_golden.py",
)


def name():
    """The backend's name. Keras, and with it TensorFlow, is loaded where somebody asks."""
    import keras

    return keras.backend.backend()


def gradients(function, variables):
    """Gradients of the scalar `function()` with respect to each of a list of `keras.Variable`."""
    values = [variable.value for variable in variables]
    if name() == "jax":
        import jax
        import keras

        def stateless(values):
            with keras.StatelessScope(state_mapping=list(zip(variables, values))):
                return function()

        return jax.grad(stateless)(values)
    if name() == "torch":
        import torch

        return torch.autograd.grad(function(), values)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        value = function()
    return tape.gradient(value, values)
