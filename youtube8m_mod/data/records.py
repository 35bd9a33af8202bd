"""The records of YouTube-8M: their keys, their numbers, and how one is written.

A frame-level record is a `SequenceExample`: context `id`, `labels` and, where segments were rated,
`segment_start_times`, `segment_end_times`, `segment_labels`, `segment_scores`; one feature list for each feature
(`rgb`, `audio`) with one entry a frame: a string of quantised bytes, or a list of floats as MediaPipe writes them
(`RGB/feature/floats`). A video-level record is an `Example`: `id`, `labels`, and one list of floats for each feature
(`mean_rgb`, `mean_audio`).

Records of other sources are read too: MediaSequence's and AudioSet's names of the same things are known, any other is a
setting (`RecordKeys`).
"""

import contextlib
import dataclasses
import uuid
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from youtube8m_mod import files
from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.errors import UserError
from youtube8m_mod.overrides import check_types

MAX_FRAMES = 300  # The dataset holds the first 300 seconds of a video.
LAST_SEGMENT_START = MAX_FRAMES - SEGMENT_FRAMES

ID_KEY = "id"
# What others call it: YouTube-8M until 2017 and AudioSet, then MediaSequence.
ID_KEYS = (ID_KEY, "video_id", "example/id", "clip/media_id", "clip/data_path")
ID_PATTERN = r"(?s).{1,1000}"  # UTF-8 text; outputs escape what they cannot hold (video_ids.py).
LABELS_KEY = "labels"
LABEL_KEYS = (LABELS_KEY, "clip/label/index")
SEGMENT_STARTS_KEY = "segment_start_times"
SEGMENT_ENDS_KEY = "segment_end_times"
SEGMENT_LABELS_KEY = "segment_labels"
SEGMENT_SCORES_KEY = "segment_scores"
MEAN_PREFIX = "mean_"  # A video-level record has the mean of feature <name> under mean_<name>.

DEQUANTIZE_SCALE = 4 / 255
DEQUANTIZE_OFFSET = 4 / 512 - 2
# The dataset's features were clipped to [-2, 2] before they were quantised; its largest byte dequantises to 2 + 4/512.
FLOAT_RANGE = (-2.0, 2 + 4 / 512)


QUANTIZED, FLOAT, VIDEO_LEVEL = "frame-level, quantised", "frame-level, float", "video-level"


@dataclasses.dataclass(frozen=True)
class SegmentKeys:
    """Where the ratings of segments stand in the context of a record."""

    starts: str = SEGMENT_STARTS_KEY
    ends: str | None = None  # A rating of more than 5 s counts for each 5 s therein; None: all are 5 s long.
    labels: str = SEGMENT_LABELS_KEY
    scores: str | None = SEGMENT_SCORES_KEY  # None: every rating is a positive one.
    ticks: int = 1  # Units of time in a second.
    graded: bool = False  # Scores are confidences from 0 to 1, positive from 0.5 on; else 0 or 1.


DATASET_SEGMENTS = SegmentKeys()
MEDIASEQUENCE_SEGMENTS = SegmentKeys(
    "segment/start/timestamp",
    "segment/end/timestamp",
    "segment/label/index",
    "segment/label/confidence",
    ticks=1_000_000,
    graded=True,
)


@dataclasses.dataclass(frozen=True)
class RecordKeys:
    """Names of a record's fields where they are not the known ones; "" looks for the dataset's and MediaSequence's.

    Times under a name that ends in "timestamp" are in microseconds, others in seconds.
    """

    id: str = ""
    labels: str = ""
    segment_starts: str = ""
    segment_ends: str = ""
    segment_labels: str = ""
    segment_scores: str = ""

    def __post_init__(self):
        check_types(self)


MISSING_FEATURES = ("error", "mean", "zeros")


@dataclasses.dataclass(frozen=True)
class ReaderSettings:
    """How records are read that are not the dataset's own.

    Attributes:
        keys: `RecordKeys`.
        missing_features: what a video gets that lacks a feature (one without sound, say): "error" refuses it, "mean"
            gives the feature's mean in each frame, "zeros" the value 0, dequantised. For a whitened feature, as the
            dataset's are, both are the same: its mean is 0. (A *byte* of 0 would be -2.)
        feature_means: {feature: mean of each column} of features whose mean is not 0, for "mean".
    """

    keys: RecordKeys = RecordKeys()
    missing_features: str = "error"
    feature_means: dict | None = None

    def __post_init__(self):
        if self.missing_features not in MISSING_FEATURES:
            raise UserError(
                f'missing_features must be one of {", ".join(MISSING_FEATURES)}, got "{self.missing_features}".'
            )


@dataclasses.dataclass(frozen=True)
class RecordSpec:
    """What a record must hold to be read."""

    kind: str  # QUANTIZED, FLOAT or VIDEO_LEVEL.
    keys: tuple[str, ...]  # Key of each feature.
    sizes: tuple[int, ...]  # Values of each feature in a frame.
    num_classes: int
    segments: bool  # Read rated segments, not whole videos.
    id_keys: tuple[str, ...] = (ID_KEY,)  # Keys that may hold the id; the first that does counts.
    labels_key: str = LABELS_KEY
    segment_keys: SegmentKeys = DATASET_SEGMENTS
    needs_id: bool = True
    clip: bool = True  # Clip floats to `FLOAT_RANGE`.
    fill: tuple | None = None  # A frame of each feature for videos that lack it: bytes, or floats; None refuses them.
    found: str = ""  # What the first records hold, in words.

    def in_graph(self) -> "RecordSpec":
        """What matters where records are parsed: equal for files whose records are read alike."""
        return dataclasses.replace(self, keys=tuple(self.keys), sizes=tuple(self.sizes), found="")


def dequantize(quantized: np.ndarray) -> np.ndarray:
    """Values of quantised features, float32 in [-2, 2]: `x * 4/255 + 4/512 - 2`."""
    return np.asarray(quantized, np.float32) * np.float32(DEQUANTIZE_SCALE) + np.float32(DEQUANTIZE_OFFSET)


def quantize(values: np.ndarray) -> np.ndarray:
    """The bytes whose dequantised value is nearest, uint8: the inverse of `dequantize`, clipped at both ends."""
    levels = np.rint((np.asarray(values, np.float32) - DEQUANTIZE_OFFSET) / DEQUANTIZE_SCALE)
    return np.clip(levels, 0, 255).astype(np.uint8)


def frame_level_record(
    video_id: str | bytes,
    labels: Iterable[int],
    features: Mapping[str, np.ndarray],
    segments: Sequence[tuple[int, int, float]] | None = None,
) -> bytes:
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


def video_level_record(video_id: str | bytes, labels: Iterable[int], **means: Sequence[float] | np.ndarray) -> bytes:
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


def write_shard(path: files.Path, records: Iterable[bytes]) -> int:
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
