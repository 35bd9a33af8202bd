"""The stream of serialized records of some files, each with its file and number."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from youtube8m_mod.data import parsing, shards
from youtube8m_mod.data.pass_monitor import PassMonitor, called
from youtube8m_mod.data.records import RecordSpec

CHUNK = 16  # Records that go through the stages together.
_READ_BUFFER = 1 << 20
# The graphs here are made of operations: AutoGraph would find nothing to convert, and look for it for a second.
without_autograph = tf.autograph.experimental.do_not_convert
MONITOR = tf.TensorSpec([], tf.int64)  # The number of a `PassMonitor`.
RECORD = tuple(tf.TensorSpec([], dtype) for dtype in (tf.string, tf.int64, tf.string))  # Path, number, bytes.
RECORDS = tuple(tf.TensorSpec([None], spec.dtype) for spec in RECORD)
_MALFORMED = b"\xff"  # Stands for a record that is no protocol buffer; it is none either, and harmless.


def traced(*signature: tf.TensorSpec) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a function of tensors of these specs: its graph is made at the first call, and serves every pass.

    A pass is made of calls of such functions. Tracing all of it anew takes longer than reading some small files.
    """

    def decorate(function):
        @functools.cache
        def concrete():
            return _on_one_device(
                tf.function(without_autograph(function), autograph=False).get_concrete_function(*signature)
            )

        # Made outside of the graph and the device that happen to ask first; a concrete function is one even where
        # functions run eagerly.
        def call(*values):
            with tf.init_scope(), tf.device(None):
                graph = concrete()
            return graph(*values)

        return call

    return decorate


def _on_one_device(function):
    """A concrete function, with the functions of its datasets marked as those of one device.

    TensorFlow makes these functions anew in each pass, and by itself it prepares them for several devices, which takes
    three times as long.
    """
    graph = function.graph.as_graph_def()
    functions = graph.library.function
    names = {one.signature.name: f"{one.signature.name}_on_one_device" for one in functions}
    for one in functions:
        one.signature.name = names[one.signature.name]
        one.attr["experimental_ints_on_device"].b = True  # TensorFlow's name of the mark.
    for node in itertools.chain(graph.node, *(one.node_def for one in functions)):
        for value in node.attr.values():
            for reference in (value.func,) if value.HasField("func") else value.list.func:
                reference.name = names.get(reference.name, reference.name)
    inputs, outputs = ([tensor.name for tensor in tensors] for tensors in (function.inputs, function.outputs))

    def imported(*values):
        return tf.graph_util.import_graph_def(graph, dict(zip(inputs, values, strict=True)), outputs, name="")

    marked = tf.compat.v1.wrap_function(imported, function.structured_input_signature[0])

    def call(*values):
        # `function` is held on to: what its graph calls of Python goes with it.
        return tf.nest.pack_sequence_as(function.structured_outputs, marked(*values), expand_composites=True)

    return call


def stage(*element: tf.TensorSpec) -> Callable[[Callable[..., tf.data.Dataset]], Callable[..., tf.data.Dataset]]:
    """Decorates a function of a dataset of such elements and a monitor's number, which gives a dataset: `traced`.

    It is called with a dataset and a `PassMonitor`.
    """

    def decorate(function):
        @traced(tf.TensorSpec([], tf.variant), MONITOR)
        def of_variant(variant, monitor):
            return function(tf.data.experimental.from_variant(variant, element), monitor)

        return lambda data, monitor: of_variant(tf.data.experimental.to_variant(data), monitor.tensor)

    return decorate


def options() -> tf.data.Options:
    """Options of every dataset: set once, they hold for all that is made of it."""
    chosen = tf.data.Options()
    chosen.deterministic = True
    # AUTOTUNE then means a call a core, at most 16, from the start. With the tuner the end of a pass at times waits for
    # its next round, which is the later the longer the pass was: 0.6 s after one of 0.7 s, at most a minute.
    chosen.autotune.enabled = False
    # These find nothing to rewrite here, and look for it for a sixth of the time that a pass takes to start.
    chosen.experimental_optimization.apply_default_optimizations = False
    chosen.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return chosen


def call_python(
    method: str, monitor: tf.Tensor, values: Sequence[Any], shape: Sequence[int | None] = (), dtype: tf.DType = tf.bool
) -> tf.Tensor:
    """Calls a method of the `PassMonitor` with a number from the graph."""
    called_method = functools.partial(called, method)
    return tf.ensure_shape(tf.numpy_function(called_method, [monitor, *values], dtype), shape)


def attempt(function: Callable[..., Any], values: tuple, otherwise: Any) -> Any:
    """`function(*values)` in the graph, or `otherwise` where it raises."""
    # A dataset is the one thing in a graph that can go on after an error.
    data = tf.data.Dataset.from_tensors(values).map(function).ignore_errors()
    return data.concatenate(tf.data.Dataset.from_tensors(otherwise)).take(1).get_single_element()


def numbered(paths: Sequence[str], monitor: PassMonitor, open_files: int) -> tf.data.Dataset:
    """(path, number of the record, serialized record) of all files, `open_files` of them at a time."""
    return _numbered(open_files)(tf.constant(paths), monitor.tensor)


@functools.cache
def _numbered(open_files):
    @traced(tf.TensorSpec([None], tf.string), MONITOR)
    def records(paths, monitor):
        def read_file(path):
            return _chunks(path, monitor)

        def number(*chunk):
            return _numbered_chunk(*chunk, monitor)

        data = tf.data.Dataset.from_tensor_slices(paths).with_options(options())
        if open_files == 1:
            data = data.flat_map(read_file)
        else:
            at_once = tf.minimum(tf.size(paths, tf.int64), open_files)
            data = data.interleave(read_file, cycle_length=at_once, num_parallel_calls=tf.data.AUTOTUNE)
        return data.map(number).unbatch()

    return records


def _chunks(path, monitor):
    """A dataset of some records of a file at a time, none at its end: path, whether all of the file are known to be
    protocol buffers, number and offset of the first, bytes of each."""
    opened = call_python("opened", monitor, [path], [2], tf.int64)
    known = call_python("is_well_formed", monitor, [path])
    # A reading error ends the file. Whether there was one shows in the bytes that were read, so an empty chunk
    # marks the end.
    data = _of_layout(path, opened[0], opened[1]).ignore_errors().batch(CHUNK)
    data = data.concatenate(tf.data.Dataset.from_tensors(tf.zeros([0], tf.string)))

    # No more is done here than must be: TensorFlow makes this function anew for each file.
    def place(before, chunk):
        index, offset = before
        size = tf.reduce_sum(tf.cast(tf.strings.length(chunk), tf.int64) + shards.FRAME_BYTES)
        return (index + tf.size(chunk, tf.int64), offset + size), (path, known, index, offset, chunk)

    return data.scan((tf.constant(0, tf.int64), tf.constant(0, tf.int64)), place)


def _numbered_chunk(path, known, index, offset, chunk, monitor):
    """(paths, numbers, records) of a chunk."""
    count = tf.size(chunk, tf.int64)
    tf.cond(count == 0, lambda: call_python("closed", monitor, [path, index, offset]), lambda: False)
    chunk = tf.cond(known, lambda: chunk, lambda: _well_formed(path, chunk, monitor))
    return tf.fill([count], path), index + tf.range(count), chunk


def _of_layout(path, count, form):
    """The serialized records of a file as `shards.Layout` describes it."""
    data = tf.data.TFRecordDataset(path, tf.gather(shards.COMPRESSION, form), _READ_BUFFER).take(count)
    bare = tf.cast(form == shards.BARE, tf.int64)
    return data.concatenate(tf.data.Dataset.range(bare).map(lambda _: tf.io.read_file(path)))


@without_autograph
def file_records(path: str) -> tuple[tf.data.Dataset, int]:
    """(dataset of the serialized records of a file as far as it can be read, bytes that they have with their frames)"""
    layout = shards.layout(path)
    if layout.form == shards.BARE:
        data = tf.data.Dataset.from_tensors(path).map(tf.io.read_file)
    else:
        data = tf.data.TFRecordDataset(path, shards.COMPRESSION[layout.form], _READ_BUFFER).take(layout.count)
    return data.ignore_errors().with_options(options()), layout.size


def _well_formed(path, serialized, monitor):
    """The records, `_MALFORMED` in the place of those whose bytes would end the process in TensorFlow's parsers."""
    good = call_python("well_formed_records", monitor, [path, serialized], [None])
    return tf.cond(tf.reduce_all(good), lambda: serialized, lambda: tf.where(good, serialized, _MALFORMED))


def only_good(data: tf.data.Dataset, spec: RecordSpec, monitor: PassMonitor) -> tf.data.Dataset:
    """The records of a `numbered` stream that can be read; the others are reported to the monitor."""
    return _only_good(spec.in_graph())(data, monitor)


@functools.lru_cache(maxsize=64)
def _only_good(spec):
    @stage(*RECORD)
    def good(data, monitor):
        def keep_good(paths, indices, serialized):
            def only_valid():
                keep = call_python("valid_records", monitor, [paths, indices, serialized], [None])
                return tuple(tf.boolean_mask(values, keep) for values in (paths, indices, serialized))

            valid = parsing.fields(serialized, spec, attempt)["valid"]
            return tf.cond(valid, lambda: (paths, indices, serialized), only_valid)

        return data.batch(CHUNK).map(keep_good, num_parallel_calls=tf.data.AUTOTUNE).unbatch()

    return good
