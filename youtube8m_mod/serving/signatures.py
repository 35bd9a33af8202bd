"""What a served model answers: the signatures of its SavedModel."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.data import parsing, records
from youtube8m_mod.inference.embeddings import MEAN
from youtube8m_mod.localization.segments import split_segments

if TYPE_CHECKING:
    from youtube8m_mod.inference.folded import FoldedModel


class Signatures(tf.Module):
    """The signatures of a folded model; outputs are probabilities, one column for each scored class.

    `serving_default`, as MediaPipe's YouTube-8M graphs call it:
        `rgb_and_audio` float32 `(batch, frames, features)`, dequantised, clipped to the dataset's range; `num_frames`
        int32 `(batch, 1)`, leading frames that exist, at least 1. Gives `predictions` `(batch, C)`.
    `quantized`: the same of the dataset's bytes, `rgb_and_audio` uint8.
    `segments`: the inputs of `serving_default`, whole videos. Gives `start_times` int32 `(batch, segments)`, in
        seconds, and `predictions` `(batch, segments, C)`, the last segment of a video perhaps a partial one; -1 and 0
        where a video has no more segments.
    `embeddings`, where they are asked for: the inputs of `serving_default`. Gives `embeddings` `(batch, size)`, the
        hidden vectors of the leaves, concatenated in the order of the tree or their mean.
    `serialized_examples`: `examples` string `(batch,)`, frame-level SequenceExamples with quantised features. Gives
        `ids` string `(batch,)`, and `class_indexes` int32 and `predictions` of the `top_k` best classes of each.

    A model of segments attends to five frames also where fewer exist, as it was trained; frames beyond
    `config.max_frames` are cut.

    Args:
        model: a `FoldedModel` without devices.
        top_k: classes in an answer of `serialized_examples`.
        label_names: path of a text file that goes with the model as an asset, one name a column; None: none.
        embeddings: "concatenate" or "mean"; None: no such signature.
    """

    def __init__(self, model: "FoldedModel", top_k: int, label_names: str | None = None, embeddings: str | None = None):
        super().__init__()
        self.join = embeddings
        self.model, self.top_k = model, min(top_k, len(model.classes))
        self.label_names = tf.saved_model.Asset(label_names) if label_names else None
        config = model.config
        self.record = records.RecordSpec(
            records.QUANTIZED, config.feature_names, config.feature_sizes, config.num_classes, segments=False
        )

    def concrete_functions(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """{signature: concrete function}, as `tf.saved_model.save` takes them."""
        size = self.model.config.feature_size
        num_frames = tf.TensorSpec([None, 1], tf.int32, "num_frames")

        def frames(shape, dtype=tf.float32):
            return tf.TensorSpec([*shape, size], dtype, "rgb_and_audio")

        inputs = {
            "serving_default": (self._checked(self.videos), frames([None, None]), num_frames),
            "quantized": (self._checked(self.videos), frames([None, None], tf.uint8), num_frames),
            "segments": (self._checked(self.segments), frames([None, None]), num_frames),
            "serialized_examples": (self.serialized_examples, tf.TensorSpec([None], tf.string, "examples")),
        }
        if self.join:
            inputs["embeddings"] = (self._checked(self.embeddings), frames([None, None]), num_frames)
        return {
            name: tf.function(function, autograph=False).get_concrete_function(*specs)
            for name, (function, *specs) in inputs.items()
        }

    def videos(self, rgb_and_audio: tf.Tensor, num_frames: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"predictions": self._probabilities(rgb_and_audio, tf.reshape(num_frames, [-1]))}

    def segments(self, rgb_and_audio: tf.Tensor, num_frames: tf.Tensor) -> dict[str, tf.Tensor]:
        frames = rgb_and_audio[:, : self.model.config.max_frames]
        features, present, videos, starts = split_segments(frames, tf.reshape(num_frames, [-1]))
        logits = self.model.logits(features, None, present, SEGMENT_FRAMES)
        places = tf.stack([videos, starts // SEGMENT_FRAMES], axis=1)
        shape = [tf.shape(frames)[0], -(-tf.shape(frames)[1] // SEGMENT_FRAMES)]
        predictions = tf.scatter_nd(places, tf.sigmoid(logits), [*shape, len(self.model.classes)])
        return {"start_times": tf.scatter_nd(places, starts + 1, shape) - 1, "predictions": predictions}

    def embeddings(self, rgb_and_audio: tf.Tensor, num_frames: tf.Tensor) -> dict[str, tf.Tensor]:
        present = tf.reshape(num_frames, [-1])
        _, hidden = self.model.outputs(rgb_and_audio, self._attended(present), present)  # (B, leaves, H)
        if self.join == MEAN:
            return {"embeddings": tf.reduce_mean(hidden, axis=1)}
        return {"embeddings": tf.reshape(hidden, [-1, hidden.shape[1] * hidden.shape[2]])}

    def _checked(self, function):
        """`function(rgb_and_audio, num_frames)` that refuses inputs of other shapes, and videos without a frame."""
        size = self.model.config.feature_size

        def checked(rgb_and_audio, num_frames):
            # A server or a client may send any shape. Behind a placeholder TensorFlow does not take the signature's
            # for granted, and the check away.
            sent = tf.raw_ops.PlaceholderWithDefault(input=rgb_and_audio, shape=tf.TensorShape(None))
            counts = tf.raw_ops.PlaceholderWithDefault(input=num_frames, shape=tf.TensorShape(None))
            shape = tf.shape(sent)
            batch, frames, width = tf.unstack(tf.pad(shape, [[0, 3]])[:3], num=3)
            good = (tf.size(shape) == 3) & (width == size) & (tf.size(counts) == batch)
            good &= tf.reduce_all((counts >= 1) & (counts <= frames))
            sentence = (
                f"expected rgb_and_audio of shape (batch, frames, {size}) and num_frames of shape (batch, 1), from 1 "
                "to the number of frames; got rgb_and_audio of shape"
            )
            data = [sentence, shape, "and num_frames of shape", tf.shape(counts), "with the values", counts]
            with tf.control_dependencies([tf.debugging.Assert(good, data)]):
                sent, counts = tf.identity(sent), tf.identity(counts)
            return function(tf.ensure_shape(sent, [None, None, size]), tf.reshape(counts, [-1, 1]))

        checked.__name__ = function.__name__
        # The names of a signature's inputs are those of its function's arguments.
        return checked

    def serialized_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        # Bytes that are no SequenceExample raise here; in the parser below some of them would end the server.
        decoded = tf.io.decode_proto(examples, "tensorflow.SequenceExample", ["context"], [tf.string], sanitize=True)
        with tf.control_dependencies([decoded.sizes]):
            parsed = parsing.fields(tf.identity(examples), self.record)
        names = ", ".join(f"{name} ({size} bytes a frame)" for name, size in zip(self.record.keys, self.record.sizes))
        check = tf.debugging.Assert(
            parsed["valid"],
            [f"Expected each record to have an id, frames of {names}, and labels that are classes of the model."],
        )
        with tf.control_dependencies([check]):
            batch = parsing.videos(parsed, self.record, self.model.config.max_frames)
        best = tf.math.top_k(self._probabilities(batch["features"], batch["num_frames"]), self.top_k)
        classes = tf.gather(tf.constant(self.model.classes, tf.int32), best.indices)
        return {"ids": batch["ids"], "class_indexes": classes, "predictions": best.values}

    def _probabilities(self, features, present):
        return tf.sigmoid(self.model.logits(features, self._attended(present), present))

    def _attended(self, present):
        return tf.maximum(present, SEGMENT_FRAMES) if self.model.segments else present


def column_names(label_names: Mapping[int, str] | Sequence[str], classes: Sequence[int] | np.ndarray) -> str:
    """The names of the scored classes, a line each, out of those of all classes."""
    return "".join(f"{label_names[number]}\n" for number in np.asarray(classes))
