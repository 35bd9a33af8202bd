"""From the values of segments to spans of time: neighbouring segments of a class are joined."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.localization.ranked_lists import LocalizationConfig
from youtube8m_mod.localization.value_model import candidate_columns, top_classes, value_model


class Span(NamedTuple):
    """A class in a video from `start` to `end`, in seconds; `probability` is the mean over its segments."""

    start: int
    end: int
    class_id: int
    probability: float


def segment_values(
    video_probabilities: np.ndarray | None,
    segment_probabilities: np.ndarray,
    class_ids: Sequence[int] | np.ndarray,
    config: LocalizationConfig,
) -> tuple[np.ndarray, np.ndarray]:
    """The values by which a video's segments are ranked, partial last segment included.

    Args:
        video_probabilities: float (V,), of the whole vocabulary; None without candidates.
        segment_probabilities: float (n, C), for `class_ids`.
        config: a `LocalizationConfig`: with `candidates` the values are those of Eq. (1) for the `top_k` classes of
            the video; without, the probabilities of each segment's own `top_k` classes.

    Returns:
        classes int (m,) and values float (n, m), NaN where a segment has none.
    """
    class_ids, segments = np.asarray(class_ids), np.asarray(segment_probabilities)
    if config.candidates:
        columns = candidate_columns(video_probabilities, class_ids, config.top_k)
        own = video_probabilities[class_ids[columns]]
        return class_ids[columns], value_model(
            own, segments[:, columns], config.video_exponent, config.segment_exponent
        )
    values = np.full(segments.shape, np.nan)
    if len(segments):
        best = top_classes(segments, config.top_k)
        np.put_along_axis(values, best, np.take_along_axis(segments, best, axis=1), axis=1)
    return class_ids, values


def join_segments(classes: np.ndarray, values: np.ndarray, num_frames: int, threshold: float) -> list[Span]:
    """The spans in which classes reach a threshold, by start, then the most probable first.

    Args:
        classes: int (m,).
        values: float (n, m), of the segments that start at 0, 5, ...; NaN where there is none.
        num_frames: seconds of the video, where its last segment ends.
        threshold: segments of this value at least are joined with their neighbours.

    Returns:
        a list of `Span`.
    """
    reached = np.pad(np.asarray(values) >= threshold, ((1, 1), (0, 0))).astype(np.int8)  # NaN does not.
    change = np.diff(reached, axis=0).T  # (m, n + 1): 1 where a span begins, -1 where it has ended.
    columns, firsts = np.nonzero(change == 1)
    _, ends = np.nonzero(change == -1)
    spans = [
        Span(
            SEGMENT_FRAMES * first,
            min(SEGMENT_FRAMES * end, num_frames),
            int(classes[column]),
            float(np.mean(values[first:end, column])),
        )
        for column, first, end in zip(columns.tolist(), firsts.tolist(), ends.tolist())
    ]
    return sorted(spans, key=lambda span: (span.start, -span.probability, span.class_id))
