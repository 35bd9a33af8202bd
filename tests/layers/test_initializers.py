"""The initial weights of the original's layers."""

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


def test_a_seed_gives_the_same_numbers():
    """However many threads draw them; another seed, or another part of a large weight, gives others."""
    large = (3000, 1024)
    values = _draw(large)
    assert np.array_equal(values, _draw(large))
    assert not np.array_equal(values, _draw(large, seed=2))
    assert np.unique(values[:64]).size > 0.95 * values[:64].size
    parts = np.split(values.reshape(-1)[: 2 << 20], 2)
    assert abs(np.corrcoef(parts)[0, 1]) < 0.01
    keras.utils.set_random_seed(1)
    first, second = slim_variance_scaling(), slim_variance_scaling()
    assert np.array_equal(first((4, 4)), first((4, 4))) and not np.array_equal(first((4, 4)), second((4, 4)))
    assert slim_variance_scaling().clone()((4, 4)).shape == (4, 4)
