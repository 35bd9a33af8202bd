"""The reader: batches of videos or of rated segments from the dataset's TFRecords.

A batch is a dict:

* `ids` string (B,), as outputs write them (video_ids.py)
* `features` uint8 (B, M, D), quantised, the features side by side; float32, already dequantised and clipped, from float
  records
* `num_frames` int32 (B,): frames that count; always 5 for a segment
* `present_frames` int32 (B,): leading rows that exist. The others are padding, which means 0 *after* dequantising.
* `labels` uint8 (B, C), multi-hot
* `label_weights` uint8 (B, C), segments only: 1 where the class was rated
* `start_times` int32 (B,), segments only

M is `max_frames` for videos and 5 for segments. Records are numbered from 0 in messages.
"""

import contextlib
import functools
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from youtube8m_mod import environment
from youtube8m_mod.config import SEGMENT_FRAMES, ModelConfig
from youtube8m_mod.data import parsing, records, shards, stream
from youtube8m_mod.data.pass_monitor import FACTS, Counts, PassMonitor
from youtube8m_mod.data.record_kind import detect
from youtube8m_mod.data.video_ids import SAFE_PATTERN, escape_id
from youtube8m_mod.errors import UserError

_OPEN_FILES = 16
_SHUFFLED_RECORDS = 1024  # Whole videos of up to 350 KB.
_SHUFFLED_SEGMENTS = 8192  # Segments of 14 KB.


class Reader:
    """Reads the files of a pattern, all of one kind, which the first record shows.

    Frame-level records hold quantised bytes or, as MediaPipe writes them, floats. Video-level records are read as
    videos of one frame, whose features stand under `mean_<name>`. The keys of id, labels and ratings are the dataset's,
    MediaSequence's, or those of `settings`.

    Args:
        data_pattern: glob, or a comma-separated list of them.
        config: what gives `feature_names`, `feature_sizes`, `num_classes` and `max_frames`: a `ModelConfig`.
        segments: read the rated segments, not whole videos.
        max_frames: M of frame-level videos, where it shall not be `config.max_frames`; video-level records have 1.
        skip_bad_records: count and skip what cannot be read, instead of stopping there.
        max_bad_share: with `skip_bad_records`, the share of bad records from which on a pass is refused.
        num_shards, shard_index: read every num_shards-th file only, from shard_index on.
        settings: `records.ReaderSettings`, for records that are not the dataset's own.
        training: the records are trained on: they need no ids, and those without a label are counted.

    Attributes:
        paths: the files.
        spec: `records.RecordSpec`, of which `kind` is the kind of the records.
        max_frames: M.

    Raises:
        UserError: naming the pattern, the file or the record.
    """

    def __init__(
        self,
        data_pattern: str,
        config: ModelConfig,
        *,
        segments: bool = False,
        max_frames: int | None = None,
        skip_bad_records: bool = False,
        max_bad_share: float = 0.01,
        num_shards: int = 1,
        shard_index: int = 0,
        settings: records.ReaderSettings | None = None,
        training: bool = False,
    ):
        if not 0 <= max_bad_share <= 1:
            raise UserError(f"max_bad_share must be from 0 to 1, got {max_bad_share}.")
        environment.start()
        self.paths = shards.list_shards(data_pattern, num_shards, shard_index)
        self.spec = detect(self.paths, config, segments, skip_bad_records, settings, needs_ids=not training)
        self.training = training
        whole = self.spec.kind == records.VIDEO_LEVEL
        self.max_frames = SEGMENT_FRAMES if segments else 1 if whole else max_frames or config.max_frames
        self.skip_bad_records, self.max_bad_share = skip_bad_records, max_bad_share
        self._known_files = set()  # Looked through by an earlier pass.

    @stream.without_autograph
    def read(
        self,
        batch_size: int,
        *,
        seed: int | None = None,
        epoch: int = 0,
        skip_batches: int = 0,
        drop_remainder: bool = False,
        paths: Sequence[str] | None = None,
        shuffle_buffer: int | None = None,
    ) -> "Batches":
        """One pass over the files: each record once.

        Args:
            seed: shuffles files and records, differently in each `epoch`; the same seed, epoch and files give the same
                order. None reads in the order of the files and of the records therein.
            epoch: number of the pass.
            skip_batches: leave out so many batches of the pass, which gives exactly the rest of it. Where a record is
                an example, they are skipped before they are parsed.
            drop_remainder: leave out the last batch if it is smaller.
            paths: files to read, where not all of `self.paths`.
            shuffle_buffer: examples among which is drawn.

        Returns:
            `Batches`.
        """
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1, got {batch_size}.")
        monitor = PassMonitor(
            self.spec,
            self.skip_bad_records,
            self.max_bad_share,
            known=self._known_files,
            frames=self.max_frames,
            training=self.training,
        )
        paths = self.paths if paths is None else list(paths)
        random = None if seed is None else np.random.default_rng([seed, epoch])
        if random is not None:
            paths = [paths[i] for i in random.permutation(len(paths))]

        data = stream.numbered(paths, monitor, 1 if random is None else _OPEN_FILES)
        if self.skip_bad_records:
            data = stream.only_good(data, self.spec, monitor)
        parsed = _parsed(self.spec.in_graph(), self.max_frames)
        if self.spec.segments:
            data = parsed(data.batch(stream.CHUNK), monitor).unbatch()
            data = _shuffled(data, random, shuffle_buffer or _SHUFFLED_SEGMENTS)
            data = data.skip(skip_batches * batch_size).batch(batch_size, drop_remainder)
        else:
            data = _shuffled(data, random, shuffle_buffer or _SHUFFLED_RECORDS)
            data = data.skip(skip_batches * batch_size).batch(batch_size, drop_remainder)
            data = parsed(data, monitor)
        # What is bad makes the pass end, not the graph raise: TensorFlow would print a traceback.
        # By this method TensorFlow holds the monitor, so that it is found when the `Batches` are gone.
        data = data.take_while(lambda batch: tf.ensure_shape(tf.numpy_function(monitor.no_error, [], tf.bool), []))
        return Batches(data.prefetch(2), monitor)


class Batches:
    """One pass over the data: iterate over it for batches, with errors as `UserError`.

    Where something else iterates over `dataset` (`fit`, a distribution strategy), do it inside
    `with batches.named_errors():` and call `finish()` at the end of the pass: by itself, `dataset` just ends where
    something is bad.

    Attributes:
        dataset: the `tf.data.Dataset`.
        counts: `pass_monitor.Counts`.
    """

    def __init__(self, dataset: tf.data.Dataset, monitor: PassMonitor):
        self.dataset, self._monitor = dataset, monitor

    @property
    def counts(self) -> Counts:
        return self._monitor.counts

    def __iter__(self) -> Iterator[dict[str, tf.Tensor]]:
        with self.named_errors():
            yield from self.dataset
        self.finish()

    @contextlib.contextmanager
    def named_errors(self) -> Iterator[None]:
        """Raises `UserError` at its end where something bad, at which `dataset` ended, was met inside."""
        yield
        if self._monitor.error:
            raise self._monitor.error

    def finish(self) -> None:
        """Raises `UserError` where the pass, now over, met too many bad records, or none at all."""
        self._monitor.ended()


def _shuffled(data, random, buffer):
    return data if random is None else data.shuffle(buffer, int(random.integers(2**31)), reshuffle_each_iteration=False)


@functools.lru_cache(maxsize=64)
def _parsed(spec, max_frames):
    """A stage from batches of records to examples; an empty batch where one is bad."""

    @stream.stage(*stream.RECORDS)
    def parsed(data, monitor):
        def parse_batch(paths, indices, serialized):
            good, batch, facts = _examples(serialized, spec, max_frames)
            read = [paths, indices, serialized]
            tf.cond(
                good,
                lambda: True,
                lambda: tf.reduce_all(stream.call_python("valid_records", monitor, read, [None])),
            )
            tf.cond(tf.reduce_any(facts > 0), lambda: stream.call_python("found", monitor, [facts]), lambda: False)
            return batch

        return data.map(parse_batch, num_parallel_calls=tf.data.AUTOTUNE)

    return parsed


def _examples(serialized, spec, max_frames):
    """(all records are good, a batch of the videos or of all their rated segments, counts as `FACTS`); an empty batch
    where they are not"""
    parsed = parsing.fields(serialized, spec, stream.attempt)

    def make():
        batch = parsing.segments(parsed, spec) if spec.segments else parsing.videos(parsed, spec, max_frames)
        batch["ids"] = _as_written(batch["ids"])
        return batch, _facts(parsed, batch, spec, max_frames)

    batch, facts = tf.cond(
        parsed["valid"], make, lambda: (parsing.nothing(spec, max_frames), tf.zeros([len(FACTS)], tf.int64))
    )
    return parsed["valid"], batch, facts


def _facts(parsed, batch, spec, max_frames):
    """int64 counts in the order of `FACTS`."""
    none = tf.zeros([], tf.int64)
    facts = dict.fromkeys(FACTS, none)
    facts["filled"] = tf.math.count_nonzero(parsed["filled"])
    if spec.segments:
        facts["unread"] = tf.reduce_sum(parsed["unread"])
        facts["past_end"] = tf.math.count_nonzero(batch["present_frames"] < SEGMENT_FRAMES)
    else:
        frames = parsed["splits"][1:] - parsed["splits"][:-1]
        beyond = tf.where(frames > max(max_frames, records.MAX_FRAMES), frames - max_frames, 0)
        facts["unlabelled"] = tf.math.count_nonzero(parsed["labels"].row_lengths() == 0)
        facts["cut"], facts["cut_seconds"] = tf.math.count_nonzero(beyond), tf.reduce_sum(beyond)
    return tf.stack(list(facts.values()))


def _as_written(ids):
    """Ids as outputs write them; the usual ones without a call into Python."""
    safe = tf.strings.regex_full_match(ids, SAFE_PATTERN)

    def escaped():
        return tf.ensure_shape(tf.numpy_function(_escape_all, [ids], tf.string), [None])

    return tf.cond(tf.reduce_all(safe), lambda: ids, escaped)


def _escape_all(ids):
    return np.array([escape_id(video_id) for video_id in ids], object)
