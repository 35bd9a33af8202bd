"""The losses, with numbers that one computes by hand."""

import keras
import numpy as np
import pytest
from keras import ops

from tests import backend
from youtube8m_mod import losses
from youtube8m_mod.distillation import softmax_divergence


def distillation(teacher, student, temperature):
    """The mean over the batch, as a loss term is."""
    return ops.mean(softmax_divergence(teacher, student, temperature))


def test_binary_cross_entropy():
    """-ln 0.5 - ln(1 - 0.25) = 0.6931 + 0.2877 and -ln 0.2 - ln(1 - 0.9) = 1.6094 + 2.3026, up to the 1e-5 inside."""
    labels, probabilities = np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[0.5, 0.25], [0.2, 0.9]])
    loss = losses.binary_cross_entropy(labels, probabilities)
    assert float(loss) == pytest.approx((0.980829 + 3.912023) / 2, abs=1e-4)


def test_only_rated_classes_count():
    labels, probabilities = np.array([[1.0, 0.0, 1.0]]), np.array([[0.5, 0.25, 1e-3]])
    rated = np.array([[1.0, 1.0, 0.0]])
    assert float(losses.binary_cross_entropy(labels, probabilities, rated)) == pytest.approx(0.980829, abs=1e-4)
    assert float(losses.binary_cross_entropy(labels, probabilities, 0 * rated)) == 0


@pytest.mark.parametrize("label, probability", [(1.0, 0.0), (0.0, 1.0)])
def test_a_certain_error_costs_a_finite_loss(label, probability):
    """-ln(0 + 1e-5) = 11.513."""
    loss = losses.binary_cross_entropy(np.array([[label]]), np.array([[probability]]))
    assert float(loss) == pytest.approx(11.5129, abs=2e-2)


def test_distillation():
    """Teacher (3/4, 1/4), student (1/2, 1/2): 3/4 ln(3/2) + 1/4 ln(1/2) = 0.130812."""
    teacher, student = np.array([[np.log(3), 0.0]]), np.array([[0.0, 0.0]])
    assert float(distillation(teacher, student, 1.0)) == pytest.approx(0.130812, abs=1e-5)
    assert float(distillation(student, teacher, 1.0)) == pytest.approx(0.143841, abs=1e-5)
    assert float(distillation(2 * teacher, 2 * student, 2.0)) == pytest.approx(0.130812, abs=1e-5)


def test_a_perfect_student_loses_nothing():
    logits = np.array([[3.0, -1.0, 0.5]])
    assert float(distillation(logits, logits + 7, 1.0)) == pytest.approx(0, abs=1e-6)


def test_distillation_is_the_mean_over_the_batch():
    teacher, student = np.array([[np.log(3), 0.0], [0.0, 0.0]]), np.zeros((2, 2))
    each = softmax_divergence(teacher, student, 1.0)
    np.testing.assert_allclose(ops.convert_to_numpy(each), [0.130812, 0], atol=1e-5)
    assert float(distillation(teacher, student, 1.0)) == pytest.approx(0.065406, abs=1e-5)


def test_at_a_high_temperature_it_is_half_the_variance_of_the_difference():
    """T^2 KL goes to var(z_teacher - z_student) / 2 over the classes."""
    random = np.random.default_rng(0)
    teacher, student = random.normal(size=(2, 1, 50))
    loss = float(distillation(teacher, student, 50.0)) * 50**2
    assert loss == pytest.approx(np.var(teacher - student) / 2, rel=0.02)


def test_the_gradient_reaches_the_teacher():
    """As in the original; of the student it is (Soft(student) - Soft(teacher)) / T."""
    teacher, student = (keras.Variable([[value, 0.0]], dtype="float32") for value in (np.log(3), 0.0))
    gradients = backend.gradients(lambda: distillation(teacher, student, 1.0), [teacher, student])
    of_teacher, of_student = (ops.convert_to_numpy(gradient) for gradient in gradients)
    np.testing.assert_allclose(of_student, [[-0.25, 0.25]], atol=1e-5)
    # p (ln(p/q) - KL), p = (3/4, 1/4), q = (1/2, 1/2)
    np.testing.assert_allclose(of_teacher, [[0.205990, -0.205990]], atol=1e-4)


def test_l2_penalty():
    """0.1 / 2 (1 + 4 + 9) = 0.7; its gradient is 0.1 w."""
    weights = [keras.Variable([1.0, -2.0]), keras.Variable([[3.0]])]
    assert float(losses.l2_penalty(weights, 0.1)) == pytest.approx(0.7)
    gradients = backend.gradients(lambda: losses.l2_penalty(weights, 0.1), weights)
    for gradient, weight in zip(gradients, weights):
        np.testing.assert_allclose(ops.convert_to_numpy(gradient), 0.1 * ops.convert_to_numpy(weight), rtol=1e-6)
