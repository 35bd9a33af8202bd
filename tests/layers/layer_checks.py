"""What every layer must do, as Keras tests its own: shapes, weights, configuration, saving, dtypes, training."""

import keras
import numpy as np
from keras import ops, tree

from tests import backend

POLICIES = {"float32": 1e-6, "mixed_bfloat16": 0.1, "mixed_float16": 0.02, "float64": 1e-5}
"""Policies, and how far their outputs may be from those of float32."""
if backend.name() != "tensorflow":
    del POLICIES[
        "float64"
    ]  # JAX has it on demand only, and Keras' product of two float64 tensors of PyTorch is float32.


def check_layer(cls, config, inputs, shapes, trainable, non_trainable=0, dtype=None, gradients=True):
    """Fails where the layer is not at home in Keras.

    Args:
        cls, config: its class and the arguments of its constructor.
        inputs: call arguments by position, arrays or lists of arrays.
        shapes: of the outputs, the batch's dimension being None.
        trainable, non_trainable: numbers of its parameters.
        dtype: of the outputs, whatever the policy; None: the policy's compute dtype.
        gradients: whether it is trained.
    """
    layer = cls(**config)
    _check_config(layer)
    model, outputs = _functional(layer, inputs)
    assert tree.map_structure(lambda tensor: tensor.shape, outputs) == shapes
    assert (_count(layer.trainable_weights), _count(layer.non_trainable_weights)) == (trainable, non_trainable)
    assert {config_key for config_key in config} <= layer.get_config().keys()
    flat = tree.flatten(inputs)
    values = _numpy(model(flat))
    assert all(np.isfinite(value).all() for value in tree.flatten(values))
    _check_shape(layer, inputs, values)
    _check_fewer_rows(model, flat, values)
    if gradients:
        _check_training(model, flat, outputs)
    for policy, tolerance in POLICIES.items():
        _check_policy(cls(**config, dtype=policy), layer, inputs, dtype or policy.removeprefix("mixed_"), tolerance)


def save_and_load(model, folder, inputs):
    """The model as loaded from a file, its outputs being the same bit for bit."""
    path = f"{folder}/model.keras"
    model.save(path)
    loaded = keras.saving.load_model(path)
    for ours, theirs in zip(tree.flatten(_numpy(model(inputs))), tree.flatten(_numpy(loaded(inputs)))):
        np.testing.assert_array_equal(ours, theirs)
    return loaded


def functional(layer, inputs):
    """A functional model of the layer, batch and frames unknown."""
    return _functional(layer, inputs)[0]


def _functional(layer, inputs):
    symbolic = tree.map_structure(
        lambda array: keras.Input((None,) * (array.ndim - 2) + array.shape[-1:], dtype=array.dtype.name), inputs
    )
    outputs = layer(*symbolic)
    return keras.Model(tree.flatten(symbolic), outputs), outputs


def _check_config(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    registered = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(registered) is type(layer) and registered.get_config() == layer.get_config()


def _check_shape(layer, inputs, values):
    shapes = tree.map_structure(lambda array: tuple(array.shape), inputs)
    assert layer.compute_output_shape(*shapes) == tree.map_structure(lambda value: value.shape, values)


def _check_fewer_rows(model, inputs, values):
    """At inference, an example's outputs do not depend on its neighbours."""
    fewer = tree.flatten(_numpy(model([array[:1] for array in inputs])))
    for value, own in zip(tree.flatten(values), fewer):
        np.testing.assert_allclose(own, value[:1], rtol=1e-4, atol=1e-5)


def _check_training(model, inputs, outputs):
    targets = [np.ones((len(inputs[0]), *tensor.shape[1:]), np.float32) for tensor in tree.flatten(outputs)]
    before = [_numpy(weight) for weight in model.trainable_weights]
    model.compile("adam", loss=["mse"] * len(targets), run_eagerly=True)
    loss = model.fit(inputs, targets, batch_size=len(inputs[0]), verbose=0).history["loss"]
    assert np.isfinite(loss).all()
    assert any(np.abs(_numpy(weight) - old).max() > 0 for weight, old in zip(model.trainable_weights, before))


def _check_policy(layer, reference, inputs, dtype, tolerance):
    """Dtypes of outputs and specs, and values near those of the float32 layer of the same weights."""
    _check_config(layer)
    _, specs = _functional(layer, inputs)
    layer.set_weights(reference.get_weights())
    outputs = layer(*inputs)
    for spec, output, expected in zip(*map(tree.flatten, (specs, outputs, reference(*inputs)))):
        assert keras.backend.standardize_dtype(output.dtype) == spec.dtype == dtype
        value, expected = (_numpy(ops.cast(tensor, "float32")) for tensor in (output, expected))
        np.testing.assert_allclose(value, expected, atol=tolerance * max(1, np.abs(expected).max()))


def _numpy(tensors):
    return tree.map_structure(ops.convert_to_numpy, tensors)


def _count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)
