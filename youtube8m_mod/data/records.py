"""The records of YouTube-8M: their keys, their numbers, and how one is written.

A frame-level record is a `SequenceExample`: context `id`, `labels` and, where segments were rated,
`segment_start_times`, `segment_end_times`, `segment_labels`, `segment_scores`; one feature list for each feature
(`rgb`, `audio`) with one entry a frame: a string of quantised bytes, or a list of floats as MediaPipe writes them
(`RGB/feature/floats`). A video-level record is an `Example`: `id`, `labels`, and one list of floats for each feature
(`mean_rgb`, `mean_audio`).
"""

import contextlib
import dataclasses
import uuid

import numpy as np

from youtube8m_mod import files
from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.errors import UserError

MAX_FRAMES = 300  # The dataset holds the first 300 seconds of a video.
LAST_SEGMENT_START = MAX_FRAMES - SEGMENT_FRAMES

ID_KEY = "id"
# MediaPipe's names for what `id` is in the dataset; read from float records that have no `id`.
MEDIAPIPE_ID_KEYS = ("example/id", "clip/media_id", "clip/data_path")
# An id stands in CSV files and in `id:start` pairs, so it is short and free of blanks, commas, colons and quotes.
ID_PATTERN = r'[^\x00-\x20,:"\x7f]{1,256}'
LABELS_KEY = "labels"
SEGMENT_STARTS_KEY = "segment_start_times"
SEGMENT_ENDS_KEY = "segment_end_times"
SEGMENT_LABELS_KEY = "segment_labels"
SEGMENT_SCORES_KEY = "segment_scores"
MEAN_PREFIX = "mean_"  # A video-level record has the mean of feature <name> under mean_<name>.

DEQUANTIZE_SCALE = 4 / 255
DEQUANTIZE_OFFSET = 4 / 512 - 2


QUANTIZED, FLOAT, VIDEO_LEVEL = "frame-level, quantised", "frame-level, float", "video-level"


@dataclasses.dataclass(frozen=True)
class RecordSpec:
    """What a record must hold to be read."""

    kind: str  # QUANTIZED, FLOAT or VIDEO_LEVEL.
    keys: tuple[str, ...]  # Key of each feature.
    sizes: tuple[int, ...]  # Values of each feature in a frame.
    num_classes: int
    segments: bool  # Read rated segments, not whole videos.

    @property
    def id_keys(self):
        """Keys that may hold the id; the first that does counts."""
        return (ID_KEY, *MEDIAPIPE_ID_KEYS) if self.kind == FLOAT else (ID_KEY,)


def dequantize(quantized):
    """Values of quantised features, float32 in [-2, 2]: `x * 4/255 + 4/512 - 2`."""
    return np.asarray(quantized, np.float32) * np.float32(DEQUANTIZE_SCALE) + np.float32(DEQUANTIZE_OFFSET)


def quantize(values):
    """The bytes whose dequantised value is nearest, uint8: the inverse of `dequantize`, clipped at both ends."""
    levels = np.rint((np.asarray(values, np.float32) - DEQUANTIZE_OFFSET) / DEQUANTIZE_SCALE)
    return np.clip(levels, 0, 255).astype(np.uint8)


def frame_level_record(video_id, labels, features, segments=None):
    """A serialized frame-level `SequenceExample`; the same arguments give the same bytes.

    Args:
        video_id: str or bytes.
        labels: class indices of the video.
        features: dict name -> uint8 (frames, size), written as quantised bytes, or float32, written as float lists.
        segments: (start, class, score) of each rating, start in seconds; None writes no segment keys at all, as in
            the partitions without ratings.
    """
    import tensorflow as tf

    record = tf.train.SequenceExample()
    context = record.context.feature
    _put(context, ID_KEY, _as_bytes(video_id))
    _put(context, LABELS_KEY, [int(label) for label in labels])
    if segments is not None:
        starts = [int(start) for start, _, _ in segments]
        _put(context, SEGMENT_STARTS_KEY, starts)
        _put(context, SEGMENT_ENDS_KEY, [start + SEGMENT_FRAMES for start in starts])
        _put(context, SEGMENT_LABELS_KEY, [int(label) for _, label, _ in segments])
        context[SEGMENT_SCORES_KEY].float_list.value.extend(float(score) for _, _, score in segments)
        context[SEGMENT_SCORES_KEY].float_list.SetInParent()
    for name, frames in features.items():
        frames = np.asarray(frames)
        entries = record.feature_lists.feature_list[name].feature
        for frame in frames:
            if frames.dtype == np.uint8:
                entries.add().bytes_list.value.append(frame.tobytes())
            else:
                entries.add().float_list.value.extend(frame.astype(np.float32))
    return record.SerializeToString(deterministic=True)


def video_level_record(video_id, labels, **means):
    """A serialized video-level `Example`: `video_level_record("abcd", [3], mean_rgb=..., mean_audio=...)`.

    Args:
        means: key -> float values (size,), written as they are.
    """
    import tensorflow as tf

    record = tf.train.Example()
    feature = record.features.feature
    _put(feature, ID_KEY, _as_bytes(video_id))
    _put(feature, LABELS_KEY, [int(label) for label in labels])
    for key, values in means.items():
        feature[key].float_list.value.extend(np.asarray(values, np.float32))
    return record.SerializeToString(deterministic=True)


def write_shard(path, records):
    """Writes serialized `records` (any iterable) as the TFRecord `path`, whole or not at all; returns their number."""
    import tensorflow as tf

    path = files.expand(path)
    partial = f"{path}.partial-{uuid.uuid4().hex[:8]}"
    files.make_dirs(files.parent(path))
    count = 0
    try:
        with tf.io.TFRecordWriter(partial) as writer:
            for record in records:
                writer.write(record)
                count += 1
        tf.io.gfile.rename(partial, path, overwrite=True)
    except BaseException as error:
        with contextlib.suppress(tf.errors.OpError):
            tf.io.gfile.remove(partial)
        if isinstance(error, tf.errors.OpError):
            raise UserError(f"Cannot write {path}: {error.message}.") from error
        raise
    return count


def _put(feature, key, value):
    if isinstance(value, bytes):
        feature[key].bytes_list.value.append(value)
    else:
        feature[key].int64_list.value.extend(value)
        feature[key].int64_list.SetInParent()  # An empty list is written as such, as the dataset has it.


def _as_bytes(video_id):
    return video_id if isinstance(video_id, bytes) else video_id.encode()
