"""The ratings in a record's context, in seconds and in pieces of 5 s: what parsing.py does in the graph."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from youtube8m_mod.config import SEGMENT_FRAMES

if TYPE_CHECKING:
    import tensorflow as tf

    from youtube8m_mod.data.records import SegmentKeys

MOST_PIECES = 61  # Of a rating: more do not fit into the seconds that are read.
_MOST_PIECES_OF_TRUTH = 10_000  # 14 hours.
GRADED_POSITIVE = 0.5  # A confidence from here on counts as a positive rating.


def ratings(context: "Mapping[str, tf.train.Feature]", keys: "SegmentKeys") -> tuple[list[int], list[int], list[float]]:
    """(starts in seconds, classes, scores 0 or 1 where they are graded) of a record, each rating once for each 5 s.

    Args:
        context: {key: `tf.train.Feature`}.
        keys: `records.SegmentKeys`.

    Raises:
        ValueError: the lists are not equally long.
    """
    starts = context[keys.starts].int64_list.value
    classes = context[keys.labels].int64_list.value
    scores = context[keys.scores].float_list.value if keys.scores else [1.0] * len(starts)
    ends = context[keys.ends].int64_list.value if keys.ends else None
    if not len(starts) == len(classes) == len(scores):
        raise ValueError(
            "its segment times, labels and scores must be equally many, "
            f"got {len(starts)}, {len(classes)} and {len(scores)}"
        )
    if ends is not None and len(ends) != len(starts):
        raise ValueError(f"its segments must have as many ends as starts, got {len(ends)} and {len(starts)}")
    if keys.graded:
        scores = [float(score >= GRADED_POSITIVE) for score in scores]
    result = ([], [], [])
    for i, start in enumerate(starts):
        for piece in range(pieces(start, ends[i], keys.ticks, _MOST_PIECES_OF_TRUTH) if ends else 1):
            values = ((start + keys.ticks // 2) // keys.ticks + SEGMENT_FRAMES * piece, classes[i], scores[i])
            for values_of_kind, value in zip(result, values):
                values_of_kind.append(value)
    return result


def pieces(start: int, end: int, ticks: int, most: int = MOST_PIECES) -> int:
    """How many pieces of 5 s a rating from `start` to `end` has; the last counts where half of it is rated."""
    length = SEGMENT_FRAMES * ticks
    return min(max(1, (end - start + length // 2) // length), most)
