"""GAP, Hit@1 and PERR of video predictions, as the starter code defines them."""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from youtube8m_mod.errors import UserError
from youtube8m_mod.metrics.average_precision import GAP_TOP_K, global_average_precision


@dataclasses.dataclass(frozen=True)
class VideoScores:
    """Scores of video predictions, and what was scored."""

    gap: float
    hit_at_1: float
    perr: float
    videos: int
    videos_without_predictions: int  # Scored, with no prediction at all.
    videos_without_labels: int  # Scored by GAP; no hit is possible.
    unknown_videos: int  # Predicted, but not in the ground truth; left out.


def video_scores(
    labels: Mapping[str, np.ndarray], predictions: Iterable[tuple[str, np.ndarray, np.ndarray]]
) -> VideoScores:
    """Scores predictions against the labels of all videos of the ground truth.

    Args:
        labels: {video id: classes, int (n,), each once}.
        predictions: iterable of (video id, classes int (m,), probabilities (m,)).

    Returns:
        `VideoScores`. GAP: average precision over the 20 best predictions of every video, taken together; the
        denominator is the number of all labels. Hit@1: share of videos whose best class is a label. PERR: mean over
        videos of the precision among as many best classes as the video has labels; a class of probability 0 is no hit,
        and a video without labels gives 0.
    """
    probabilities, correct = [], []
    hits = precision = 0.0
    predicted, unknown = set(), 0
    for video_id, classes, values in predictions:
        if video_id not in labels:
            unknown += 1
            continue
        if video_id in predicted:
            raise UserError(f'The predictions list the video "{video_id}" twice.')
        predicted.add(video_id)
        order = np.argsort(-values, kind="stable")
        truth = np.isin(classes[order], labels[video_id])
        probabilities.append(values[order[:GAP_TOP_K]])
        correct.append(truth[:GAP_TOP_K])
        count = len(labels[video_id])
        hits += bool(truth[:1].any())
        if count:
            precision += np.count_nonzero(truth[:count] & (values[order[:count]] > 0)) / count
    unlabelled = sum(not len(classes) for classes in labels.values())
    total = sum(map(len, labels.values()))
    return VideoScores(
        gap=global_average_precision(np.concatenate(probabilities or [[]]), np.concatenate(correct or [[]]), total),
        hit_at_1=hits / max(len(labels), 1),
        perr=precision / max(len(labels), 1),
        videos=len(labels),
        videos_without_predictions=len(labels) - len(predicted),
        videos_without_labels=unlabelled,
        unknown_videos=unknown,
    )
