"""The initial weights of the original's layers."""

import keras
import numpy as np
import pytest

from tests import backend
from youtube8m_mod.layers.initializers import slim_variance_scaling


@pytest.mark.parametrize("fan_in, fan_out", [(300, 400), (800, 200)])
def test_slim_variance_scaling(fan_in, fan_out):
    """A normal of stddev sqrt(1.3 * 2 / fan_in), truncated at two of them, which leaves 0.8796 of it."""
    keras.utils.set_random_seed(1)
    values = keras.ops.convert_to_numpy(slim_variance_scaling()((fan_in, fan_out)))
    stddev = np.sqrt(1.3 * 2 / fan_in)
    # Under PyTorch, Keras takes the best of four draws: of 200,000 values, one or two may lie beyond.
    assert np.mean(np.abs(values) > 2 * stddev * (1 + 1e-6)) <= (1e-4 if backend.name() == "torch" else 0)
    assert np.abs(values).max() > 1.98 * stddev
    assert values.std() == pytest.approx(0.8796 * stddev, rel=0.01)
    assert abs(values.mean()) < 0.02 * stddev
