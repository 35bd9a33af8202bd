"""Warm-up requests, which TensorFlow Serving sends to a model before it answers others.

`assets.extra/tf_serving_warmup_requests` is a TFRecord of `tensorflow.serving.PredictionLog` messages. Their few fields
are encoded here by hand: the package that holds the message classes, tensorflow-serving-api, pins a TensorFlow of its
own.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

# Field numbers: prediction_log.proto, predict.proto and model.proto in tensorflow_serving/apis.
_PREDICTION_LOG_PREDICT, _PREDICT_LOG_REQUEST = 6, 1
_REQUEST_MODEL, _REQUEST_INPUTS = 1, 2
_MODEL_NAME, _MODEL_SIGNATURE = 1, 3
_ENTRY_KEY, _ENTRY_VALUE = 1, 2  # Of every map.


def prediction_log(model_name: str, signature: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of a `PredictionLog` with one request.

    Args:
        model_name: under which the model is served.
        signature: name of the signature.
        inputs: {name: array}.
    """
    request = _field(
        _REQUEST_MODEL, _field(_MODEL_NAME, model_name.encode()) + _field(_MODEL_SIGNATURE, signature.encode())
    )
    for name, value in inputs.items():
        request += _field(
            _REQUEST_INPUTS,
            _field(_ENTRY_KEY, name.encode()) + _field(_ENTRY_VALUE, tf.make_tensor_proto(value).SerializeToString()),
        )
    return _field(_PREDICTION_LOG_PREDICT, _field(_PREDICT_LOG_REQUEST, request))


def _field(number, payload):
    """A length-delimited field of a protocol buffer."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value):
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])
