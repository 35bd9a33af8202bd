"""What is wrong with a record, in words: the slow and exact counterpart of the validation in parse.py."""

import re

import numpy as np

from youtube8m_mod.data import records

_KINDS = {"bytes_list": "bytes", "int64_list": "integers", "float_list": "floats"}


class _Problem(Exception):
    """(reason, sentence) of the first problem found."""


def problem(serialized, spec):
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
        _check_id(record, spec)
        _check_labels(_values(record, records.LABELS_KEY, "int64_list"), spec.num_classes, "labels")
        if _whole(spec):
            _check_means(record, spec)
        else:
            _check_frames(record, spec)
        if spec.segments:
            _check_segments(record, spec)
    except _Problem as found:
        return found.args
    return None


def video_id(serialized, spec):
    """The id of a record as text, "" where it has none."""
    record = _decoded(serialized)
    try:
        return _video_id(record, spec) if record is not None else ""
    except _Problem:
        return ""


def decodes(serialized):
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


def _video_id(record, spec):
    # Every key is looked at, as in the graph: one of a wrong type is a problem even where another holds the id.
    candidates = [_values(record, key, "bytes_list") for key in spec.id_keys]
    chosen = next((values for values in candidates if values), ())
    if len(chosen) != 1 or not chosen[0]:
        raise _Problem(
            "id",
            f'it must have one id under "{records.ID_KEY}", got '
            + (f"{len(chosen)} of them" if len(chosen) > 1 else "an empty one" if chosen else "none"),
        )
    return chosen[0].decode("utf-8", "backslashreplace")


def _check_id(record, spec):
    text = _video_id(record, spec)
    if "\\x" in text or not re.fullmatch(records.ID_PATTERN, text):
        raise _Problem(
            "id", f"its id must be at most 256 letters without blanks, commas, colons and quotes, got {text[:64]!r}"
        )


def _check_labels(labels, num_classes, name):
    wrong = next((label for label in labels if not 0 <= label < num_classes), None)
    if wrong is not None:
        raise _Problem("label out of range", f"{name} must be classes from 0 to {num_classes - 1}, got {wrong}")


def _check_means(record, spec):
    for key, size in zip(spec.keys, spec.sizes):
        values = _values(record, key, "float_list")
        if len(values) != size:
            raise _Problem("feature size", f'"{key}" must hold {size} values, got {len(values)}')
        _check_finite(values, key)


def _check_frames(record, spec):
    lists = record.feature_lists.feature_list
    kind = "bytes_list" if spec.kind == records.QUANTIZED else "float_list"
    counts = {}
    for key, size in zip(spec.keys, spec.sizes):
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
    if not all(counts.values()):
        missing = next(key for key, count in counts.items() if not count)
        raise _Problem("no frames", f'it has no frames of feature "{missing}"')
    if len(set(counts.values())) > 1:
        got = ", ".join(f'{count} of "{key}"' for key, count in counts.items())
        raise _Problem("different lengths", f"its features must have as many frames each, got {got}")


def _check_finite(values, name):
    if not np.isfinite(np.asarray(values, np.float32)).all():
        raise _Problem("not finite", f'"{name}" holds NaN or infinite values')


def _check_segments(record, spec):
    starts = _values(record, records.SEGMENT_STARTS_KEY, "int64_list")
    labels = _values(record, records.SEGMENT_LABELS_KEY, "int64_list")
    scores = _values(record, records.SEGMENT_SCORES_KEY, "float_list")
    if not len(starts) == len(labels) == len(scores):
        raise _Problem(
            "segment lists",
            "its segment times, labels and scores must be equally many, "
            f"got {len(starts)}, {len(labels)} and {len(scores)}",
        )
    wrong = next((start for start in starts if not 0 <= start <= records.LAST_SEGMENT_START), None)
    if wrong is not None:
        raise _Problem(
            "segment start", f"a rated segment must start between 0 and {records.LAST_SEGMENT_START}, got {wrong}"
        )
    _check_labels(labels, spec.num_classes, "segment labels")
    # TensorFlow reads denormal numbers as 0.
    wrong = next((score for score in scores if score != 1 and not abs(score) < np.finfo(np.float32).tiny), None)
    if wrong is not None:
        raise _Problem("segment score", f"segment scores must be 0 or 1, got {wrong}")
