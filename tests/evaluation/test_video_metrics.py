import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from youtube8m_mod.evaluation.video_metrics import global_average_precision, video_scores

LABELS = {"a": np.array([1, 2]), "b": np.array([3]), "c": np.array([4]), "d": np.array([], int)}
PREDICTIONS = [
    ("a", np.array([1, 9, 2]), np.array([0.9, 0.8, 0.7])),
    ("b", np.array([9, 3]), np.array([0.5, 0.6])),
    ("d", np.array([9]), np.array([0.1])),
    ("x", np.array([9]), np.array([0.99])),
]


def test_by_hand():
    scores = video_scores(LABELS, PREDICTIONS)
    # In order: a1 yes, a9 no, a2 yes, b3 yes, b9 no, d9 no; 4 labels in all.
    assert scores.gap == pytest.approx((1 + 2 / 3 + 3 / 4) / 4)
    assert scores.hit_at_1 == pytest.approx(2 / 4)
    assert scores.perr == pytest.approx((1 / 2 + 1) / 4)
    assert (scores.videos, scores.videos_without_predictions, scores.videos_without_labels, scores.unknown_videos) == (
        4,
        1,
        1,
        1,
    )


def test_gap_takes_20_predictions_of_a_video():
    values = np.linspace(1, 0.5, 30)
    scores = video_scores({"a": np.array([19, 20])}, [("a", np.arange(30), values)])
    assert scores.gap == pytest.approx(1 / 20 / 2)


def test_nothing_predicted():
    scores = video_scores(LABELS, [])
    assert (scores.gap, scores.hit_at_1, scores.perr, scores.videos_without_predictions) == (0, 0, 0, 4)


def test_a_probability_of_0_is_no_prediction_for_perr():
    scores = video_scores({"a": np.array([5])}, [("a", np.array([5]), np.array([0.0]))])
    assert scores.perr == 0 and scores.hit_at_1 == 1


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, unique_by=lambda pair: pair[0]))
def test_gap_is_the_sum_over_ranks(pairs):
    hits, total = 0, 0.0
    for rank, (_, correct) in enumerate(sorted(pairs, reverse=True), 1):
        hits += correct
        total += correct * hits / rank
    labels = max(hits, 1)
    values, correct = zip(*pairs)
    assert global_average_precision(values, correct, labels) == pytest.approx(total / labels)
