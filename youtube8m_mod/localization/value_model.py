"""Candidates of a video and the value of its segments (section 3.1)."""

from collections.abc import Sequence

import numpy as np


def top_classes(probabilities: np.ndarray, k: int) -> np.ndarray:
    """The candidates: each video's (or segment's) k best classes.

    Args:
        probabilities: float (B, C).

    Returns:
        int (B, min(k, C)), best first; equal probabilities by class, ascending.
    """
    probabilities = np.asarray(probabilities)
    k = min(k, probabilities.shape[-1])
    if k == probabilities.shape[-1]:
        return np.argsort(-probabilities, axis=-1, kind="stable")
    # A partition orders equal values anyhow, so all that equal the k-th are looked at again.
    kth = np.partition(probabilities, -k, axis=-1)[:, -k]
    result = np.empty((len(probabilities), k), np.intp)
    for row, (values, worst) in enumerate(zip(probabilities, kth)):
        classes = np.flatnonzero(values >= worst)
        result[row] = classes[np.argsort(-values[classes], kind="stable")[:k]]
    return result


def candidate_columns(video_probabilities: np.ndarray, class_ids: Sequence[int] | np.ndarray, k: int) -> np.ndarray:
    """The places in `class_ids` of those classes that are among a video's `k` best.

    Args:
        video_probabilities: float (V,), of the whole vocabulary.
        class_ids: int (C,).

    Returns:
        int (m,), ascending.
    """
    return np.flatnonzero(np.isin(class_ids, top_classes(video_probabilities[np.newaxis], k)[0]))


def value_model(
    video_probabilities: np.ndarray,
    segment_probabilities: np.ndarray,
    video_exponent: float = 0.05,
    segment_exponent: float = 0.95,
) -> np.ndarray:
    """Eq. (1): `P = P_vid^a * P_seg^b`, in float64.

    Args:
        video_probabilities: (m,), of the video's candidates.
        segment_probabilities: (n, m), of its segments for the same classes; below 0 where there is none.

    Returns:
        float64 (n, m), -1 where there is no probability.
    """
    video = np.asarray(video_probabilities, np.float64) ** video_exponent
    segment = np.asarray(segment_probabilities, np.float64)
    return np.where(segment < 0, -1, video * np.abs(segment) ** segment_exponent)


def first_segments(
    video_probabilities: np.ndarray, num_segments: np.ndarray, video_ids: np.ndarray, limit: int
) -> np.ndarray:
    """How many segments each video has among the first `limit` of every class's video-level ranking.

    The original's value model can look at those only (its `rerank`). Order as in the ranking: higher probability first,
    equal ones by video id, then start time.

    Args:
        video_probabilities: (V, C); a value below 0 says that the video is no candidate.
        num_segments: int (V,).
        video_ids: bytes (V,).

    Returns:
        int (V, C), from 0 to `num_segments`.
    """
    video_probabilities = np.asarray(video_probabilities)
    by_id = np.argsort(video_ids, kind="stable")
    result = np.zeros(video_probabilities.shape, np.int64)
    for c, column in enumerate(video_probabilities.T):
        order = by_id[np.argsort(-column[by_id], kind="stable")]
        counts = np.where(column[order] >= 0, np.asarray(num_segments)[order], 0)
        before = np.cumsum(counts) - counts
        result[order, c] = np.clip(limit - before, 0, counts)
    return result
