"""The stream of serialized records of some files, each with its file and number."""

import tensorflow as tf

from youtube8m_mod.data import parse, shards

CHUNK = 16  # Records that go through the stages together.
_READ_BUFFER = 1 << 20


def tell(method, values, dtype=tf.bool, shape=()):
    """Calls a method of the tally from the graph."""
    return tf.ensure_shape(tf.numpy_function(method, values, dtype), shape)


def name(path, index):
    """A record's name for the parser; `Batches` knows it again in the parser's message."""
    return tf.strings.join(["<record ", tf.strings.as_string(index), " of ", path, ">"])


def numbered(paths, tally, open_files):
    """(path, number of the record, serialized record) of all files, `open_files` of them at a time."""

    def read_file(path):
        count = tell(tally.opened, [path], tf.int64)
        # A reading error ends the file. Whether there was one is told by the bytes that were read, so an empty chunk
        # marks the end.
        data = tf.data.TFRecordDataset(path, buffer_size=_READ_BUFFER).take(count).ignore_errors().batch(CHUNK)
        data = data.concatenate(tf.data.Dataset.from_tensors(tf.zeros([0], tf.string)))

        def number(place, chunk):
            index, offset = place
            count = tf.size(chunk, tf.int64)
            size = tf.reduce_sum(tf.cast(tf.strings.length(chunk), tf.int64) + shards.FRAME_BYTES)
            tf.cond(count == 0, lambda: tell(tally.closed, [path, index, offset]), lambda: False)
            return (index + count, offset + size), (tf.fill([count], path), index + tf.range(count), chunk)

        return data.scan((tf.constant(0, tf.int64), tf.constant(0, tf.int64)), number)

    data = tf.data.Dataset.from_tensor_slices(paths)
    if open_files == 1:
        return data.flat_map(read_file).unbatch()
    return data.interleave(read_file, cycle_length=min(open_files, len(paths)),
                           num_parallel_calls=tf.data.AUTOTUNE).unbatch()


def only_good(data, spec, tally):
    """The records of a `numbered` stream that can be read; the tally hears of the others."""

    def all_valid(names, serialized):
        return parse.fields(serialized, names, spec)["valid"]

    def keep_good(paths, indices, serialized):
        # The parser raises on malformed bytes; in a graph, a dataset alone can go on after it.
        checked = tf.data.Dataset.from_tensors((name(paths, indices), serialized)).map(all_valid).ignore_errors()
        good = checked.concatenate(tf.data.Dataset.from_tensors(False)).take(1).get_single_element()

        def sifted():
            keep = tell(tally.sift, [paths, indices, serialized], shape=[None])
            return tuple(tf.boolean_mask(values, keep) for values in (paths, indices, serialized))

        return tf.cond(good, lambda: (paths, indices, serialized), sifted)

    return data.batch(CHUNK).map(keep_good, num_parallel_calls=tf.data.AUTOTUNE).unbatch()
