"""From serialized records to batches, in the graph of a `tf.data` pipeline.

`fields` takes records apart and says whether they can be read; `videos` and `segments` make examples of them. All work
on many records at once: values of all records lie one after the other, and row splits say whose they are.
"""

import tensorflow as tf

from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.data import records


def fields(serialized, spec):
    """Takes records apart.

    Args:
        serialized: string (B,). spec: `records.RecordSpec`.

    Returns:
        A dict of what they hold: `valid` bool scalar: all can be read, without which the rest means nothing; `id`
        string (B,); `labels` a ragged int64 (B, None); `features`, a tuple with string (frames of all,) for each
        quantised feature or float32 (frames of all, size) for each other; `splits` int64 (B + 1,) of the frames; in
        segment mode `starts`, ragged, and `classes` and `scores`, of all.

    Raises:
        InvalidArgumentError: (as the graph runs) on malformed bytes and wrong types.
    """
    # An Example parses as a SequenceExample that has a context only.
    context_types = {key: tf.string for key in spec.id_keys} | {records.LABELS_KEY: tf.int64}
    list_types = {}
    if spec.kind == records.VIDEO_LEVEL:
        context_types |= {key: tf.float32 for key in spec.keys}
    else:
        list_types = {key: tf.string if spec.kind == records.QUANTIZED else tf.float32 for key in spec.keys}
    if spec.segments:
        context_types |= {
            records.SEGMENT_STARTS_KEY: tf.int64,
            records.SEGMENT_LABELS_KEY: tf.int64,
            records.SEGMENT_SCORES_KEY: tf.float32,
        }
    context, lists, _ = tf.io.parse_sequence_example(
        serialized,
        *(
            {key: tf.io.RaggedFeature(dtype, row_splits_dtype=tf.int64) for key, dtype in types.items()}
            for types in (context_types, list_types)
        ),
    )

    video_id, found = _ids([context[key] for key in spec.id_keys])
    labels = context[records.LABELS_KEY]
    checks = [
        found == 1,
        tf.strings.regex_full_match(video_id, records.ID_PATTERN),
        _within(labels.values, spec.num_classes),
    ]
    features, splits = [], []
    for key, size in zip(spec.keys, spec.sizes):
        if spec.kind == records.VIDEO_LEVEL:  # A video of one frame.
            rows = context[key]
            splits.append(tf.range(rows.nrows() + 1))
        else:
            rows = lists[key].values
            splits.append(lists[key].row_splits)
        if spec.kind == records.QUANTIZED:
            checks += [rows.row_lengths() == 1, tf.strings.length(rows.values) == size]
            features.append(rows.values)
        else:
            checks += [rows.row_lengths() == size, tf.math.is_finite(rows.values)]
            # Where not every row has `size` values there are no rows to be had.
            features.append(tf.reshape(rows.values[: tf.size(rows.values) // size * size], [-1, size]))
    checks.append(splits[0][1:] > splits[0][:-1])
    checks += [other == splits[0] for other in splits[1:]]
    result = {"id": video_id, "labels": labels, "features": tuple(features), "splits": splits[0]}
    if spec.segments:
        starts, classes, scores = (
            context[key] for key in (records.SEGMENT_STARTS_KEY, records.SEGMENT_LABELS_KEY, records.SEGMENT_SCORES_KEY)
        )
        checks += [
            starts.row_splits == classes.row_splits,
            starts.row_splits == scores.row_splits,
            _within(starts.values, records.LAST_SEGMENT_START + 1),
            _within(classes.values, spec.num_classes),
            (scores.values == 0) | (scores.values == 1),
        ]
        result |= {"starts": starts, "classes": classes.values, "scores": scores.values}
    result["valid"] = tf.reduce_all([tf.reduce_all(check) for check in checks])
    return result


def videos(parsed, spec, max_frames):
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


def segments(parsed, spec):
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


def nothing(spec, max_frames):
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
        # (0, 0) comes of no strings: hence the reshape.
        features = [
            tf.reshape(tf.io.decode_raw(values, tf.uint8), [-1, size]) for values, size in zip(features, spec.sizes)
        ]
    return tf.concat(features, axis=1)


def _multi_hot(index, values, count, spec):
    """uint8 (count, C) with `values` at the rows of `index`."""
    hot = tf.zeros(tf.stack([count, spec.num_classes]), tf.uint8)
    return tf.ensure_shape(tf.tensor_scatter_nd_update(hot, index, values), [None, spec.num_classes])
