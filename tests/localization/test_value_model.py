import numpy as np
import pytest

from youtube8m_mod.localization.value_model import first_segments, top_classes, value_model


def test_eq_1():
    values = value_model([0.5, 0.25], [[0.81, 0.0], [1.0, 0.16]], 0.5, 0.5)
    np.testing.assert_allclose(values, [[np.sqrt(0.5) * 0.9, 0], [np.sqrt(0.5), 0.5 * 0.4]], rtol=1e-15)


def test_defaults_are_the_papers():
    np.testing.assert_allclose(value_model([0.3], [[0.7]]), [[0.3**0.05 * 0.7**0.95]], rtol=1e-15)


def test_exponents_0_and_1_are_the_segments_own():
    np.testing.assert_array_equal(value_model([0.0, 0.3], [[0.7, -1.0]], 0, 1), [[0.7, -1.0]])


def test_top_classes_break_ties_by_class():
    probabilities = np.array([[0.5, 0.75, 0.5, 0.5, 0.25], [0, 0, 0, 0, 1]], np.float32)
    assert top_classes(probabilities, 3).tolist() == [[1, 0, 2], [4, 0, 1]]
    assert top_classes(probabilities, 9).tolist() == [[1, 0, 2, 3, 4], [4, 0, 1, 2, 3]]


def test_top_classes_of_many_are_those_of_a_sort():
    probabilities = np.random.default_rng(0).random((20, 3862)).astype(np.float32)
    np.testing.assert_array_equal(top_classes(probabilities, 20), np.argsort(-probabilities, axis=1)[:, :20])


@pytest.mark.parametrize(
    "limit, expected",
    [
        (0, [[0, 0], [0, 0], [0, 0]]),
        (3, [[0, 0], [2, 2], [1, 0]]),  # In class 0, b (2 segments) and c (3) tie: b comes first.
        (6, [[1, 0], [2, 2], [3, 0]]),
    ],
)
def test_first_segments(limit, expected):
    probabilities = np.array([[0.25, -1], [0.5, 0.5], [0.5, -1]])
    result = first_segments(probabilities, np.array([4, 2, 3]), np.array([b"a", b"b", b"c"]), limit)
    assert result.tolist() == expected
