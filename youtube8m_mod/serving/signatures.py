"""What a served model answers: the signatures of its SavedModel."""

import numpy as np
import tensorflow as tf

from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.data import parsing, records
from youtube8m_mod.localization.segments import split_segments


class Signatures(tf.Module):
    """The signatures of a folded model; outputs are probabilities, one column for each scored class.

    `serving_default`, as MediaPipe's YouTube-8M graphs call it:
        `rgb_and_audio` float32 `(batch, frames, features)`, dequantised; `num_frames` int32 `(batch, 1)`, leading
        frames that exist. Gives `predictions` `(batch, C)`.
    `quantized`: the same of the dataset's bytes, `rgb_and_audio` uint8.
    `segments`: one whole video, `rgb_and_audio` float32 `(frames, features)`. Gives `start_times` int32 `(segments,)`,
        in seconds, and `predictions` `(segments, C)`, the last segment perhaps a partial one.
    `serialized_examples`: `examples` string `(batch,)`, frame-level SequenceExamples with quantised features. Gives
        `ids` string `(batch,)`, and `class_indexes` int32 and `predictions` of the `top_k` best classes of each.

    A model of segments attends to five frames also where fewer exist, as it was trained; frames beyond
    `config.max_frames` are cut.

    Args:
        model: a `FoldedModel` without devices.
        top_k: classes in an answer of `serialized_examples`.
        label_names: path of a text file that goes with the model as an asset, one name a column; None: none.
    """

    def __init__(self, model, top_k, label_names=None):
        super().__init__()
        self.model, self.top_k = model, min(top_k, len(model.classes))
        self.label_names = tf.saved_model.Asset(label_names) if label_names else None
        config = model.config
        self.record = records.RecordSpec(
            records.QUANTIZED, config.feature_names, config.feature_sizes, config.num_classes, segments=False
        )

    def concrete_functions(self):
        """{signature: concrete function}, as `tf.saved_model.save` takes them."""
        size = self.model.config.feature_size
        num_frames = tf.TensorSpec([None, 1], tf.int32, "num_frames")

        def frames(shape, dtype=tf.float32):
            return tf.TensorSpec([*shape, size], dtype, "rgb_and_audio")

        inputs = {
            "serving_default": (self.videos, frames([None, None]), num_frames),
            "quantized": (self.videos, frames([None, None], tf.uint8), num_frames),
            "segments": (self.segments, frames([None])),
            "serialized_examples": (self.serialized_examples, tf.TensorSpec([None], tf.string, "examples")),
        }
        return {
            name: tf.function(function, autograph=False).get_concrete_function(*specs)
            for name, (function, *specs) in inputs.items()
        }

    def videos(self, rgb_and_audio, num_frames):
        return {"predictions": self._probabilities(rgb_and_audio, tf.reshape(num_frames, [-1]))}

    def segments(self, rgb_and_audio):
        frames = rgb_and_audio[tf.newaxis, : self.model.config.max_frames]
        features, present, _, starts = split_segments(frames, tf.shape(frames)[1][tf.newaxis])
        logits = self.model.logits(features, None, present, SEGMENT_FRAMES)
        return {"start_times": starts, "predictions": tf.sigmoid(logits)}

    def serialized_examples(self, examples):
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
        attended = tf.maximum(present, SEGMENT_FRAMES) if self.model.segments else present
        return tf.sigmoid(self.model.logits(features, attended, present))


def column_names(label_names, classes):
    """The names of the scored classes, a line each, out of those of all classes."""
    return "".join(f"{label_names[number]}\n" for number in np.asarray(classes))
