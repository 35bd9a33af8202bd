"""Neighbouring segments joined to spans."""

import numpy as np
import pytest

from youtube8m_mod.localization.ranked_lists import LocalizationConfig
from youtube8m_mod.localization.timelines import Span, join_segments, segment_values

NAN = np.nan


def test_neighbours_are_joined():
    values = np.array([[0.6, 0.1], [0.8, 0.5], [0.2, 0.9], [0.7, NAN]])
    assert join_segments([7, 3], values, 18, 0.5) == [
        Span(0, 10, 7, pytest.approx(0.7)),
        Span(5, 15, 3, pytest.approx(0.7)),
        Span(15, 18, 7, pytest.approx(0.7)),  # To the end of the video.
    ]


@pytest.mark.parametrize(
    "values, spans",
    [
        ([], []),
        ([0.4], []),
        ([0.5], [(0, 5)]),  # The threshold itself counts.
        ([0.9, NAN, 0.9], [(0, 5), (10, 15)]),
        ([0.1, 0.9, 0.9, 0.1, 0.9], [(5, 15), (20, 25)]),
    ],
)
def test_spans_of_one_class(values, spans):
    found = join_segments([1], np.reshape(np.array(values, float), (-1, 1)), 5 * len(values), 0.5)
    assert [(span.start, span.end) for span in found] == spans


def test_against_a_plain_definition():
    random = np.random.default_rng(0)
    for _ in range(50):
        values = random.choice([0.1, 0.4, 0.6, 0.9, NAN], (random.integers(0, 9), 3))
        expected = []
        for column in range(3):
            run = []
            for row in range(len(values) + 1):
                if row < len(values) and values[row, column] >= 0.5:
                    run.append(row)
                elif run:
                    mean = np.mean([values[r, column] for r in run])
                    expected.append(Span(5 * run[0], min(5 * run[-1] + 5, 5 * len(values) - 2), column, mean))
                    run = []
        found = join_segments([0, 1, 2], values, 5 * len(values) - 2, 0.5)
        assert sorted(found) == [Span(*span[:3], pytest.approx(span.probability)) for span in sorted(expected)]


def test_values_of_candidates_and_of_segments():
    video, segments = np.array([0.9, 0.1, 0.5, 0.7]), np.array([[0.5, 0.2], [0.1, 0.8]])
    classes, values = segment_values(video, segments, [1, 2], LocalizationConfig(top_k=3))
    assert classes.tolist() == [2]  # 0 and 3 are candidates too, but no segment classes.
    np.testing.assert_allclose(values[:, 0], [0.5**0.05 * 0.2**0.95, 0.5**0.05 * 0.8**0.95])
    classes, values = segment_values(None, segments, [1, 2], LocalizationConfig(top_k=1, candidates=False))
    assert classes.tolist() == [1, 2]
    np.testing.assert_array_equal(values, [[0.5, NAN], [NAN, 0.8]])
