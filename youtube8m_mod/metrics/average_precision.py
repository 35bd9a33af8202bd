"""Global average precision on arrays."""

import numpy as np

GAP_TOP_K = 20  # Predictions of a video that count for the GAP.


def global_average_precision(probabilities: np.ndarray, correct: np.ndarray, num_labels: int) -> float:
    """`sum_i P(i) rel(i) / num_labels` over predictions in order of probability.

    Args:
        probabilities: (n,); correct: bool (n,), of all videos; equal probabilities keep their order.
        num_labels: the number of labels of all videos.
    """
    order = np.argsort(-np.asarray(probabilities), kind="stable")
    return ranked_average_precision(np.asarray(correct, bool)[order], num_labels)


def ranked_average_precision(relevance: np.ndarray, num_labels: int) -> float:
    """The same of predictions that are ranked already; relevance: bool (n,), the best prediction first."""
    ranks = np.flatnonzero(relevance) + 1
    return float(np.sum(np.arange(1, len(ranks) + 1) / ranks) / max(num_labels, 1))
