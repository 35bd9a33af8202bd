"""What is wrong with a record, in words: the slow and exact counterpart of the validation in parsing.py."""

from typing import TYPE_CHECKING

import numpy as np

from youtube8m_mod.data import records
from youtube8m_mod.data.ratings import MOST_PIECES, pieces
from youtube8m_mod.data.video_ids import text_of

if TYPE_CHECKING:
    import tensorflow as tf

_KINDS = {"bytes_list": "bytes", "int64_list": "integers", "float_list": "floats"}


class _Problem(Exception):
    """(reason, sentence) of the first problem found."""


def problem(serialized: bytes, spec: records.RecordSpec) -> tuple[str, str] | None:
    """(reason, sentence) why a record cannot be read, or None where nothing is wrong.

    Args:
        serialized: bytes of an `Example` or `SequenceExample` (an `Example` is a `SequenceExample` without lists).
        spec: `records.RecordSpec`.

    Returns:
        reason: a word or two under which such records are counted; sentence: what was expected and what was found.
    """
    record = _decoded(serialized)
    if record is None:
        return "malformed", f"its bytes are no {'Example' if _whole(spec) else 'SequenceExample'}"
    try:
        _check_kind(record, spec)
        _check_id(record, spec)
        _check_labels(_values(record, spec.labels_key, "int64_list"), spec.num_classes, "labels")
        if _whole(spec):
            _check_means(record, spec)
        else:
            _check_frames(record, spec)
        if spec.segments:
            longer = any(
                len(record.feature_lists.feature_list[key].feature) > records.MAX_FRAMES
                for key in spec.keys
                if key in record.feature_lists.feature_list
            )
            _check_segments(record, spec.segment_keys, spec.num_classes, longer)
    except _Problem as found:
        return found.args
    return None


def truth_problem(
    record: "tf.train.SequenceExample",
    labels_key: str | None,
    keys: records.SegmentKeys | None,
    num_classes: int | None = None,
) -> str | None:
    """A sentence on what is wrong with the labels or ratings of a record, whose features do not matter; or None.

    Args:
        record: a `SequenceExample`.
        labels_key: of the video's labels; None: they are not looked at.
        keys: `records.SegmentKeys`; None: ratings are not looked at.
        num_classes: size of the vocabulary; None: any.
    """
    num_classes = num_classes or 2**31
    try:
        if labels_key:
            _check_labels(_values(record, labels_key, "int64_list"), num_classes, "labels")
        if keys:
            _check_segments(record, keys, num_classes, longer=None)
    except _Problem as found:
        return found.args[1]
    return None


def video_id(serialized: bytes, spec: records.RecordSpec) -> str:
    """The id of a record as text, "" where it has none."""
    record = _decoded(serialized)
    try:
        found = _ids(record, spec) if record is not None else ()
    except _Problem:
        return ""
    return text_of(found[0]) if found else ""


def decodes(serialized: bytes) -> bool:
    """Whether a record's bytes are a `SequenceExample`, whatever it holds."""
    return _decoded(serialized) is not None


def _decoded(serialized):
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        return tf.train.SequenceExample.FromString(serialized)
    except DecodeError:
        return None


def _whole(spec):
    return spec.kind == records.VIDEO_LEVEL


def _values(record, key, kind):
    """Values under `key` of the context, () where there are none."""
    feature = record.context.feature.get(key)
    found = feature and feature.WhichOneof("kind")
    if not found:
        return ()
    if found != kind:
        raise _Problem("wrong type", f'"{key}" must hold {_KINDS[kind]}, got {_KINDS[found]}')
    return getattr(feature, kind).value


def _ids(record, spec):
    # Every key is looked at, as in the graph: one of a wrong type is a problem even where another holds the id.
    candidates = [_values(record, key, "bytes_list") for key in spec.id_keys]
    return next((values for values in candidates if values), ())


def _check_kind(record, spec):
    """Frame-level records among video-level ones, or the other way round."""
    context, lists = record.context.feature, record.feature_lists.feature_list
    means = [key for key in spec.keys if _bare(key) in context or records.MEAN_PREFIX + _bare(key) in context]
    frames = [key for key in spec.keys if _bare(key) in lists and lists[_bare(key)].feature]
    if _whole(spec) and frames and not any(key in context for key in spec.keys):
        found, expected = "frame-level", "video-level"
    elif not _whole(spec) and means and not any(key in lists for key in spec.keys):
        found, expected = "video-level", "frame-level"
    else:
        return
    raise _Problem(
        f"{found} record",
        f"it is a {found} record, {expected} ones were expected, as the first record of the files is one: both kinds "
        "cannot be read together",
    )


def _bare(key):
    return key.removeprefix(records.MEAN_PREFIX)


def _check_id(record, spec):
    found = _ids(record, spec)  # A wrong type is a problem in any case.
    if not spec.needs_id:
        return
    if len(found) != 1 or not found[0]:
        what = f"{len(found)} of them" if len(found) > 1 else "an empty one" if found else "none"
        named = " or ".join(f'"{key}"' for key in spec.id_keys)
        held = ", ".join(f'"{key}"' for key in sorted(record.context.feature))
        raise _Problem(
            "id",
            f"it must have one id under {named}, got {what}"
            + ("" if found else f"; it has the features {held or '(none)'}: --record_keys=id=... names one of them"),
        )
    try:
        text = found[0].decode()
    except UnicodeDecodeError:
        raise _Problem("id", f"its id must be UTF-8 text, got {found[0][:64]!r}") from None
    if len(text) > 1000:
        raise _Problem("id", f"its id must be at most 1000 letters, got {len(text):,}")


def _check_labels(labels, num_classes, name):
    wrong = next((label for label in labels if not 0 <= label < num_classes), None)
    if wrong is not None:
        raise _Problem(
            "label out of range", f"{name} must be classes from 0 to {num_classes - 1}, got {wrong}" + _way_out(labels)
        )


# Sizes of the dataset's vocabularies by year, for records of an earlier one.
_VOCABULARIES = {2018: 3862, 2017: 4716, 2016: 4800}
_SIZE_FLAGS = "--set num_classes={0} (--num_classes={0} of a command without --set)"


def _way_out(labels):
    """What makes labels readable that are too large for the vocabulary."""
    if min(labels) < 0:
        return ""
    for year, size in _VOCABULARIES.items():
        if 3862 <= max(labels) < size:
            return f"; the vocabulary of {year} has {size} classes: {_SIZE_FLAGS.format(size)}"
    return f"; {_SIZE_FLAGS.format('...')} gives the size of another vocabulary"


def _check_means(record, spec):
    for key, size in zip(spec.keys, spec.sizes):
        values = _values(record, key, "float_list")
        if not values and spec.fill is not None and any(_values(record, other, "float_list") for other in spec.keys):
            continue
        if len(values) != size:
            raise _Problem("feature size", f'"{key}" must hold {size} values, got {len(values)}')
        _check_finite(values, key)


def _check_frames(record, spec):
    lists = record.feature_lists.feature_list
    kind = "bytes_list" if spec.kind == records.QUANTIZED else "float_list"
    counts = {}
    missing = [key for key in spec.keys if key not in lists or not lists[key].feature]
    if missing and (spec.fill is None or len(missing) == len(spec.keys)):
        hint = "" if len(missing) == len(spec.keys) else "; --missing_features=mean reads videos that lack one"
        raise _Problem("no frames", f'it has no frames of feature "{missing[0]}"{hint}')
    for key, size in zip(spec.keys, spec.sizes):
        if key in missing:
            continue
        frames = lists[key].feature if key in lists else ()
        counts[key] = len(frames)
        for i, frame in enumerate(frames):
            found = frame.WhichOneof("kind")
            if found and found != kind:
                raise _Problem("wrong type", f'"{key}" must hold {_KINDS[kind]}, got {_KINDS[found]} in frame {i}')
            values = getattr(frame, kind).value
            if kind == "bytes_list":
                if len(values) != 1 or len(values[0]) != size:
                    got = f"{len(values[0])} bytes" if len(values) == 1 else f"{len(values)} strings"
                    raise _Problem("feature size", f'"{key}" must hold {size} bytes a frame, got {got} in frame {i}')
            elif len(values) != size:
                raise _Problem(
                    "feature size", f'"{key}" must hold {size} values a frame, got {len(values)} in frame {i}'
                )
            else:
                _check_finite(values, f"{key} frame {i}")
    if len(set(counts.values())) > 1:
        got = ", ".join(f'{count} of "{key}"' for key, count in counts.items())
        raise _Problem("different lengths", f"its features must have as many frames each, got {got}")


def _check_finite(values, name):
    if not np.isfinite(np.asarray(values, np.float32)).all():
        raise _Problem("not finite", f'"{name}" holds NaN or infinite values')


def _check_segments(record, keys, num_classes, longer):
    """Checks ratings; `longer`: whether the video is longer than what is read of it, None: its end is no matter."""
    starts = _values(record, keys.starts, "int64_list")
    labels = _values(record, keys.labels, "int64_list")
    scores = _values(record, keys.scores, "float_list") if keys.scores else [1.0] * len(labels)
    if not len(starts) == len(labels) == len(scores):
        raise _Problem(
            "segment lists",
            "its segment times, labels and scores must be equally many, "
            f"got {len(starts)}, {len(labels)} and {len(scores)}",
        )
    ends = _values(record, keys.ends, "int64_list") if keys.ends else [start + 5 * keys.ticks for start in starts]
    if len(ends) != len(starts):
        raise _Problem("segment lists", f"its segments must have as many ends as starts, got {len(ends)}")
    unit = " microseconds" if keys.ticks > 1 else ""
    for start, end in zip(starts, ends):
        if not 0 < end - start or longer is False and end - start > MOST_PIECES * 5 * keys.ticks:
            within = f" and within {5 * MOST_PIECES} s" if end > start else ""
            raise _Problem(
                "segment end", f"a rated segment must end after its start of {start}{unit}{within}, got {end}"
            )
        first = (start + keys.ticks // 2) // keys.ticks
        second = first if first < 0 else first + 5 * (pieces(start, end, keys.ticks) - 1)
        across = keys == records.DATASET_SEGMENTS and second < records.MAX_FRAMES  # As in parsing.py.
        if second < 0 or longer is not None and second > records.LAST_SEGMENT_START and (across or not longer):
            raise _Problem(
                "segment start",
                f"a rated segment must start between 0 and {records.LAST_SEGMENT_START}, got {second}",
            )
    _check_labels(labels, num_classes, "segment labels")
    if keys.graded:
        wrong = next((score for score in scores if not 0 <= score <= 1), None)
    else:
        # TensorFlow reads denormal numbers as 0.
        wrong = next((score for score in scores if score != 1 and not abs(score) < np.finfo(np.float32).tiny), None)
    if wrong is not None:
        raise _Problem(
            "segment score", f"segment scores must be {'from 0 to 1' if keys.graded else '0 or 1'}, got {wrong}"
        )
