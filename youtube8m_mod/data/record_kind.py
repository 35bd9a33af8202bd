"""What kind of records a set of files holds, told by its first record."""

import tensorflow as tf
from google.protobuf.message import DecodeError

from youtube8m_mod.data import records, shards
from youtube8m_mod.errors import UserError


def detect(paths, config, segments, skip_bad):
    """The `RecordSpec` of the files.

    Args:
        paths: files; config: gives `feature_names`, `feature_sizes` and `num_classes`.
        segments: rated segments will be read.
        skip_bad: go on to the first record that tells, where the very first does not.

    Raises:
        UserError: naming file and record, and what was found in it.
    """
    unknown = None
    for path in paths:
        shards.check_readable(path)
        index = -1
        data = tf.data.TFRecordDataset(path).take(shards.count_whole(path)).ignore_errors()
        for index, serialized in enumerate(data.as_numpy_iterator()):
            kind, keys, found = _kind(serialized, config.feature_names)
            if kind:
                if segments and kind == records.VIDEO_LEVEL:
                    raise UserError(f"{path} holds video-level records: rated segments need frame-level records.")
                return records.RecordSpec(kind, keys, config.feature_sizes, config.num_classes, segments)
            unknown = unknown or UserError(f"{path}, record {index}: {found}.")
            if not skip_bad:
                raise unknown
        if index < 0 and shards.size(path) and not skip_bad:
            raise UserError(f"{path}, record 0: {shards.damage(path, 0)[1]}.")
    raise unknown or UserError(f"The {len(paths):,} files hold no record that can be read.")


def _kind(serialized, names):
    """(kind, keys, None) of a record, or (None, None, what is wrong with it)."""
    try:
        record = tf.train.SequenceExample.FromString(serialized)
    except DecodeError:
        return None, None, "it is neither an Example nor a SequenceExample"
    lists, context = record.feature_lists.feature_list, record.context.feature
    if all(name in lists for name in names):
        entries = lists[names[0]].feature
        kind = {"bytes_list": records.QUANTIZED, "float_list": records.FLOAT}.get(
            entries[0].WhichOneof("kind") if entries else None
        )
        if kind:
            return kind, names, None
        return None, None, f'feature list "{names[0]}" must hold frames of bytes or floats'
    for keys in (tuple(records.MEAN_PREFIX + name for name in names), names):
        if all(key in context and context[key].WhichOneof("kind") == "float_list" for key in keys):
            return records.VIDEO_LEVEL, keys, None
    return (
        None,
        None,
        (
            f"feature_names {_quoted(names)} are expected as feature lists, or as means "
            f"{_quoted(records.MEAN_PREFIX + name for name in names)}; it has the feature lists "
            f"{_quoted(sorted(lists))} and the features {_quoted(sorted(context))}"
        ),
    )


def _quoted(names):
    return ", ".join(f'"{name}"' for name in names) or "(none)"
