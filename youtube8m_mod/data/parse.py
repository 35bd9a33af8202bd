"""From serialized records to tensors, in the graph of a `tf.data` pipeline.

`fields` takes a record apart and says whether it can be read; `video` and `segments` make examples of it.
"""

import tensorflow as tf

from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.data import records


def fields(serialized, name, spec):
    """Takes a record apart.

    The parser is given the loosest form there is, so that only malformed bytes and wrong types make it raise, with
    `name` in its message; all else is told by `valid`.

    Args:
        serialized: string scalar. name: string scalar. spec: `records.RecordSpec`.

    Returns:
        A dict: `valid` bool scalar; `id` string scalar; `labels` int64 (labels,); `features`, a tuple with string
        (frames,) for each quantised feature or float32 (frames, size) for each other; in segment mode `starts`,
        `classes` int64 (ratings,) and `scores` float32 (ratings,).
    """
    # An Example parses as a SequenceExample that has a context only.
    context_types = {key: tf.string for key in spec.id_keys} | {records.LABELS_KEY: tf.int64}
    list_types = {}
    if spec.kind == records.VIDEO_LEVEL:
        context_types |= {key: tf.float32 for key in spec.keys}
    else:
        list_types = {key: tf.string if spec.kind == records.QUANTIZED else tf.float32 for key in spec.keys}
    if spec.segments:
        context_types |= {records.SEGMENT_STARTS_KEY: tf.int64, records.SEGMENT_LABELS_KEY: tf.int64,
                          records.SEGMENT_SCORES_KEY: tf.float32}
    context, lists = tf.io.parse_single_sequence_example(
        serialized, {key: tf.io.RaggedFeature(dtype) for key, dtype in context_types.items()},
        {key: tf.io.RaggedFeature(dtype) for key, dtype in list_types.items()}, example_name=name)

    ids = context[records.ID_KEY]
    for key in spec.id_keys[1:]:
        ids = tf.cond(tf.size(ids) > 0, lambda ids=ids: ids, lambda key=key: context[key])
    labels = context[records.LABELS_KEY]
    checks = [tf.size(ids) == 1, tf.reduce_all(tf.strings.regex_full_match(ids, records.ID_PATTERN)),
              _within(labels, spec.num_classes)]
    features = []
    for key, size in zip(spec.keys, spec.sizes):
        if spec.kind == records.VIDEO_LEVEL:
            checks.append(tf.size(context[key]) == size)
            features.append(context[key][tf.newaxis])  # A video of one frame.
        elif spec.kind == records.QUANTIZED:
            frames = lists[key].values
            checks += [tf.reduce_all(lists[key].row_lengths() == 1), tf.reduce_all(tf.strings.length(frames) == size)]
            features.append(frames)
        else:
            checks.append(tf.reduce_all(lists[key].row_lengths() == size))
            features.append(lists[key].values)
    if spec.kind != records.QUANTIZED:
        checks += [tf.reduce_all(tf.math.is_finite(values)) for values in features]
    if spec.kind == records.FLOAT:
        # Only where every row has `size` values can the flat values be rows.
        features = [tf.reshape(values[:tf.size(values) // size * size], [-1, size])
                    for values, size in zip(features, spec.sizes)]
    counts = [tf.shape(values)[0] for values in features]
    checks += [counts[0] > 0] + [count == counts[0] for count in counts[1:]]
    result = {"id": tf.strings.reduce_join(ids), "labels": labels, "features": tuple(features)}
    if spec.segments:
        starts, classes, scores = (context[key] for key in (
            records.SEGMENT_STARTS_KEY, records.SEGMENT_LABELS_KEY, records.SEGMENT_SCORES_KEY))
        checks += [tf.size(starts) == tf.size(classes), tf.size(starts) == tf.size(scores),
                   _within(starts, records.LAST_SEGMENT_START + 1), _within(classes, spec.num_classes),
                   tf.reduce_all((scores == 0) | (scores == 1))]
        result |= {"starts": starts, "classes": classes, "scores": scores}
    result["valid"] = tf.reduce_all(tf.stack(checks))
    return result


def blank_fields(spec):
    """The `fields` of no record: invalid and empty."""
    empty = {"id": tf.constant(""), "labels": tf.zeros([0], tf.int64), "valid": tf.constant(False),
             "features": tuple(tf.zeros([0], tf.string) if spec.kind == records.QUANTIZED else tf.zeros([0, size])
                               for size in spec.sizes)}
    if spec.segments:
        empty |= {"starts": tf.zeros([0], tf.int64), "classes": tf.zeros([0], tf.int64), "scores": tf.zeros([0])}
    return empty


def video(parsed, spec, max_frames):
    """The example of a whole video: a dict by the batch contract (reader.py) without the batch axis."""
    frames = _rows([values[:max_frames] for values in parsed["features"]], spec)
    present = tf.shape(frames)[0]
    frames = tf.ensure_shape(tf.pad(frames, [[0, max_frames - present], [0, 0]]), [max_frames, sum(spec.sizes)])
    return {"ids": parsed["id"], "features": frames, "num_frames": present, "present_frames": present,
            "labels": _multi_hot(parsed["labels"][:, tf.newaxis], tf.constant(1, tf.uint8), [spec.num_classes])}


def blank_video(spec, max_frames):
    """A video of the right shapes that holds nothing."""
    zero = tf.constant(0)
    return {"ids": tf.constant(""), "features": tf.zeros([max_frames, sum(spec.sizes)], _dtype(spec)),
            "num_frames": zero, "present_frames": zero, "labels": tf.zeros([spec.num_classes], tf.uint8)}


def segments(parsed, spec):
    """The examples of a video's rated segments: a dict by the batch contract, with the segments as leading axis.

    Segments stand in order of first appearance; of a (segment, class) that was rated twice the last rating counts.
    """
    starts, segment = tf.unique(parsed["starts"])
    starts = tf.cast(starts, tf.int32)
    count = tf.size(starts)
    total = tf.shape(parsed["features"][0])[0]
    positions = starts[:, tf.newaxis] + tf.range(SEGMENT_FRAMES)  # (S, 5)
    rows = tf.reshape(tf.minimum(positions, total - 1), [-1])
    frames = _rows([tf.gather(values, rows) for values in parsed["features"]], spec)
    frames = tf.reshape(frames, [-1, SEGMENT_FRAMES, sum(spec.sizes)])
    frames = tf.where((positions < total)[:, :, tf.newaxis], frames, tf.zeros([], frames.dtype))

    cell = tf.cast(segment, tf.int64) * spec.num_classes + parsed["classes"]
    cells, group = tf.unique(cell)
    last = tf.math.unsorted_segment_max(tf.range(tf.size(cell)), group, tf.size(cells))
    index = tf.stack([cells // spec.num_classes, cells % spec.num_classes], axis=1)
    shape = tf.stack([count, spec.num_classes])
    return {"ids": tf.fill([count], parsed["id"]), "features": frames, "num_frames": tf.fill([count], SEGMENT_FRAMES),
            "present_frames": tf.clip_by_value(total - starts, 0, SEGMENT_FRAMES),
            "labels": _multi_hot(index, tf.cast(tf.gather(parsed["scores"], last), tf.uint8), shape, spec.num_classes),
            "label_weights": _multi_hot(index, tf.constant(1, tf.uint8), shape, spec.num_classes),
            "start_times": starts}


def no_segments(spec):
    """The segments of a video in which none was rated."""
    return {"ids": tf.zeros([0], tf.string), "features": tf.zeros([0, SEGMENT_FRAMES, sum(spec.sizes)], _dtype(spec)),
            "num_frames": tf.zeros([0], tf.int32), "present_frames": tf.zeros([0], tf.int32),
            "labels": tf.zeros([0, spec.num_classes], tf.uint8),
            "label_weights": tf.zeros([0, spec.num_classes], tf.uint8), "start_times": tf.zeros([0], tf.int32)}


def _within(values, limit):
    return tf.reduce_all((values >= 0) & (values < limit))


def _dtype(spec):
    return tf.uint8 if spec.kind == records.QUANTIZED else tf.float32


def _rows(features, spec):
    """(rows, D): the features side by side."""
    if spec.kind == records.QUANTIZED:
        features = [tf.io.decode_raw(values, tf.uint8) for values in features]
    return tf.concat(features, axis=1)


def _multi_hot(index, values, shape, width=None):
    """uint8 of `shape` with `values` at the rows of `index`."""
    values = tf.broadcast_to(values, tf.shape(index)[:1])
    hot = tf.tensor_scatter_nd_update(tf.zeros(shape, tf.uint8), index, values)
    return hot if width is None else tf.ensure_shape(hot, [None, width])
