"""From serialized records to batches, in the graph of a `tf.data` pipeline.

`fields` takes records apart and says whether they can be read; `videos` and `segments` make examples of them. All work
on many records at once: values of all records lie one after the other, and row splits say whose they are.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.data import records
from youtube8m_mod.data.ratings import GRADED_POSITIVE, MOST_PIECES


def fields(
    serialized: tf.Tensor | Sequence[bytes], spec: records.RecordSpec, attempt: Callable[..., Any] | None = None
) -> dict[str, Any]:
    """Takes records apart.

    Args:
        serialized: string (B,). spec: `records.RecordSpec`.
        attempt: `stream.attempt`: where something raises, there are no records, and these are not valid.

    Returns:
        A dict of what they hold: `valid` bool scalar: all can be read, without which the rest means nothing; `id`
        string (B,); `labels` a ragged int64 (B, None); `features`, a tuple with string (frames of all,) for each
        quantised feature or float32 (frames of all, size) for each other; `splits` int64 (B + 1,) of the frames;
        `filled` bool (B,), whether a feature was missing; in segment mode `starts` in seconds, ragged, and `classes`
        and `scores`, of all, a rating of more than 5 s once for each 5 s, and `unread` int64 (B,), how many
        are left out as they lie behind the seconds that are read.

    Raises:
        InvalidArgumentError: (as the graph runs) on malformed bytes and wrong types, without `attempt`.
    """
    types, rated = _types(spec), spec.segment_keys
    parsed = True
    if attempt is None:
        context, lists = _lists(serialized, types)
    else:
        # Nothing but this raises. TensorFlow looks through what is attempted in a thread of its own at the start of
        # each pass, and searches all of its kernels for each kind of operation there: few are best.
        nothing = tuple(tf.zeros([size], dtype) for size, dtype in _components(types))
        parsed, components = attempt(
            lambda serialized: (True, tuple(tf.nest.flatten(_lists(serialized, types), expand_composites=True))),
            (serialized,),
            (False, nothing),
        )
        context, lists = tf.nest.pack_sequence_as(types, components, expand_composites=True)

    video_id, found = _ids([context[key] for key in spec.id_keys])
    labels = context[spec.labels_key]
    checks = [_within(labels.values, spec.num_classes)]
    if spec.needs_id:
        checks += [found == 1, tf.strings.regex_full_match(video_id, records.ID_PATTERN)]
    features, splits, feature_checks = _features(context, lists, spec)
    checks += feature_checks
    filled = tf.zeros_like(video_id, tf.bool)
    if spec.fill is not None:
        features, splits, filled = _filled(features, splits, spec)
    checks.append(splits[0][1:] > splits[0][:-1])
    checks += [other == splits[0] for other in splits[1:]]
    result = {
        "id": video_id,
        "labels": labels,
        "features": tuple(features),
        "splits": splits[0],
        "filled": filled,
    }
    if spec.segments:
        longer = splits[0][1:] - splits[0][:-1] > records.MAX_FRAMES
        ratings, rating_checks = _ratings(context, rated, spec, longer)
        checks += rating_checks
        result |= ratings
    result["valid"] = tf.reduce_all([parsed, *(tf.reduce_all(check) for check in checks)])
    return result


def _types(spec):
    """({key: `RaggedTensorSpec`} of the contexts, the same of the lists of frames) of all that is read of a record."""
    rated = spec.segment_keys
    # An Example parses as a SequenceExample that has a context only.
    context_types = {key: tf.string for key in spec.id_keys} | {spec.labels_key: tf.int64}
    list_types = {}
    if spec.kind == records.VIDEO_LEVEL:
        context_types |= {key: tf.float32 for key in spec.keys}
    else:
        list_types = {key: tf.string if spec.kind == records.QUANTIZED else tf.float32 for key in spec.keys}
    if spec.segments:
        times = (rated.starts, rated.ends) if rated.ends else (rated.starts,)
        context_types |= {key: tf.int64 for key in (*times, rated.labels)}
        context_types |= {rated.scores: tf.float32} if rated.scores else {}
    return tuple(
        {key: tf.RaggedTensorSpec([None] * (rank + 1), dtype, rank, tf.int64) for key, dtype in own.items()}
        for rank, own in ((1, context_types), (2, list_types))
    )


def _lists(serialized, types):
    """(contexts, lists of frames) of records: {key: ragged tensor}."""
    context, lists, _ = tf.io.parse_sequence_example(
        serialized,
        *(
            {key: tf.io.RaggedFeature(spec.dtype, row_splits_dtype=tf.int64) for key, spec in own.items()}
            for own in types
        ),
    )
    return context, lists


def _components(types):
    """[(size, dtype)] of the tensors that ragged tensors without a row consist of: values, then splits."""
    found = []
    for spec in tf.nest.flatten(types):
        found += [(0, spec.dtype)] + [(1, tf.int64)] * spec.ragged_rank
    return found


def _features(context, lists, spec):
    """(values of the frames of all records, splits of these among records, checks), a list of each: see `fields`."""
    features, splits, checks = [], [], []
    for key, size in zip(spec.keys, spec.sizes):
        if spec.kind == records.VIDEO_LEVEL:  # A video of one frame.
            rows = context[key]
            if spec.fill is None:
                splits.append(tf.range(rows.nrows() + 1))
            else:
                exists = rows.row_lengths() > 0
                splits.append(tf.concat([[0], tf.cumsum(tf.cast(exists, tf.int64))], axis=0))
                rows = tf.ragged.boolean_mask(rows, exists)
        else:
            rows = lists[key].values
            splits.append(lists[key].row_splits)
        if spec.kind == records.QUANTIZED:
            checks += [rows.row_lengths() == 1, tf.strings.length(rows.values) == size]
            features.append(rows.values)
        else:
            checks += [rows.row_lengths() == size, tf.math.is_finite(rows.values)]
            # Where not every row has `size` values there are no rows to be had.
            values = tf.reshape(rows.values[: tf.size(rows.values) // size * size], [-1, size])
            features.append(tf.clip_by_value(values, *records.FLOAT_RANGE) if spec.clip else values)
    return features, splits, checks


def _ratings(context, keys, spec, longer):
    """({"starts" ragged, in seconds, "classes", "scores", "unread"}, checks); ratings.py does it in Python.

    Args:
        longer: bool (B,), the video is longer than what is read of it: so may its ratings be.
    """
    starts, classes = context[keys.starts], context[keys.labels]
    scores = context[keys.scores] if keys.scores else classes.with_values(tf.ones_like(classes.values, tf.float32))
    checks = [
        starts.row_splits == classes.row_splits,
        starts.row_splits == scores.row_splits,
        _within(classes.values, spec.num_classes),
    ]
    score = scores.values
    if keys.graded:
        checks.append((score >= 0) & (score <= 1))
        score = tf.cast(score >= GRADED_POSITIVE, tf.float32)
    else:
        checks.append((score == 0) | (score == 1))
    seconds, classes = (starts.values + keys.ticks // 2) // keys.ticks, classes.values
    if keys.ends:
        ends, length = context[keys.ends], SEGMENT_FRAMES * keys.ticks
        same = tf.reduce_all(ends.row_splits == starts.row_splits)
        duration = tf.cond(same, lambda: ends.values - starts.values, lambda: tf.zeros_like(starts.values))
        at_most = tf.where(tf.gather(longer, starts.value_rowids()), starts.values.dtype.max, MOST_PIECES * length)
        checks.append((duration > 0) & (duration <= at_most))
        pieces = tf.clip_by_value((duration + length // 2) // length, 1, MOST_PIECES)
        index = tf.repeat(tf.range(tf.size(pieces)), pieces)
        steps = tf.range(tf.size(index), dtype=tf.int64) - tf.gather(tf.cumsum(pieces, exclusive=True), index)
        seconds = tf.gather(seconds, index) + SEGMENT_FRAMES * steps
        # Where the lists are not equally long, nothing can be gathered from them; the record is refused.
        size = tf.minimum(tf.size(classes), tf.size(score))
        at = tf.minimum(index, tf.maximum(size - 1, 0))
        padded = (tf.concat([values, tf.zeros([1], values.dtype)], axis=0) for values in (classes, score))
        classes, score = (tf.gather(values, at) for values in padded)
        starts = tf.RaggedTensor.from_value_rowids(
            seconds, tf.gather(starts.value_rowids(), index), starts.nrows(), validate=False
        )
    read, rows = seconds <= records.LAST_SEGMENT_START, starts.value_rowids()
    # A segment across second 300 is refused in the dataset's records, as the original's reader breaks off there.
    behind = seconds >= (records.MAX_FRAMES if keys == records.DATASET_SEGMENTS else 0)
    checks += [seconds >= 0, read | (behind & tf.gather(longer, rows))]
    kept = tf.where(read)[:, 0]
    # In a record that is refused the lists may be shorter: the indexes must hold all the same.
    classes, score = (
        tf.gather(tf.concat([values, tf.zeros_like(seconds, values.dtype)], axis=0), kept)
        for values in (classes, score)
    )
    starts = tf.RaggedTensor.from_value_rowids(
        tf.gather(seconds, kept), tf.gather(rows, kept), starts.nrows(), validate=False
    )
    unread = tf.math.unsorted_segment_sum(tf.cast(~read, tf.int64), rows, starts.nrows())
    return {"starts": starts, "classes": classes, "scores": score, "unread": unread}, checks


def _filled(features, splits, spec):
    """Features, splits and which videos had one missing, with `spec.fill` where a video lacks a feature altogether."""
    lengths = tf.stack([ends[1:] - ends[:-1] for ends in splits])  # (features, B)
    wanted = tf.reduce_max(lengths, axis=0)
    target = tf.concat([[0], tf.cumsum(wanted)], axis=0)
    missing = (lengths == 0) & (wanted > 0)
    rows = tf.repeat(tf.range(tf.size(wanted)), wanted)
    place = tf.range(tf.size(rows), dtype=tf.int64) - tf.gather(target, rows)
    filled_features, filled_splits = [], []
    for i, (values, own, fill) in enumerate(zip(features, splits, spec.fill)):
        count = tf.shape(values, tf.int64)[0]
        source = tf.where(tf.gather(missing[i], rows), count, tf.gather(own, rows) + place)
        extended = tf.concat([values, [fill]], axis=0)
        # Where lengths differ the record is refused; the indexes must hold all the same.
        uneven = tf.reduce_any((lengths[i] != wanted) & ~missing[i])
        filled_features.append(
            tf.cond(uneven, lambda: values, lambda: tf.gather(extended, tf.minimum(source, count)))  # noqa: B023
        )
        filled_splits.append(tf.cond(uneven, lambda: own, lambda: target))
    return filled_features, filled_splits, tf.reduce_any(missing, axis=0)


def videos(parsed: dict[str, Any], spec: records.RecordSpec, max_frames: int) -> dict[str, tf.Tensor]:
    """The records as a batch of videos; see the batch in reader.py."""
    frames = tf.RaggedTensor.from_row_splits(_rows(parsed["features"], spec), parsed["splits"], validate=False)
    count = frames.nrows()
    present = tf.cast(tf.minimum(frames.row_lengths(), max_frames), tf.int32)
    labels = parsed["labels"]
    index = tf.stack([labels.value_rowids(), labels.values], axis=1)
    return {
        "ids": parsed["id"],
        "features": frames.to_tensor(shape=[None, max_frames, sum(spec.sizes)]),
        "num_frames": present,
        "present_frames": present,
        "labels": _multi_hot(index, tf.ones_like(labels.values, tf.uint8), count, spec),
    }


def segments(parsed: dict[str, Any], spec: records.RecordSpec) -> dict[str, tf.Tensor]:
    """The rated segments of the records as a batch; see the batch in reader.py.

    Segments of a video stand in order of first appearance; of a (segment, class) that was rated twice the last rating
    counts.
    """
    # One number for each (video, start).
    starts = parsed["starts"].value_rowids() * records.MAX_FRAMES + parsed["starts"].values
    places, segment = tf.unique(starts)
    video, start = places // records.MAX_FRAMES, places % records.MAX_FRAMES  # (S,)
    first, end = tf.gather(parsed["splits"], video), tf.gather(parsed["splits"], video + 1)
    rows = (first + start)[:, tf.newaxis] + tf.range(SEGMENT_FRAMES, dtype=tf.int64)  # (S, 5)
    exists = rows < end[:, tf.newaxis]
    rows = tf.reshape(tf.minimum(rows, end[:, tf.newaxis] - 1), [-1])
    frames = _rows([tf.gather(values, rows) for values in parsed["features"]], spec)
    frames = tf.reshape(frames, [-1, SEGMENT_FRAMES, sum(spec.sizes)])

    count = tf.size(places, tf.int64)
    cells, group = tf.unique(tf.cast(segment, tf.int64) * spec.num_classes + parsed["classes"])
    last = tf.math.unsorted_segment_max(tf.range(tf.size(group)), group, tf.size(cells))
    index = tf.stack([cells // spec.num_classes, cells % spec.num_classes], axis=1)
    score = tf.cast(tf.gather(parsed["scores"], last), tf.uint8)
    return {
        "ids": tf.gather(parsed["id"], video),
        "features": tf.where(exists[:, :, tf.newaxis], frames, tf.zeros([], frames.dtype)),
        "num_frames": tf.fill([count], SEGMENT_FRAMES),
        "present_frames": tf.math.count_nonzero(exists, axis=1, dtype=tf.int32),
        "labels": _multi_hot(index, score, count, spec),
        "label_weights": _multi_hot(index, tf.ones_like(score), count, spec),
        "start_times": tf.cast(start, tf.int32),
    }


def nothing(spec: records.RecordSpec, max_frames: int) -> dict[str, tf.Tensor]:
    """A batch of no examples."""
    batch = {
        "ids": tf.zeros([0], tf.string),
        "features": tf.zeros(
            [0, max_frames, sum(spec.sizes)], tf.uint8 if spec.kind == records.QUANTIZED else tf.float32
        ),
        "num_frames": tf.zeros([0], tf.int32),
        "present_frames": tf.zeros([0], tf.int32),
        "labels": tf.zeros([0, spec.num_classes], tf.uint8),
    }
    if spec.segments:
        batch |= {"label_weights": tf.zeros([0, spec.num_classes], tf.uint8), "start_times": tf.zeros([0], tf.int32)}
    return batch


def _ids(candidates):
    """(first id, number of ids) of each record, from the first of the ragged `candidates` that has any."""
    video_id, found = None, None
    for values in reversed(candidates):
        first, count = values.to_tensor("", shape=[None, 1])[:, 0], values.row_lengths()
        video_id = first if video_id is None else tf.where(count > 0, first, video_id)
        found = count if found is None else tf.where(count > 0, count, found)
    return video_id, found


def _within(values, limit):
    return (values >= 0) & (values < limit)


def _rows(features, spec):
    """(rows, D): the features side by side."""
    if spec.kind == records.QUANTIZED:
        # No strings give (0, 0): hence the reshape.
        features = [
            tf.reshape(tf.io.decode_raw(values, tf.uint8), [-1, size]) for values, size in zip(features, spec.sizes)
        ]
    return tf.concat(features, axis=1)


def _multi_hot(index, values, count, spec):
    """uint8 (count, C) with `values` at the rows of `index`."""
    hot = tf.zeros(tf.stack([count, spec.num_classes]), tf.uint8)
    return tf.ensure_shape(tf.tensor_scatter_nd_update(hot, index, values), [None, spec.num_classes])
