"""What a node teaches its children: numbers that one computes by hand, and what each option of a recipe changes."""

import dataclasses
import math

import keras
import numpy as np
import pytest
from keras import ops

from youtube8m_mod import distillation, losses
from youtube8m_mod.config import PHASES, Recipe, phase_config
from youtube8m_mod.errors import UserError
from youtube8m_mod.tree import NodeOutput

RANDOM = np.random.default_rng(0)
TEACHER, STUDENT = (RANDOM.normal(size=(4, 6)).astype(np.float32) for _ in range(2))


def array(values):
    return ops.convert_to_numpy(values)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_softmax_by_hand():
    """Teacher (2/3, 1/3), student (1/3, 2/3): KL = 2/3 ln 2 - 1/3 ln 2."""
    teacher, student = np.log([[2.0, 1.0]]).astype("float32"), np.log([[1.0, 2.0]]).astype("float32")
    assert array(distillation.softmax_divergence(teacher, student, 1.0)) == pytest.approx(math.log(2) / 3, rel=1e-5)
    # T = 2 takes square roots of the odds.
    p = math.sqrt(2) / (1 + math.sqrt(2))
    expected = (2 * p - 1) * math.log(2) / 2
    assert array(distillation.softmax_divergence(teacher, student, 2.0)) == pytest.approx(expected, rel=1e-5)


def test_binary_by_hand():
    """Bernoulli 1/2 against 1/4: ln(2 / sqrt(3)); a class where both agree adds nothing."""
    teacher = np.array([[0.0, 3.0]], np.float32)
    student = np.array([[-math.log(3), 3.0]], np.float32)
    expected = math.log(2 / math.sqrt(3))
    assert array(distillation.binary_divergence(teacher, student, 1.0)) == pytest.approx(expected, rel=1e-6)
    assert array(distillation.binary_divergence(2 * teacher, 2 * student, 2.0)) == pytest.approx(expected, rel=1e-6)


def test_binary_is_the_sum_of_divergences_of_probabilities():
    p, q = sigmoid(TEACHER.astype(np.float64) / 3), sigmoid(STUDENT.astype(np.float64) / 3)
    expected = np.sum(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)), axis=1)
    np.testing.assert_allclose(array(distillation.binary_divergence(TEACHER, STUDENT, 3.0)), expected, rtol=1e-4)


def test_binary_stays_finite_at_large_logits():
    teacher, student = np.array([[90.0, -90.0]], np.float32), np.array([[-90.0, 90.0]], np.float32)
    assert array(distillation.binary_divergence(teacher, student, 1.0)) == pytest.approx(180, rel=1e-6)


def test_relation_is_one_minus_the_correlations():
    p, q = sigmoid(TEACHER), sigmoid(STUDENT)
    rows = np.array([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(p, q)])
    columns = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, q.T)])
    np.testing.assert_allclose(
        array(distillation.relation_divergence(TEACHER, STUDENT, 1.0)), rows + columns, rtol=1e-3
    )
    # Shifted and scaled probabilities have the same relations.
    same = np.log(0.5 * p / (1 - 0.5 * p)).astype(np.float32)
    np.testing.assert_allclose(array(distillation.relation_divergence(TEACHER, same, 1.0)), 0, atol=1e-4)


@pytest.mark.parametrize("kind", distillation.KINDS)
def test_the_subset_is_all_that_counts(kind):
    """Over the classes 1, 3 and 4 the divergence is that of a vocabulary of these three."""
    divergence = distillation._DIVERGENCES[kind]
    mask = array(distillation.chosen_classes("1,3,4", ops.convert_to_tensor(TEACHER)))
    np.testing.assert_array_equal(mask, [[0, 1, 0, 1, 1, 0]])
    whole = array(divergence(TEACHER, STUDENT, 2.0, mask))
    np.testing.assert_allclose(whole, array(divergence(TEACHER[:, [1, 3, 4]], STUDENT[:, [1, 3, 4]], 2.0)), rtol=2e-5)


def test_chosen_classes():
    rated = np.zeros((4, 6), np.float32)
    rated[0, 2] = 1
    teacher = ops.convert_to_tensor(TEACHER)
    assert distillation.chosen_classes("all", teacher) is None
    np.testing.assert_array_equal(array(distillation.chosen_classes("rated", teacher, rated)), rated)
    np.testing.assert_array_equal(array(distillation.chosen_classes("unrated", teacher, rated)), 1 - rated)
    best = array(distillation.chosen_classes("top:2", teacher))
    for row, logits in zip(best, TEACHER):
        assert set(np.flatnonzero(row)) == set(np.argsort(logits)[-2:])
    assert array(distillation.chosen_classes("top:99", teacher)).all()


def test_standardized_logits_forget_shift_and_scale():
    np.testing.assert_allclose(
        array(distillation.standardized(3 * TEACHER + 7)), array(distillation.standardized(TEACHER)), atol=1e-5
    )
    assert array(distillation.standardized(TEACHER)).std(axis=1) == pytest.approx(1, rel=1e-5)


def test_the_mixture_without_a_child_is_that_of_the_others():
    logits = RANDOM.normal(size=(3, 4, 6)).astype(np.float32)
    weights = RANDOM.dirichlet([1, 1, 1], size=4).astype(np.float32)
    mixed = np.einsum("be,ebc->bc", weights, logits)
    others = (weights[:, 0, None] * logits[0] + weights[:, 2, None] * logits[2]) / (1 - weights[:, 1, None])
    found = array(distillation.without_child(mixed, logits[1], ops.convert_to_tensor(weights), 1))
    np.testing.assert_allclose(found, others, rtol=1e-3, atol=1e-4)


def test_schedule():
    assert distillation.schedule(5, Recipe()) is None
    ramp = Recipe(distillation_ramp_steps=10, distillation_last_step=30)
    expected = {0: math.exp(-5), 5: math.exp(-1.25), 10: 1, 29: 1, 30: 0, 99: 0}
    for step, factor in expected.items():
        assert float(distillation.schedule(step, ramp)) == pytest.approx(factor)


def tree():
    """A root over two mixtures of two leaves, of random logits."""

    def node(children):
        logits = ops.convert_to_tensor(RANDOM.normal(size=(4, 6)).astype(np.float32))
        weights = ops.convert_to_tensor(np.full((4, 2), 0.5, np.float32))
        return NodeOutput(logits, ops.sigmoid(logits), weights if children else (), tuple(children))

    return node([node([node([]), node([])]), node([node([]), node([])])])


def test_temperature_and_weight_of_each_level():
    """Below the root T = 2 and lambda = 3, at the root T = 5 and lambda = 7."""
    output, labels = tree(), np.zeros((4, 6), np.float32)
    recipe = Recipe(temperature=2, distillation_weight=3, root_temperature=5, root_distillation_weight=7)
    terms = losses.tree_losses(output, labels, None, recipe)
    bce = sum(float(value) for name, value in terms.items() if name.startswith("bce"))
    expected = bce
    for index, mixture in enumerate(output.children):
        own = array(distillation.softmax_divergence(output.logits, mixture.logits, 5.0)).mean()
        assert float(terms[f"kl/{index}"]) == pytest.approx(own, rel=1e-5)
        expected += 7 * own
        for child, leaf in enumerate(mixture.children):
            own = array(distillation.softmax_divergence(mixture.logits, leaf.logits, 2.0)).mean()
            assert float(terms[f"kl/{index}/{child}"]) == pytest.approx(own, rel=1e-5)
            expected += 3 * own
    assert float(losses.total_loss(terms, recipe)) == pytest.approx(expected, rel=1e-5)
    assert float(losses.total_loss(terms, recipe, 0.0)) == pytest.approx(bce, rel=1e-5)


@pytest.mark.parametrize(
    "changes, weights",
    [
        (dict(temperature=3), (9, 9)),
        (dict(temperature=3, root_temperature=2), (4, 9)),
        (dict(temperature=3, distillation_weight=1, root_temperature=2), (1, 1)),
        (dict(temperature=3, root_distillation_weight=5), (5, 9)),
    ],
)
def test_weights_are_the_square_of_their_temperature_unless_given(changes, weights):
    recipe = Recipe(**changes)
    assert tuple(recipe.distillation_weight_at(level) for level in (1, 2)) == weights


def test_a_level_without_distillation_has_no_terms():
    names = losses.tree_losses(tree(), np.zeros((4, 6), np.float32), None, Recipe(temperature=0, root_temperature=1))
    assert sorted(name for name in names if name.startswith("kl")) == ["kl/0", "kl/1"]
    recipe = Recipe(temperature=0, root_temperature=1)
    assert [name for name in losses.term_names((2, 2), recipe) if name.startswith("kl")] == ["kl/0", "kl/1"]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="gradients by TensorFlow's tape")
@pytest.mark.parametrize("kind", distillation.KINDS)
@pytest.mark.parametrize("flows", [True, False])
def test_gradient_of_the_teacher(kind, flows):
    import tensorflow as tf

    recipe = Recipe(distillation=kind, temperature=1.5, teacher_gradient=flows)
    teacher, student = tf.constant(TEACHER), tf.constant(STUDENT)
    with tf.GradientTape() as tape:
        tape.watch([teacher, student])
        loss = distillation.distillation_per_example(teacher, student, None, 0, recipe, 1)
    own, below = tape.gradient(loss, [teacher, student], unconnected_gradients="zero")
    assert bool(tf.reduce_any(own != 0)) is flows and bool(tf.reduce_any(below != 0))


def test_the_default_is_the_papers():
    """Eq. 6 and 7, whatever is offered beside them."""
    defaults = {field.name: field.default for field in dataclasses.fields(Recipe)}
    paper = dict(
        distillation="softmax",
        teacher_gradient=True,
        teacher_without_child=False,
        averaged_teacher=False,
        standardized_logits=False,
        distilled_classes="all",
        distillation_ramp_steps=0,
        distillation_last_step=None,
        root_temperature=None,
        root_distillation_weight=None,
    )
    assert {name: defaults[name] for name in paper} == paper
    for name, temperature in (("pretrain", 1), ("finetune", 20)):
        assert {field: getattr(PHASES[name], field) for field in paper} == paper
        assert PHASES[name].temperature == temperature


@pytest.mark.parametrize(
    "change",
    [
        "distillation=hinton",
        "distilled_classes=top:0",
        "distilled_classes=best",
        "distilled_classes=",
        "root_temperature=-1",
        "distillation_ramp_steps=-1",
        "distillation_last_step=-2",
        "root_distillation_weight=nan",
    ],
)
def test_recipes_that_cannot_be(change):
    with pytest.raises(UserError, match=change.partition("=")[0]):
        phase_config("finetune", [change])


def test_trained_models_teach_by_hand():
    """Teacher (3/4, 1/4) at T = 2, student (1/2, 1/2): KL = 3/4 ln(3/2) + 1/4 ln(1/2), for every node of a tree."""
    teacher = np.array([[2 * math.log(3), 0.0], [0.0, 0.0]], np.float32)
    kl = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2  # The second example agrees.
    recipe = Recipe(teacher_weight=10.0, teacher_temperature=2.0, temperature=0)
    nothing = np.zeros((2, 2), np.float32)
    leaf = NodeOutput(nothing, nothing + 0.5)
    output = NodeOutput(nothing, nothing + 0.5, nothing + 0.5, (leaf, leaf))
    terms = losses.teacher_losses(output, teacher, None, recipe)
    assert sorted(terms) == ["teacher", "teacher/0", "teacher/1"]
    assert [float(value) for value in terms.values()] == pytest.approx([kl] * 3, rel=1e-4)
    assert float(losses.total_loss(terms, recipe)) == pytest.approx(30 * kl, rel=1e-4)
    assert float(losses.total_loss(terms, recipe, 0.5)) == pytest.approx(15 * kl, rel=1e-4)
    assert list(losses.teacher_losses(output, teacher, None, recipe, below=False)) == ["teacher"]
    assert float(losses.level_sums(terms, recipe)["teacher_level_1"]) == pytest.approx(2 * kl, rel=1e-4)


def test_trained_models_teach_as_the_recipe_says():
    weights = np.array([[1, 0, 1, 0, 0, 0]] * 4, np.float32)
    binary = Recipe(teacher_weight=1.0, teacher_temperature=3.0, distillation="binary", distilled_classes="rated")
    expected = distillation.binary_divergence(TEACHER[:, [0, 2]], STUDENT[:, [0, 2]], 3.0)
    found = distillation.teaching_per_example(TEACHER, STUDENT, binary, weights)
    np.testing.assert_allclose(array(found), array(expected), rtol=1e-5)
    alike = Recipe(teacher_weight=1.0, standardized_logits=True)
    np.testing.assert_allclose(array(distillation.teaching_per_example(5 * STUDENT + 1, STUDENT, alike)), 0, atol=1e-5)


def test_terms_of_trained_models_are_named_where_they_teach():
    names = [name for name in losses.term_names((2,), Recipe(teacher_weight=0.5)) if name.startswith("teacher")]
    assert names == ["teacher", "teacher/0", "teacher/1"]
    assert not any(name.startswith("teacher") for name in losses.term_names((2,), Recipe()))


@pytest.mark.parametrize(
    "field", [{"teacher_weight": -1.0}, {"teacher_temperature": 0.0}, {"teacher_weight": math.inf}]
)
def test_bad_weight_or_temperature_of_a_teacher(field):
    with pytest.raises(UserError, match=f"{next(iter(field))} must be finite and"):
        Recipe(**field)
