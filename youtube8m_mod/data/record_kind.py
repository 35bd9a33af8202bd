"""What kind of records a set of files holds and under which keys, found in the first of them."""

import collections
import dataclasses
from collections.abc import Container, Sequence

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from youtube8m_mod.config import ModelConfig
from youtube8m_mod.data import records, shards, stream
from youtube8m_mod.errors import UserError

_LOOKED_AT = 100  # Records in which a key may first appear.


def detect(
    paths: Sequence[str],
    config: ModelConfig,
    segments: bool,
    skip_bad: bool,
    settings: records.ReaderSettings | None = None,
    needs_ids: bool = True,
) -> records.RecordSpec:
    """The `RecordSpec` of the files.

    Args:
        paths: files; config: gives `feature_names`, `feature_sizes`, `num_classes` and `clip_features`.
        segments: rated segments will be read.
        skip_bad: go on to the first record that shows it, where the very first does not.
        settings: `records.ReaderSettings`.
        needs_ids: every record must have an id.

    Raises:
        UserError: naming file and record, and what was found in it.
    """
    settings = settings or records.ReaderSettings()
    fill_missing = settings.missing_features != "error"
    kind, feature_keys, where, found = None, None, None, _Found()
    for path, index, record in _first_records(paths, skip_bad):
        if kind is None:
            kind, feature_keys, problem = _kind(record, config.feature_names, fill_missing)
            if kind is None and not skip_bad:
                raise UserError(f"{path}, record {index}: {problem}.")
            where = where or (path, index, problem)
            if kind and segments and kind == records.VIDEO_LEVEL:
                raise UserError(f"{path} holds video-level records: rated segments need frame-level records.")
        found.add(record)
        if kind and (found.count >= _LOOKED_AT or found.complete(settings.keys, segments)):
            break
    if kind is None:
        raise UserError(f"{where[0]}, record {where[1]}: {where[2]}.")
    found.check(settings.keys, paths[0])
    return records.RecordSpec(
        kind,
        feature_keys,
        config.feature_sizes,
        config.num_classes,
        segments,
        id_keys=_id_keys(kind, settings.keys, found),
        labels_key=settings.keys.labels or found.first(records.LABEL_KEYS) or records.LABELS_KEY,
        segment_keys=segment_keys(settings.keys, found.context),
        needs_id=needs_ids,
        clip=config.clip_features,
        fill=_fill(kind, config, settings) if fill_missing else None,
        found=str(found),
    )


def segment_keys(keys: records.RecordKeys, context: Container[str]) -> records.SegmentKeys:
    """The `SegmentKeys` of records whose contexts hold the keys `context`, with the names that `RecordKeys` give."""
    known = records.DATASET_SEGMENTS
    foreign = records.MEDIASEQUENCE_SEGMENTS
    if known.starts not in context and foreign.starts in context:
        known = dataclasses.replace(
            foreign,
            ends=foreign.ends if foreign.ends in context else None,
            scores=foreign.scores if foreign.scores in context else None,
        )
    if not any((keys.segment_starts, keys.segment_ends, keys.segment_labels, keys.segment_scores)):
        return known
    starts = keys.segment_starts or known.starts
    scores = keys.segment_scores or (known.scores if known.scores in context else None)
    return records.SegmentKeys(
        starts,
        keys.segment_ends or known.ends,
        keys.segment_labels or known.labels,
        scores,
        ticks=1_000_000 if starts.endswith("timestamp") else 1,
        graded=scores != records.SEGMENT_SCORES_KEY,
    )


class _Found:
    """The keys that some records hold."""

    def __init__(self):
        self.count, self.context, self.lists = 0, collections.Counter(), collections.Counter()

    def add(self, record):
        self.count += 1
        self.context.update(record.context.feature.keys())
        self.lists.update(record.feature_lists.feature_list.keys())

    def first(self, keys):
        return next((key for key in keys if key in self.context), None)

    def complete(self, keys, segments):
        """Whether every key that will be read was seen."""
        wanted = [(keys.id,) if keys.id else records.ID_KEYS, (keys.labels,) if keys.labels else records.LABEL_KEYS]
        if segments:
            known = (records.DATASET_SEGMENTS.starts, records.MEDIASEQUENCE_SEGMENTS.starts)
            wanted.append((keys.segment_starts,) if keys.segment_starts else known)
            wanted += [(key,) for key in (keys.segment_ends, keys.segment_labels, keys.segment_scores) if key]
        return all(map(self.first, wanted))

    def check(self, keys, path):
        """Raises `UserError` where a key that was asked for is in no record."""
        for field in dataclasses.fields(keys):
            key = getattr(keys, field.name)
            if key and key not in self.context:
                raise UserError(
                    f'None of the first {self.count:,} records of {path} has the key "{key}" that --record_keys gives '
                    f"for {field.name}: they hold {self}."
                )

    def __str__(self):
        return f"the features {_quoted(sorted(self.context))} and the feature lists {_quoted(sorted(self.lists))}"


def _first_records(paths, skip_bad):
    """Yields (path, number, record) of the records that are one, file after file."""
    unknown, any_record = None, False
    for path in paths:
        shards.check_readable(path)
        data, size = stream.file_records(path)
        index, offset = -1, 0
        for index, serialized in enumerate(data.as_numpy_iterator()):
            offset += len(serialized) + shards.FRAME_BYTES
            try:
                record = tf.train.SequenceExample.FromString(serialized)
            except DecodeError:
                unknown = unknown or UserError(
                    f"{path}, record {index}: it is neither an Example nor a SequenceExample."
                )
                if not skip_bad and not any_record:
                    raise unknown from None
                continue
            any_record = True
            yield path, index, record
        if size != offset and not any_record:
            unknown = unknown or UserError(f"{path}, record {index + 1}: {shards.damage(path, offset)[1]}.")
            if not skip_bad:
                raise unknown
    if not any_record:
        raise unknown or UserError(
            f"The {len(paths):,} files hold no record that can be read: {paths[0]} is empty"
            + (", as the others are." if len(paths) > 1 else ".")
        )


def _kind(record, names, fill_missing):
    """(kind, keys, None) of a record, or (None, None, what is wrong with it)."""
    lists, context = record.feature_lists.feature_list, record.context.feature
    enough = any if fill_missing else all
    if enough(name in lists for name in names):
        first = next((name for name in names if name in lists and lists[name].feature), None) or next(
            name for name in names if name in lists
        )
        entries = lists[first].feature
        kind = {"bytes_list": records.QUANTIZED, "float_list": records.FLOAT}.get(
            entries[0].WhichOneof("kind") if entries else None
        )
        if kind:
            return kind, names, None
        return None, None, f'feature list "{first}" must hold frames of bytes or floats'
    for keys in (tuple(records.MEAN_PREFIX + name for name in names), names):
        if enough(key in context and context[key].WhichOneof("kind") == "float_list" for key in keys):
            return records.VIDEO_LEVEL, keys, None
    some = any(name in lists or records.MEAN_PREFIX + name in context for name in names)
    return (
        None,
        None,
        (
            f"feature_names {_quoted(names)} are expected as feature lists, or as means "
            f"{_quoted(records.MEAN_PREFIX + name for name in names)}; it has the feature lists "
            f"{_quoted(sorted(lists))} and the features {_quoted(sorted(context))}"
            + (
                "; --missing_features=mean reads videos that lack a feature"
                if some
                else ": --feature_names and --feature_sizes give other ones"
            )
        ),
    )


def _id_keys(kind, keys, found):
    if keys.id:
        return (keys.id,)
    # The dataset's own records are asked for one key only. MediaPipe's may name some videos this way, some that.
    if kind != records.FLOAT and records.ID_KEY in found.context:
        return (records.ID_KEY,)
    return records.ID_KEYS


def _fill(kind, config, settings):
    """A frame of each feature for videos that lack it."""
    frames = []
    for name, size in zip(config.feature_names, config.feature_sizes):
        mean = (settings.feature_means or {}).get(name) if settings.missing_features == "mean" else None
        values = np.zeros(size, np.float32) if mean is None else np.asarray(mean, np.float32)
        if values.shape != (size,):
            raise UserError(f'The means of feature "{name}" must be {size} numbers, got {values.size}.')
        frames.append(records.quantize(values).tobytes() if kind == records.QUANTIZED else tuple(values.tolist()))
    return tuple(frames)


def _quoted(names):
    return ", ".join(f'"{name}"' for name in names) or "(none)"
