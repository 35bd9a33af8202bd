"""What a page shows: videos with their classes along time, and the best segments of every class."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.data.video_ids import text_of

PROBABILITY, VALUE, RANK = "probability", "value", "rank"


@dataclasses.dataclass
class Truth:
    """What is known of a video.

    Attributes:
        labels: classes of the whole video.
        spans: (class, start, end, present) in seconds: rated segments, or the scenes of a composed video.
    """

    labels: list = dataclasses.field(default_factory=list)
    spans: list = dataclasses.field(default_factory=list)

    @property
    def classes(self) -> list[int]:
        """All classes of the spans, ascending."""
        return sorted({span[0] for span in self.spans})


@dataclasses.dataclass
class Video:
    """A localised video, on the grid of its segments: row i starts at second 5 i.

    Attributes:
        id: str.
        classes: int (m,), different classes.
        values: float (n, m), larger is better; NaN where nothing is known.
        video_probabilities: {class: probability of the whole video}.
        truth: `Truth`, or None.
    """

    id: str
    classes: np.ndarray
    values: np.ndarray
    video_probabilities: dict = dataclasses.field(default_factory=dict)
    truth: Truth | None = None

    @classmethod
    def of_entries(
        cls,
        video_id: str,
        segments: Sequence[int] | np.ndarray,
        classes: Sequence[int] | np.ndarray,
        values: Sequence[float] | np.ndarray,
    ) -> "Video":
        """A video of single values: int (k,), int (k,) and float (k,); no pair of segment and class twice."""
        columns, places = np.unique(np.asarray(classes, np.int64), return_inverse=True)
        grid = np.full((max(segments, default=-1) + 1, len(columns)), np.nan, np.float32)
        grid[segments, places] = values
        return cls(video_id, columns, grid)

    @classmethod
    def of_arrays(cls, ids: np.ndarray, starts: np.ndarray, classes: np.ndarray, values: np.ndarray) -> "list[Video]":
        """The videos of all their segments, in order of their first one.

        Args:
            ids: bytes (n,); starts: int (n,), multiples of 5.
            classes: int (C,); values: float (n, C).
        """
        rows = {}
        for row, video_id in enumerate(ids.tolist()):
            rows.setdefault(video_id, []).append(row)
        videos = []
        for video_id, own in rows.items():
            segments = starts[own] // SEGMENT_FRAMES
            grid = np.full((segments.max() + 1, len(classes)), np.nan, np.float32)
            grid[segments] = values[own]
            videos.append(cls(text_of(video_id), np.asarray(classes), grid))
        return videos

    @property
    def num_segments(self) -> int:
        """Of the grid, on which all of the truth has its place too."""
        ends = [end for _, _, end, _ in self.truth.spans] if self.truth else []
        return max(len(self.values), -(-max(ends, default=0) // SEGMENT_FRAMES))

    def rows(self, count: int) -> list[int]:
        """The classes to show: the `count` of the highest value, best first, then others that have spans of truth."""
        known = ~np.isnan(self.values)
        best = np.where(known, self.values, -np.inf).max(axis=0, initial=-np.inf)
        order = [column for column in np.lexsort((self.classes, -best)) if best[column] > -np.inf]
        shown = self.classes[order[:count]].tolist()
        return shown + [c for c in (self.truth.classes if self.truth else ()) if c not in shown]

    def strip(self, class_id: int) -> np.ndarray:
        """float (num_segments,): the values of one class."""
        result = np.full(self.num_segments, np.nan, np.float32)
        for column in np.flatnonzero(self.classes == class_id):
            result[: len(self.values)] = self.values[:, column]
        return result


@dataclasses.dataclass
class Contents:
    """All that a page shows.

    Attributes:
        title: heading of the page.
        quantity: what the values are: PROBABILITY of the segment; VALUE, Eq. 1; or RANK, 1 / rank in the class's list.
        videos: list of `Video`.
        best: {class: [(index of the video, segment, value), ...]}, best first; a value may be NaN.
        names: {class: name}.
        notes: sentences about what the page leaves out.
    """

    title: str
    quantity: str
    videos: list
    best: dict
    names: dict = dataclasses.field(default_factory=dict)
    notes: list = dataclasses.field(default_factory=list)


def best_segments(videos: Sequence[Video], count: int) -> dict[int, list[tuple[int, int, float]]]:
    """The `count` best segments of every class: {class: [(index of the video, segment, value), ...]}.

    Equal values are ordered by video and time.
    """
    parts = [[], [], [], []]
    for number, video in enumerate(videos):
        segments, columns = np.nonzero(~np.isnan(video.values))
        found = video.classes[columns], np.full(len(columns), number), segments, video.values[segments, columns]
        for part, values in zip(parts, found):
            part.append(values)
    if not videos:
        return {}
    classes, numbers, segments, values = map(np.concatenate, parts)
    order = np.lexsort((segments, numbers, -values, classes))
    classes, numbers, segments, values = (array[order] for array in (classes, numbers, segments, values))
    found, firsts = np.unique(classes, return_index=True)
    result = {}
    for class_id, first, end in zip(found.tolist(), firsts, [*firsts[1:], len(classes)]):
        rows = slice(first, min(first + count, end))
        result[class_id] = list(zip(numbers[rows].tolist(), segments[rows].tolist(), values[rows].tolist()))
    return result
