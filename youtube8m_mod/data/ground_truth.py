"""The ground truth alone: rated segments and video labels, without the features."""

import collections
import contextlib
import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from youtube8m_mod.data import records, shards, stream
from youtube8m_mod.data.ratings import ratings
from youtube8m_mod.data.record_kind import segment_keys
from youtube8m_mod.data.validation import truth_problem
from youtube8m_mod.data.video_ids import escape_id, text_of
from youtube8m_mod.errors import UserError


def rated_segments(
    pattern: str,
    repeated: list[str] | None = None,
    keys: records.RecordKeys | None = None,
    num_classes: int | None = None,
) -> Iterator[tuple[bytes, list[int], list[int], list[float]]]:
    """Yields (video id, starts, classes, scores float) of every video, as lists, in the records' order.

    Ids are bytes as outputs write them (video_ids.py); ratings of more than 5 s stand there once for each 5 s.

    Args:
        pattern: glob of TFRecords.
        repeated: a list that takes a sentence for each record whose id an earlier one has, which counts; None: such a
            record is an error.
        keys: `records.RecordKeys`; None: the known ones.
        num_classes: size of the vocabulary; None: any.

    Raises:
        UserError: naming file and record, and what is wrong with its id or its ratings.
    """
    keys = keys or records.RecordKeys()
    for video_id, record, where in _records(pattern, repeated, keys):
        context = record.context.feature
        names = segment_keys(keys, context)
        if problem := truth_problem(record, None, names, num_classes):
            raise UserError(f"{where}: {problem}.")
        yield video_id, *(list(values) for values in ratings(context, names))


def video_labels(
    pattern: str,
    repeated: list[str] | None = None,
    keys: records.RecordKeys | None = None,
    num_classes: int | None = None,
) -> Iterator[tuple[bytes, np.ndarray]]:
    """Yields (video id, labels int64 (n,)) of every video, each label once, in the records' order.

    Args:
        repeated, keys, num_classes: see `rated_segments`.
    """
    keys = keys or records.RecordKeys()
    for video_id, record, where in _records(pattern, repeated, keys):
        context = record.context.feature
        names = (keys.labels,) if keys.labels else records.LABEL_KEYS
        name = next((name for name in names if name in context), names[0])
        if problem := truth_problem(record, name, None, num_classes):
            raise UserError(f"{where}: {problem}.")
        labels = context[name].int64_list.value if name in context else ()
        yield video_id, np.unique(np.array(labels, np.int64))


def places(paths: Iterable[str], video_id: bytes) -> list[str]:
    """Where an id (bytes, as outputs write it) stands in some files: "<path>, record <number>" of each that has it."""
    found = []
    for path in paths:
        data, _ = stream.file_records(path)
        for index, serialized in enumerate(data.as_numpy_iterator()):
            with contextlib.suppress(DecodeError):
                context = tf.train.SequenceExample.FromString(serialized).context.feature
                # Under whatever key: the id of a record is one of its strings.
                if any(escape_id(value) == video_id for one in context.values() for value in one.bytes_list.value):
                    found.append(f"{path}, record {index}")
    return found


def _records(pattern, repeated, keys):
    id_keys = (keys.id,) if keys.id else records.ID_KEYS
    seen, held = {}, collections.Counter()
    for path in shards.list_shards(pattern):
        index, offset = -1, 0
        data, size = stream.file_records(path)
        for index, serialized in enumerate(data.as_numpy_iterator()):
            where = f"{path}, record {index}"
            offset += len(serialized) + shards.FRAME_BYTES
            try:  # An Example parses as a SequenceExample that has a context only.
                record = tf.train.SequenceExample.FromString(serialized)
            except DecodeError:
                raise UserError(f"{where}: it is neither an Example nor a SequenceExample.") from None
            context = record.context.feature
            held.update(context.keys())
            ids = [value for key in id_keys if key in context for value in context[key].bytes_list.value]
            if not ids or not ids[0]:
                named = " or ".join(f'"{key}"' for key in id_keys)
                raise UserError(
                    f"{where}: it must have an id under {named}, got none; its features are "
                    f"{', '.join(sorted(context)) or 'none'}."
                )
            video_id = escape_id(ids[0])
            if video_id in seen:
                name = text_of(video_id[:64])
                first_path, first_index = seen[video_id]
                sentence = f'{where}: the id "{name}" occurs twice, first in {first_path}, record {first_index}.'
                if repeated is None:
                    raise UserError(sentence)
                repeated.append(sentence)
                continue
            seen[video_id] = path, index
            yield video_id, record, where
        if offset != size:
            raise UserError(f"{path}, record {index + 1}: {shards.damage(path, offset)[1]}.")
    for field in dataclasses.fields(keys):
        key = getattr(keys, field.name)
        if held and key and key not in held:
            raise UserError(
                f'No record of "{pattern}" has the key "{key}" that --record_keys gives for {field.name}; they have '
                f"{', '.join(sorted(held))}."
            )
