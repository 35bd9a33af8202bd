"""Calls an exported model as a stranger would: with TensorFlow alone, on the CPU, without this package.

    python plain_client.py <SavedModel or .tflite file> <requests> <responses>

Requests and responses are TFRecords of tf.train.Example: `signature`, and a TensorProto for each input or output.
"""

import gc
import os
import sys

if __name__ == "__main__":  # Before TensorFlow is loaded.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    gc.disable()  # Looking for cycles is a quarter of the time that TensorFlow's import takes.
    for name in ("youtube8m_mod", "matplotlib", "pandas"):  # Keras imports the last two where there are any.
        sys.modules[name] = None  # Importing it raises ImportError.

import tensorflow as tf  # noqa: E402
from tensorflow.core.framework import tensor_pb2  # noqa: E402


def main(path: str, requests: str, responses: str) -> None:
    call = _tflite(path) if path.endswith(".tflite") else _saved_model(path)
    with tf.io.TFRecordWriter(responses) as writer:
        for serialized in tf.data.TFRecordDataset(requests).as_numpy_iterator():
            fields = {
                name: feature.bytes_list.value[0]
                for name, feature in tf.train.Example.FromString(serialized).features.feature.items()
            }
            signature = fields.pop("signature")
            outputs = call(
                signature.decode(),
                {name: tf.make_ndarray(tensor_pb2.TensorProto.FromString(value)) for name, value in fields.items()},
            )
            example = tf.train.Example()
            example.features.feature["signature"].bytes_list.value.append(signature)
            for name, value in outputs.items():
                example.features.feature[name].bytes_list.value.append(tf.make_tensor_proto(value).SerializeToString())
            writer.write(example.SerializeToString())


def _saved_model(path):
    model = tf.saved_model.load(path)

    def call(signature, inputs):
        outputs = model.signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: output.numpy() for name, output in outputs.items()}

    return call


def _tflite(path):
    interpreter = tf.lite.Interpreter(model_path=path)
    return lambda signature, inputs: interpreter.get_signature_runner(signature)(**inputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
