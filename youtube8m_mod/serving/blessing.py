"""Whether an exported model may appear: what it answers, in a process of its own, to recorded requests."""

import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import saved_model_pb2

from youtube8m_mod import files
from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.data import records
from youtube8m_mod.errors import UserError
from youtube8m_mod.inference.scorers import join_leaves
from youtube8m_mod.models.hidden_vectors import hidden_vectors
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.tree import parse_path

_CLIENT = os.path.join(os.path.dirname(__file__), "plain_client.py")


@dataclasses.dataclass
class Request:
    """A request, and what the trained model, neither folded nor exported, answers.

    Attributes:
        signature: its name.
        inputs: {name: array}.
        expected: {name: array} of outputs that must be equal.
        values: `(rows, C)` or `(videos, segments, C)`, which the `output` must come near.
        output: its name.
    """

    signature: str
    inputs: dict
    expected: dict
    values: np.ndarray
    output: str = "predictions"


class Recorder:
    """Records requests and the answers of a trained model.

    Args:
        model: a `MOD`.
        node: path of the node that answers.
        classes: int `(C,)`, the scored classes.
        top_k: of `serialized_examples`.
        seed: of the features.
    """

    def __init__(self, model: MOD, node: str, classes: Sequence[int] | np.ndarray, top_k: int, seed: int = 0):
        self.model, self.classes, self.top_k = model, np.asarray(classes), min(top_k, len(classes))
        self.path = parse_path(node, model.config.branching)
        self.random = np.random.default_rng(seed)

    def requests(self) -> list[Request]:
        """A few of each signature: single and batched, from one frame to more than are read."""
        longest = self.model.frames
        recorded = []
        for lengths in ((longest,), (1, longest // 2 + 1, longest), (longest + 10,)):
            recorded += self.videos(lengths)
        return [*recorded, self.segments(2 * SEGMENT_FRAMES + 3), self.serialized_examples((longest, 3))]

    def videos(self, lengths: Sequence[int]) -> list[Request]:
        """A request of `serving_default` and one of `quantized`, with videos of so many frames."""
        features = self._features(len(lengths), max(lengths))
        counts = np.array(lengths, np.int32)[:, np.newaxis]
        expected = self._videos(features, lengths)
        return [
            Request(
                "serving_default", {"rgb_and_audio": records.dequantize(features), "num_frames": counts}, {}, expected
            ),
            Request("quantized", {"rgb_and_audio": features, "num_frames": counts}, {}, expected),
        ]

    def segments(self, frames: int) -> Request:
        """A request of `segments` with two videos, of so many frames and of half as many."""
        features = self._features(2, frames)
        lengths = np.array([frames, (frames + 1) // 2], np.int32)
        read = np.minimum(lengths, self.model.config.max_frames)
        slots = -(-int(read[0]) // SEGMENT_FRAMES)
        starts = np.arange(slots, dtype=np.int32) * SEGMENT_FRAMES
        present = np.clip(read[:, np.newaxis] - starts, 0, SEGMENT_FRAMES)  # (2, slots)
        padded = np.zeros((2, slots * SEGMENT_FRAMES, features.shape[-1]), np.uint8)
        padded[:, : read[0]] = features[:, : read[0]]
        exists = present > 0
        answers = np.zeros((2, slots, len(self.classes)), np.float32)
        answers[exists] = self._answer(
            padded.reshape(2, slots, SEGMENT_FRAMES, -1)[exists],
            np.full(exists.sum(), SEGMENT_FRAMES),
            present[exists],
        )
        inputs = {"rgb_and_audio": records.dequantize(features), "num_frames": lengths[:, np.newaxis]}
        return Request("segments", inputs, {"start_times": np.where(exists, starts, -1)}, answers)

    def serialized_examples(self, lengths: Sequence[int]) -> Request:
        """A request of `serialized_examples` with videos of so many frames."""
        config = self.model.config
        features = self._features(len(lengths), max(lengths))
        ends = np.cumsum((0, *config.feature_sizes))
        ids = [f"v{number:03}".encode() for number in range(len(lengths))]
        examples = [
            records.frame_level_record(
                video_id,
                [],
                {name: frames[:length, start:end] for name, start, end in zip(config.feature_names, ends, ends[1:])},
            )
            for video_id, frames, length in zip(ids, features, lengths)
        ]
        return Request(
            "serialized_examples",
            {"examples": np.array(examples, object)},
            {"ids": np.array(ids, object)},
            self._videos(features, lengths),
        )

    def embeddings(self, lengths: Sequence[int], join: str) -> Request:
        """A request of `embeddings` with videos of so many frames."""
        features = self._features(len(lengths), max(lengths))

        def embed(features, num_frames, present_frames):
            hidden = hidden_vectors(
                self.model, _batch(features, num_frames, present_frames), "/".join(map(str, self.path))
            )
            return join_leaves([hidden.numpy()], [1.0], join)

        counts = np.array(lengths, np.int32)[:, np.newaxis]
        inputs = {"rgb_and_audio": records.dequantize(features), "num_frames": counts}
        return Request("embeddings", inputs, {}, self._videos(features, lengths, embed), "embeddings")

    def _features(self, batch, frames):
        return self.random.integers(0, 256, (batch, frames, self.model.config.feature_size), np.uint8)

    def _videos(self, features, lengths, answer=None):
        answer, answers = answer or self._answer, None
        lengths = np.minimum(lengths, self.model.config.max_frames)
        rows = np.maximum(lengths, self.model.frames)  # Each video is padded by itself: its length alone decides.
        attended = np.maximum(lengths, SEGMENT_FRAMES) if self.model.segments else lengths
        for count in np.unique(rows):
            padded = np.pad(features[:, :count], ((0, 0), (0, max(count - features.shape[1], 0)), (0, 0)))
            alike = rows == count
            own = answer(padded[alike], attended[alike], lengths[alike])
            answers = np.zeros((len(lengths), own.shape[1]), np.float32) if answers is None else answers
            answers[alike] = own
        return answers

    def _answer(self, features, num_frames, present_frames):
        output = self.model.tree(_batch(features, num_frames, present_frames))
        for index in self.path:
            output = output.children[index]
        return output.probabilities.numpy()[:, self.classes]

    def difference(self, request: Request, outputs: Mapping[str, np.ndarray]) -> float:
        """The largest difference of a probability from the recorded answer.

        Raises:
            UserError: where something that must be equal is not.
        """
        for name, value in request.expected.items():
            if not np.array_equal(outputs[name], value):
                raise UserError(
                    f"The exported model's {request.signature} gives {name} {outputs[name]}, the trained model {value}."
                )
        expected, found = request.values, outputs[request.output]
        if request.signature == "serialized_examples":
            best = -np.sort(-expected, axis=1)[:, : self.top_k]
            columns = np.argsort(self.classes)[np.searchsorted(np.sort(self.classes), outputs["class_indexes"])]
            # Which of two nearly equal classes comes first is rounding: both are compared by their probabilities.
            expected = np.stack([best, np.take_along_axis(expected, columns, axis=1)])
        if found.shape != expected.shape[-found.ndim :]:
            raise UserError(
                f"The exported model's {request.signature} gives {request.output} of shape {found.shape}, "
                f"{expected.shape[-found.ndim :]} was expected."
            )
        # An embedding has no scale of its own.
        scale = max(1.0, np.abs(expected).max()) if request.output == "embeddings" else 1.0
        return float(np.abs(found - expected).max() / scale)


def _batch(features, num_frames, present_frames):
    return {
        "features": tf.constant(features),
        "num_frames": tf.constant(num_frames, tf.int32),
        "present_frames": tf.constant(present_frames, tf.int32),
    }


def bless(path: str, recorder: Recorder, requests: Sequence[Request], tolerance: float) -> float:
    """Runs requests on an exported model in a fresh process: TensorFlow alone, CPU only.

    Returns:
        the largest difference of a probability from the trained model's.

    Raises:
        UserError: where the model cannot be loaded or run, or differs by more than `tolerance`.
    """
    worst = 0.0
    for request, outputs in zip(requests, call_in_fresh_process(path, requests), strict=True):
        difference = recorder.difference(request, outputs)
        if not difference <= tolerance:
            what = "probability" if request.output == "predictions" else "component"
            raise UserError(
                f"The exported model's {request.signature} differs from the trained model by "
                f"{difference:.2g} in a {what}, at most {tolerance:g} was expected."
            )
        worst = max(worst, difference)
    return worst


def call_in_fresh_process(path: str, requests: Sequence[Request]) -> list[dict[str, np.ndarray]]:
    """The outputs of an exported model, {name: array} for each of the requests."""
    path = files.absolute(path)  # The process has a working directory of its own.
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = os.path.join(folder, "requests"), os.path.join(folder, "responses")
        with tf.io.TFRecordWriter(asked) as writer:
            for request in requests:
                example = tf.train.Example()
                example.features.feature["signature"].bytes_list.value.append(request.signature.encode())
                for name, value in request.inputs.items():
                    proto = tf.make_tensor_proto(value).SerializeToString()
                    example.features.feature[name].bytes_list.value.append(proto)
                writer.write(example.SerializeToString())
        done = subprocess.run(
            [sys.executable, _CLIENT, path, asked, answered], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise UserError(f"The exported model does not run in a fresh process: {lines[-1]}")
        answers = []
        for serialized in tf.data.TFRecordDataset(answered).as_numpy_iterator():
            fields = tf.train.Example.FromString(serialized).features.feature
            answers.append(
                {
                    name: tf.make_ndarray(tensor_pb2.TensorProto.FromString(feature.bytes_list.value[0]))
                    for name, feature in fields.items()
                    if name != "signature"
                }
            )
        return answers


def device_strings(saved_model_dir: str) -> list[str]:
    """Devices that nodes of a SavedModel ask for; a model for any machine has none.

    TensorFlow's own saving and restoring asks for the CPU, which every machine has: that does not count.
    """
    with tf.io.gfile.GFile(f"{saved_model_dir}/saved_model.pb", "rb") as file:
        saved = saved_model_pb2.SavedModel.FromString(file.read())
    graphs = [meta.graph_def for meta in saved.meta_graphs]
    nodes = [node for graph in graphs for node in graph.node]
    nodes += [node for graph in graphs for function in graph.library.function for node in function.node_def]
    return sorted({node.device for node in nodes} - {"", "/device:CPU:0", "/device:CPU:*"})
