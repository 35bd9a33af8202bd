"""What a pass over the data has met: how many records, which of them bad, and when that is too much."""

import bisect
import collections
import contextlib
import dataclasses
import itertools
import threading
import weakref

import numpy as np
import tensorflow as tf

from youtube8m_mod.data import parsing, shards, validation
from youtube8m_mod.data.records import LAST_SEGMENT_START, MAX_FRAMES, RecordSpec
from youtube8m_mod.errors import UserError

_JUDGED_RECORDS = 1000  # The share of bad records is judged from so many records on; at the end of a pass in any case.


FACTS = ("past_end", "unread", "unlabelled", "cut", "cut_seconds", "filled")  # Of `Counts`, as the graph counts them.


@dataclasses.dataclass
class Counts:
    """Counts of a pass over the data, complete when it has ended."""

    frames: int = 0  # Seconds that are read of a video.
    training: bool = False  # The records are trained on: labels matter.
    records: int = 0  # Records of the files that were read to their end, bad ones included.
    bad: collections.Counter = dataclasses.field(default_factory=collections.Counter)  # Reason -> records skipped.
    problems: list = dataclasses.field(default_factory=list)  # The first of them: (path, record number, sentence).
    past_end: int = 0  # Rated segments that reach past the end of their video; missing frames are zeros.
    unread: int = 0  # Rated segments behind the seconds that are read of their video; they are left out.
    unlabelled: int = 0  # Videos without a label.
    # Videos longer than 300 s, of which the rest is not read. (A model that reads less of each does so by its
    # configuration.)
    cut: int = 0
    cut_seconds: int = 0  # Seconds of them that are not read.
    filled: int = 0  # Videos that lack a feature.
    whole: list = dataclasses.field(default_factory=lambda: [0, 0])  # Records, and bytes of them, that files gave.
    damaged: list = dataclasses.field(default_factory=list)  # (records, bytes before the damage, bytes from it on).

    @property
    def lost(self) -> int:
        """About how many records stand behind damage in their files, where nothing can be read: by the bytes there.

        The record that is damaged is not among them: it is one of the bad ones.
        """
        total = 0
        for count, before, left in self.damaged:
            records, size = (count, before) if count else self.whole
            total += max(round(left * records / size) - 1, 0) if size else 0
        return total

    def summary(self) -> str:
        """A sentence for each thing to report; "" where there is none."""
        sentences = []
        if self.bad:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in self.bad.most_common())
            sentences.append(
                f"Skipped {sum(self.bad.values()):,} bad of {self.records:,} records ({reasons})"
                f"{self.lost_in_words()}, the first: {self.problems[0][2]}"
            )
        if self.past_end:
            sentences.append(
                f"{self.past_end:,} rated segments reach past the end of their video: the missing frames "
                "are read as zeros."
            )
        if self.unread:
            sentences.append(
                f"{self.unread:,} rated segments start after second {LAST_SEGMENT_START}, the last that is read: they "
                "are left out."
            )
        if self.training and self.unlabelled:
            sentences.append(f"Videos without a label: {self.unlabelled:,}.")
        if self.cut:
            sentences.append(
                f"Videos longer than {max(self.frames, MAX_FRAMES):,} seconds: {self.cut:,}; {self.cut_seconds:,} of "
                "their seconds were not looked at."
            )
        if self.filled:
            sentences.append(f"Videos that lack a feature, which was filled in: {self.filled:,}.")
        return " ".join(sentences)

    def lost_in_words(self) -> str:
        return f" and lost about {self.lost:,} that stand behind them" if self.lost else ""


# A monitor is found by its number, not held by it.
_NUMBERS, _MONITORS = itertools.count(), weakref.WeakValueDictionary()


def called(method: str, number: np.int64, *values: np.ndarray) -> np.ndarray | np.bool_:
    """Calls a method of the `PassMonitor` with this number: a graph that serves many passes is given the number."""
    return getattr(_MONITORS[int(number)], method)(*values)


class PassMonitor:
    """Counts what a pipeline meets; its graph reports through `tf.numpy_function`.

    Args:
        spec: `records.RecordSpec`.
        skip_bad: count bad records instead of raising.
        max_bad_share: a larger share of bad records is refused.
        kept: so many problems are kept in words.
        frames: seconds that are read of a video.
        training: the records are trained on.
        known: set of the files all records of which were seen to be protocol buffers; grows as files are read.

    Attributes:
        number: what `called` knows it by, as long as something holds it.
    """

    def __init__(
        self,
        spec: RecordSpec,
        skip_bad: bool,
        max_bad_share: float,
        kept: int = 20,
        known: set[bytes] | None = None,
        frames: int = 0,
        training: bool = False,
    ):
        self.counts = Counts(frames, training)
        self.error = None  # The first UserError; nothing is counted after it.
        self._spec, self._skip_bad, self._max_bad_share, self._kept = spec, skip_bad, max_bad_share, kept
        self._known, self._malformed = set() if known is None else known, set()
        self._bad_of_file = collections.Counter()
        self._closed_files, self._sizes = set(), {}
        self._lock = threading.Lock()
        self.number = next(_NUMBERS)
        _MONITORS[self.number] = self

    @property
    def tensor(self) -> tf.Tensor:
        """The number, for a graph."""
        return tf.constant(self.number, tf.int64)

    def no_error(self) -> np.bool_:
        return np.bool_(self.error is None)

    def opened(self, path: bytes) -> np.ndarray:
        """How the file `path` is read: int64 (number of records, form), as in `shards.Layout`."""
        found = np.array([0, shards.PLAIN], np.int64)
        if self.error:
            return found
        with self._remembered_error(path):
            shards.check_readable(path.decode())
            layout = shards.layout(path.decode())
            self._sizes[path] = layout.size, max(layout.size, layout.expected)
            found[:] = layout.count, layout.form
        return found

    def is_well_formed(self, path: bytes) -> np.bool_:
        """Whether all records of a file are known to be protocol buffers."""
        return np.bool_(path in self._known)

    def well_formed_records(self, path: bytes, batch: np.ndarray) -> np.ndarray:
        """Which of some records of a file are protocol buffers: bool (B,).

        TensorFlow's parsers of SequenceExamples do not look: a length of 2^31 or more in a record ends the process.
        """
        good = np.array([validation.decodes(serialized) for serialized in batch], bool)
        if not good.all():
            self._malformed.add(path)
        return good

    def closed(self, path: bytes, count: np.int64, offset: np.int64) -> np.bool_:
        """The file `path` gave `count` records, and no more from byte `offset` on. Returns False."""
        if self.error:
            return np.False_
        with self._remembered_error(path), self._lock:
            if path not in self._malformed:
                self._known.add(path)
            (size, expected), path = self._sizes[path], path.decode()
            damaged = int(offset) != size  # A size of -1: the file is compressed and damaged.
            self.counts.records += int(count) + damaged
            self.counts.whole = [self.counts.whole[0] + int(count), self.counts.whole[1] + int(offset)]
            if damaged:
                self.counts.damaged.append((int(count), int(offset), max(expected - int(offset), 0)))
                reason, sentence = shards.damage(path, int(offset))
                self._bad(reason, path, int(count), f"{path}, record {count}: {sentence}.")
            self._closed_files.add(path)
            # Records of files still open are not counted yet, so neither are their bad ones.
            self._judge(sum(self._bad_of_file[file] for file in self._closed_files), _JUDGED_RECORDS)
        return np.False_

    def valid_records(self, paths: np.ndarray, indices: np.ndarray, batch: np.ndarray) -> np.ndarray:
        """Which of some records (number `indices[i]` of `paths[i]`) can be read: bool (B,)."""
        good = np.array([self._is_good(serialized) for serialized in batch])
        for i in np.flatnonzero(~good):
            with self._remembered_error(paths[i]), self._lock:
                path = paths[i].decode()
                reason, sentence = validation.problem(batch[i], self._spec) or (
                    "malformed",
                    "TensorFlow cannot parse it",
                )
                video_id = validation.video_id(batch[i], self._spec)
                named = f' (id "{video_id[:64]}")' if video_id else ""
                self._bad(reason, path, int(indices[i]), f"{path}, record {indices[i]}{named}: {sentence}.")
        return good

    def _is_good(self, serialized):
        try:
            with tf.device("CPU"):
                return bool(parsing.fields([serialized], self._spec)["valid"])
        except tf.errors.InvalidArgumentError:
            return False

    def found(self, counts: np.ndarray) -> np.bool_:
        """Adds the int64 `counts` of a batch, in the order of `FACTS`. Returns False."""
        with self._lock:
            for name, count in zip(FACTS, counts.tolist()):
                setattr(self.counts, name, getattr(self.counts, name) + count)
        return np.False_

    def ended(self) -> None:
        """The pass is over. Raises `UserError` where it ended early, too much was bad, or nothing there."""
        if self.error:
            raise self.error
        if not self.counts.records:
            raise UserError(f"The {len(self._closed_files):,} files hold no record.")
        self._judge(sum(self.counts.bad.values()), 0)
        self._sizes.clear()
        self._closed_files.clear()  # TensorFlow keeps each monitor to the end of the process.

    def _bad(self, reason, path, index, sentence):
        if not self._skip_bad:
            raise UserError(sentence)
        self.counts.bad[reason] += 1
        self._bad_of_file[path] += 1
        bisect.insort(self.counts.problems, (path, index, sentence))  # They come in no order.
        del self.counts.problems[self._kept :]

    def _judge(self, bad, least):
        lost = self.counts.lost
        total = self.counts.records + lost
        if total >= least and bad + lost > self._max_bad_share * total:
            raise UserError(
                f"{bad:,} of {self.counts.records:,} records are bad{self.counts.lost_in_words()}, which is more than "
                f"the share {self._max_bad_share:g} that may be skipped; the first: {self.counts.problems[0][2]}"
            )

    @contextlib.contextmanager
    def _remembered_error(self, path):
        """Keeps the first error, which stops the pass; of the file `path`, where it does not name it itself."""
        try:
            yield
        except UserError as error:
            self.error = self.error or error
        except (OSError, tf.errors.OpError) as error:
            self.error = self.error or UserError(f"Cannot read {path.decode()}: {error}.")
