"""The best K entries of every class out of a stream of scores, on arrays (section 3.1, the last step).

An entry is a segment of a video. It is held as one 64-bit key: the score's bits above a code of video and start, so
that integer order is score order. Memory is bounded by classes x K, whatever the number of segments; of the videos
their ids are kept.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.data.video_ids import text_of
from youtube8m_mod.errors import UserError

SLOTS = 60  # Segments in the first 300 frames of a video.
_PENDING = 1 << 19  # Entries that are collected before they are sorted to their classes; they fit a cache.
_SPARE = 1024  # A row holds at least so many entries more than K before it is cut.
_CODE_BITS = np.uint64(32)
_CODE_MASK = np.uint64(0xFFFFFFFF)


class TopK:
    """Exact streaming top K per class.

    Order: higher score first; equal scores by video id (bytes, ascending), then by start time. The result depends on
    neither the order of arrival nor on how the videos were split over several `TopK` that were merged.

    Args:
        num_classes: C.
        k: how many entries a class keeps.
        slots: segments that a video can have; starts are below `5 * slots`. 1 ranks whole videos.
    """

    def __init__(self, num_classes: int, k: int, slots: int = SLOTS):
        if num_classes < 1 or k < 1 or slots < 1:
            raise UserError(
                f"A ranking needs at least 1 class, 1 entry and 1 slot, got {num_classes}, {k} and {slots}."
            )
        self.num_classes, self.k, self.slots = num_classes, k, slots
        self._class_type = np.uint16 if num_classes <= 1 << 16 else np.int64  # 16 bits are sorted by radix.
        self._capacity = k + max(k // 2, _SPARE)
        self._rows = [np.empty(0, np.uint64) for _ in range(num_classes)]
        self._fill = np.zeros(num_classes, np.int64)
        self._worst = np.zeros(num_classes, np.float32)  # A score below it is in none of the lists to come.
        self._index = {}  # Video id -> its number in order of arrival.
        self._places = None  # Number of arrival -> place among the sorted ids.
        self._pending, self._num_pending = [], 0

    def add(
        self, video_id: bytes, starts: Sequence[int] | np.ndarray, scores: np.ndarray, classes: np.ndarray | None = None
    ) -> None:
        """Adds segments of one video, which must be new here.

        Args:
            video_id: bytes.
            starts: int (n,), start times in seconds, multiples of 5.
            scores: float32 (n, m), at least 0; a score below 0 says that the segment is no candidate of the class.
            classes: int (m,), the columns' classes; None: all C of them.
        """
        scores = np.asarray(scores, np.float32)
        starts = np.asarray(starts, np.int64)
        worst = self._worst if classes is None else self._worst[classes]
        if starts.size and not (
            starts.min() >= 0 and starts.max() < SEGMENT_FRAMES * self.slots and not (starts % SEGMENT_FRAMES).any()
        ):
            raise UserError(
                f"Video {text_of(video_id)}: start times must be multiples of {SEGMENT_FRAMES} from 0 to "
                f"{SEGMENT_FRAMES * (self.slots - 1)}, got {starts.tolist()}."
            )
        if scores.size and np.isnan(scores.min()):
            raise UserError(f"Video {text_of(video_id)}: a score is not a number.")
        codes = (self._new_video(video_id) * self.slots + starts // SEGMENT_FRAMES).astype(np.uint64)
        good = scores >= worst
        entries = np.flatnonzero(good)
        keys = (scores.ravel()[entries] + np.float32(0)).view(np.uint32).astype(np.uint64)  # + 0 turns -0 into 0.
        keys <<= _CODE_BITS
        keys |= np.repeat(codes, np.count_nonzero(good, axis=1))
        columns = entries % scores.shape[1]
        self._push(columns if classes is None else np.asarray(classes)[columns], keys)

    def lists(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yields, class by class, the ranking: (scores float32 (n,), videos int (n,), starts int (n,)).

        `videos` are indexes into `video_ids()`.
        """
        self._flush()
        for c in range(self.num_classes):
            scores, codes = self._ranked(c)
            yield scores, codes // self.slots, codes % self.slots * SEGMENT_FRAMES

    def video_ids(self) -> np.ndarray:
        """All videos that were added, as a sorted array of bytes (dtype S)."""
        return np.sort(self._ids())

    def state(self) -> dict[str, np.ndarray]:
        """The rankings as a dict of arrays, the same for the same entries in any order."""
        self._flush()
        ranked = [self._ranked(c) for c in range(self.num_classes)]
        return {
            "k": np.int64(self.k),
            "slots": np.int64(self.slots),
            "video_ids": self.video_ids(),
            "counts": np.array([len(codes) for _, codes in ranked], np.int64),
            "scores": np.concatenate([scores for scores, _ in ranked]),
            "codes": np.concatenate([codes for _, codes in ranked]).astype(np.uint32),
        }

    def merge(self, state: dict[str, np.ndarray]) -> None:
        """Adds what another `TopK` over other videos held, as its `state()`."""
        if (int(state["k"]), int(state["slots"]), len(state["counts"])) != (self.k, self.slots, self.num_classes):
            raise UserError(
                f"Rankings of {self.num_classes} classes, {self.k} entries and {self.slots} slots cannot take one of "
                f"{len(state['counts'])}, {int(state['k'])} and {int(state['slots'])}."
            )
        numbers = np.array([self._new_video(video_id) for video_id in state["video_ids"].tolist()], np.uint64)
        codes = state["codes"].astype(np.int64)
        keys = state["scores"].view(np.uint32).astype(np.uint64) << _CODE_BITS
        if codes.size:
            keys |= numbers[codes // self.slots] * np.uint64(self.slots) + (codes % self.slots).astype(np.uint64)
        self._push(np.repeat(np.arange(self.num_classes), state["counts"]), keys)

    def _new_video(self, video_id):
        if video_id in self._index:
            raise UserError(f"Video {text_of(video_id)} occurs twice in the input.")
        number = self._index[video_id] = len(self._index)
        if (number + 1) * self.slots > int(_CODE_MASK):
            raise UserError(f"A ranking holds at most {int(_CODE_MASK) // self.slots:,} videos.")
        return number

    def _ids(self):
        return np.array(list(self._index), dtype=np.bytes_) if self._index else np.empty(0, "S1")

    def _sorted_codes(self, keys):
        """Codes of `keys` with a video's number replaced by its place among the sorted ids: uint64 (n,)."""
        if self._places is None or len(self._places) != len(self._index):
            self._places = np.empty(len(self._index), np.uint64)
            self._places[np.argsort(self._ids(), kind="stable")] = np.arange(len(self._index), dtype=np.uint64)
        numbers, slots = np.divmod(keys & _CODE_MASK, np.uint64(self.slots))
        return self._places[numbers.astype(np.intp)] * np.uint64(self.slots) + slots

    def _push(self, classes, keys):
        if keys.size:
            self._pending.append((classes.astype(self._class_type), keys))
            self._num_pending += keys.size
            if self._num_pending >= _PENDING:
                self._flush()

    def _flush(self):
        """Sorts the pending entries to their classes' rows."""
        if not self._pending:
            return
        classes = np.concatenate([part for part, _ in self._pending])
        keys = np.concatenate([part for _, part in self._pending])
        self._pending, self._num_pending = [], 0
        keys = keys[np.argsort(classes, kind="stable")]
        counts = np.bincount(classes, minlength=self.num_classes)
        ends = np.cumsum(counts)
        for c in np.flatnonzero(counts):
            self._append(c, keys[ends[c] - counts[c] : ends[c]])

    def _append(self, c, keys):
        while keys.size:
            if self._fill[c] == self._capacity:
                self._prune(c)
            fill, row = self._fill[c], self._rows[c]
            part = keys[: self._capacity - fill]
            if fill + part.size > row.size:
                grown = np.empty(min(self._capacity, max(fill + part.size, 2 * row.size)), np.uint64)
                grown[:fill] = row[:fill]
                self._rows[c] = row = grown
            row[fill : fill + part.size] = part
            self._fill[c] += part.size
            keys = keys[part.size :]

    def _prune(self, c):
        """Cuts a row to its best K entries, exactly: equal scores at the cut are ordered by their ids."""
        row = self._rows[c]
        cut = row.size - self.k
        row.partition(cut)
        worst = row[cut] >> _CODE_BITS
        if row[:cut].max() >> _CODE_BITS == worst:
            scores = row >> _CODE_BITS
            better, equal = row[scores > worst], row[scores == worst]
            free = self.k - better.size
            equal = equal[np.argpartition(self._sorted_codes(equal), free - 1)[:free]]
            row[: better.size], row[better.size : self.k] = better, equal
        else:
            row[: self.k] = row[cut:].copy()
        self._fill[c] = self.k
        self._worst[c] = np.array(worst, np.uint32).view(np.float32)

    def _ranked(self, c):
        """(scores float32, codes int64 against the sorted ids) of a class, best first, at most K."""
        keys = self._rows[c][: self._fill[c]]
        scores = _CODE_MASK - (keys >> _CODE_BITS)
        ordered = np.sort(scores << _CODE_BITS | self._sorted_codes(keys))[: self.k]
        bits = (_CODE_MASK - (ordered >> _CODE_BITS)).astype(np.uint32)
        return bits.view(np.float32), (ordered & _CODE_MASK).astype(np.int64)
