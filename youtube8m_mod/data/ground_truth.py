"""The ground truth alone: rated segments and video labels, without the features."""

import contextlib

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from youtube8m_mod.data import records, shards
from youtube8m_mod.errors import UserError


def rated_segments(pattern, repeated=None):
    """Yields (video id bytes, starts, classes, scores float) of every video, as lists, in the records' order.

    Args:
        repeated: a list that takes a sentence for each record whose id an earlier one has, which counts; None: such a
            record is an error.
    """
    for video_id, context, where in _contexts(pattern, repeated):
        starts = context[records.SEGMENT_STARTS_KEY].int64_list.value
        classes = context[records.SEGMENT_LABELS_KEY].int64_list.value
        scores = context[records.SEGMENT_SCORES_KEY].float_list.value
        if not len(starts) == len(classes) == len(scores):
            raise UserError(
                f"{where}: its segment times, labels and scores must be equally many, got {len(starts)}, "
                f"{len(classes)} and {len(scores)}."
            )
        yield video_id, list(starts), list(classes), list(scores)


def video_labels(pattern, repeated=None):
    """Yields (video id bytes, labels int64 (n,)) of every video, each label once, in the records' order.

    Args:
        repeated: see `rated_segments`.
    """
    for video_id, context, _ in _contexts(pattern, repeated):
        yield video_id, np.unique(np.array(context[records.LABELS_KEY].int64_list.value, np.int64))


def places(paths, video_id):
    """Where an id (bytes) stands in some files: "<path>, record <number>" of each record that has it."""
    found = []
    for path in paths:
        data = tf.data.TFRecordDataset(path).take(shards.count_whole(path)).ignore_errors()
        for index, serialized in enumerate(data.as_numpy_iterator()):
            with contextlib.suppress(DecodeError):
                if video_id in _ids(tf.train.SequenceExample.FromString(serialized).context.feature):
                    found.append(f"{path}, record {index}")
    return found


def _ids(context):
    return [
        value
        for key in (records.ID_KEY, *records.MEDIAPIPE_ID_KEYS)
        if key in context
        for value in context[key].bytes_list.value
    ]


def _contexts(pattern, repeated):
    seen = {}
    for path in shards.list_shards(pattern):
        index, offset = -1, 0
        data = tf.data.TFRecordDataset(path).take(shards.count_whole(path)).ignore_errors()
        for index, serialized in enumerate(data.as_numpy_iterator()):
            where = f"{path}, record {index}"
            offset += len(serialized) + shards.FRAME_BYTES
            try:  # An Example parses as a SequenceExample that has a context only.
                context = tf.train.SequenceExample.FromString(serialized).context.feature
            except DecodeError:
                raise UserError(f"{where}: it is neither an Example nor a SequenceExample.") from None
            ids = _ids(context)
            if not ids or not ids[0]:
                raise UserError(f'{where}: it must have an id under "{records.ID_KEY}", got none.')
            if ids[0] in seen:
                name = ids[0][:64].decode(errors="backslashreplace")
                first_path, first_index = seen[ids[0]]
                sentence = f'{where}: the id "{name}" occurs twice, first in {first_path}, record {first_index}.'
                if repeated is None:
                    raise UserError(sentence)
                repeated.append(sentence)
                continue
            seen[ids[0]] = path, index
            yield ids[0], context, where
        if offset < shards.size(path):
            raise UserError(f"{path}, record {index + 1}: {shards.damage(path, offset)[1]}.")
