"""The classifiers as Keras layers, and their formulas."""

import numpy as np
import pytest
from keras import ops

from tests.layers.layer_checks import check_layer, functional, save_and_load
from youtube8m_mod.layers import LogisticClassifier, MixtureOfExpertsClassifier

H, C, E = 6, 5, 2
INPUTS = np.random.default_rng(0).normal(size=(4, H)).astype(np.float32)
CLASSIFIERS = {
    LogisticClassifier: ({"num_classes": C}, H * C + C),
    MixtureOfExpertsClassifier: ({"num_classes": C, "experts": E}, H * C * (E + 1) + H * C * E + C * E),
}


@pytest.mark.parametrize("cls", CLASSIFIERS)
def test_layer(cls, bfloat16):
    config, parameters = CLASSIFIERS[cls]
    check_layer(cls, config, [INPUTS], ((None, C), (None, C)), parameters, dtype="float32")


@pytest.mark.parametrize("cls", CLASSIFIERS)
def test_saved(cls, tmp_path):
    save_and_load(functional(cls(**CLASSIFIERS[cls][0]), [INPUTS]), tmp_path, [INPUTS])


@pytest.mark.parametrize("cls", CLASSIFIERS)
def test_logits_are_those_of_the_probabilities(cls):
    logits, probabilities = map(ops.convert_to_numpy, cls(**CLASSIFIERS[cls][0])(INPUTS))
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-logits)), rtol=1e-4)


def test_logistic_formula():
    layer = LogisticClassifier(2)
    layer.build((None, 3))
    layer.kernel.assign([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    layer.bias.assign([0.5, 0.0])
    logits, probabilities = map(ops.convert_to_numpy, layer(np.array([[1.0, -1.0, 7.0]], np.float32)))
    np.testing.assert_allclose(logits, [[1.5, -2.0]], rtol=1e-6)
    np.testing.assert_allclose(probabilities, [[0.8175745, 0.1192029]], rtol=1e-5)
    assert layer.regularized_weights == [layer.kernel, layer.bias]


def test_mixture_formula():
    """One class, one expert that says yes: of its gate and the dummy's, ln 3 against 0, it gets 3/4."""
    layer = MixtureOfExpertsClassifier(num_classes=1, experts=1)
    layer.build((None, 1))
    layer.gate_kernel.assign([[np.log(3), 0.0]])
    layer.expert_kernel.assign([[0.0]])
    layer.expert_bias.assign([30.0])
    _, probabilities = layer(np.ones((1, 1), np.float32))
    np.testing.assert_allclose(ops.convert_to_numpy(probabilities), [[0.75]], rtol=1e-5)


def test_certain_experts_give_finite_logits():
    layer = MixtureOfExpertsClassifier(num_classes=1, experts=1)
    layer.build((None, 1))
    for gate, bias in ((-100.0, 0.0), (100.0, 100.0)):
        layer.gate_kernel.assign([[gate, 0.0]])
        layer.expert_bias.assign([bias])
        logits, _ = layer(np.ones((1, 1), np.float32))
        assert np.isfinite(ops.convert_to_numpy(logits)).all()


def test_errors():
    with pytest.raises(ValueError, match="Expected num_classes to be a positive integer, got 0"):
        LogisticClassifier(0)
    with pytest.raises(ValueError, match="Expected experts to be a positive integer, got True"):
        MixtureOfExpertsClassifier(3, True)
    with pytest.raises(ValueError, match="expected ndim=2, found ndim=3"):
        LogisticClassifier(3)(INPUTS[:, None])
