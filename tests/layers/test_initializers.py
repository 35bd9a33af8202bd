"""The initial weights of the original's layers."""

import statistics

import keras
import numpy as np
import pytest

from youtube8m_mod.layers.initializers import slim_variance_scaling


def _draw(shape, seed=1):
    keras.utils.set_random_seed(seed)
    return keras.ops.convert_to_numpy(slim_variance_scaling()(shape))


@pytest.mark.parametrize("shape", [(300, 400), (800, 200), (1000, 1100), (2, 400, 150)])
def test_slim_variance_scaling(shape):
    """A normal of stddev sqrt(1.3 * 2 / fan_in), truncated at two of them, which leaves 0.8796 of it."""
    values = _draw(shape)
    stddev = np.sqrt(1.3 * 2 / np.prod(shape[:-1]))
    assert values.shape == shape and values.dtype == np.float32
    assert 1.98 * stddev < np.abs(values).max() <= 2 * stddev * (1 + 1e-6)
    assert values.std() == pytest.approx(0.8796 * stddev, rel=0.01)
    assert abs(values.mean()) < 0.02 * stddev
    assert np.mean(np.abs(values) < stddev) == pytest.approx(0.7152, abs=0.01)  # 0.6827 of the 0.9545 within two.


def test_values_are_as_likely_as_each_other():
    """65,536 values, the medians of equal parts of the distribution: their quantiles are the normal's."""
    values = _draw((1 << 11, 1 << 11))  # 64 of each on average.
    levels, counts = np.unique(values, return_counts=True)
    assert levels.size == 1 << 16 and counts.std() == pytest.approx(8, rel=0.02)  # As Poisson's.
    normal = statistics.NormalDist(sigma=np.sqrt(1.3 * 2 / (1 << 11)))
    shares = (np.arange(levels.size) + 0.5) / levels.size
    expected = (np.vectorize(normal.cdf)(levels) - normal.cdf(-2 * normal.stdev)) / 0.9544997361036416
    np.testing.assert_allclose(expected, shares, atol=1e-6)


def test_a_seed_gives_the_same_numbers():
    """However many threads draw them; another seed, or another part of a large weight, gives others."""
    large = (3000, 1024)
    values = _draw(large)
    assert np.array_equal(values, _draw(large))
    assert not np.array_equal(values, _draw(large, seed=2))
    numbers = values.reshape(-1)
    for distance in (1, 4, 1 << 15, 1 << 20):  # 4 are of a word of 64 bits, 1 << 20 of a stream.
        assert abs(np.corrcoef(numbers[:-distance], numbers[distance:])[0, 1]) < 0.01, distance
    keras.utils.set_random_seed(1)
    first, second = slim_variance_scaling(), slim_variance_scaling()
    assert np.array_equal(first((4, 4)), first((4, 4))) and not np.array_equal(first((4, 4)), second((4, 4)))
    assert slim_variance_scaling().clone()((4, 4)).shape == (4, 4)
