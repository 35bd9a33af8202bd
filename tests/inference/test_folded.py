"""The folded model gives the logits of the model that it was folded from."""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.models.trained_models import batch_of, trained_model
from youtube8m_mod.config import MODELS
from youtube8m_mod.distribution.placement import Placement
from youtube8m_mod.errors import UserError
from youtube8m_mod.inference.folded import fold
from youtube8m_mod.models.hidden_vectors import hidden_vectors

EXACT = 1e-5
BFLOAT16 = 0.03  # Of the largest logit: 8 bits of mantissa, through four matmuls.
PRESENT = {False: [9, 4, 1, 7], True: [5, 2, 5, 1]}
TREES = {
    "leaf": {},
    "narrowing leaf": {"expansion": 0.5},
    "rgb alone": {"feature_names": ("rgb",), "feature_sizes": (24,)},
    "mixture": {"branching": (3,)},
    "two levels": {"branching": (2, 3)},
    "three levels": {"branching": (2, 1, 2)},
    "dbof": {"pooling": "dbof"},
    "mixture of dbof": {"pooling": "dbof", "branching": (2,)},
}


@functools.cache
def tree_model(tree, segments=False):
    return trained_model(segments=segments, **TREES[tree])


def _tensors(batch):
    return {key: tf.constant(value) for key, value in batch.items()}


def _differences(model, batch, **options):
    """Largest difference of a logit, and the largest logit."""
    expected = model.tree(_tensors(batch)).logits.numpy()
    return np.abs(fold(model, **options).logits(**_tensors(batch)).numpy() - expected).max(), np.abs(expected).max()


@pytest.mark.parametrize("quantized", (True, False), ids=("bytes", "floats"))
@pytest.mark.parametrize("segments", (False, True), ids=("videos", "segments"))
@pytest.mark.parametrize("tree", TREES)
def test_is_exact(tree, segments, quantized):
    model = tree_model(tree, segments)
    batch = batch_of(model, PRESENT[segments], quantized=quantized)
    difference, largest = _differences(model, batch)
    assert largest > 0.3
    assert difference <= EXACT


@pytest.mark.parametrize("tree", TREES)
def test_hidden_vectors_are_those_of_the_model(tree):
    model = tree_model(tree)
    batch = _tensors(batch_of(model, PRESENT[False]))
    logits, hidden = fold(model).outputs(**batch)
    np.testing.assert_allclose(hidden, hidden_vectors(model, batch), atol=EXACT, rtol=0)
    np.testing.assert_array_equal(logits, fold(model).logits(**batch))
    if model.config.branching:
        leaves = hidden.shape[1] // model.config.branching[0]
        _, part = fold(model, "1").outputs(**batch)
        np.testing.assert_allclose(part, hidden[:, leaves : 2 * leaves], atol=EXACT, rtol=0)


@pytest.mark.parametrize("name", [name for name in MODELS if name.endswith("_tiny")])
def test_tiny_configurations_are_exact(name):
    config = dataclasses.replace(MODELS[name], max_frames=20)
    model = trained_model(config)
    assert _differences(model, batch_of(model, [20, 3]))[0] <= EXACT


@pytest.mark.parametrize("segments", (False, True), ids=("videos", "segments"))
@pytest.mark.parametrize("tree", ("leaf", "two levels", "dbof"))
def test_bfloat16_stays_near(tree, segments, bfloat16):
    model = tree_model(tree, segments)
    difference, largest = _differences(model, batch_of(model, PRESENT[segments]), precision="bfloat16")
    assert 0 < difference <= BFLOAT16 * largest


@pytest.mark.parametrize("tree", ("leaf", "two levels", "mixture of dbof"))
def test_padding_does_not_matter(tree):
    model = tree_model(tree)
    folded = fold(model)
    whole = folded.logits(**batch_of(model, [3, 1, 2])).numpy()
    for frames in (3, 4, 8):
        short = folded.logits(**batch_of(model, [3, 1, 2], frames)).numpy()
        np.testing.assert_allclose(short, whole, atol=EXACT, rtol=0)


def test_partial_segments_attend_to_frames_that_are_not_there():
    model = trained_model(segments=True, branching=(2,))
    folded = fold(model)
    whole = folded.logits(**batch_of(model, [3, 1])).numpy()
    for frames in (3, 4):
        short = folded.logits(**batch_of(model, [3, 1], frames)).numpy()
        np.testing.assert_allclose(short, whole, atol=EXACT, rtol=0)
    masked = batch_of(model, [3, 1]) | {"num_frames": np.array([3, 1], np.int32)}
    assert np.abs(folded.logits(**masked).numpy() - whole).max() > 0.01


def test_frames_beyond_the_longest_are_cut():
    model = trained_model(branching=(2,))
    batch = batch_of(model, [9, 9])
    longer = batch | {
        "features": np.concatenate([batch["features"], batch["features"]], axis=1),
        "num_frames": np.array([18, 12]),
        "present_frames": np.array([18, 12]),
    }
    folded = fold(model)
    np.testing.assert_allclose(folded.logits(**longer), folded.logits(**batch), atol=EXACT, rtol=0)


def test_absent_lengths_mean_all_frames():
    model = trained_model(branching=(2,))
    batch = batch_of(model, [9, 9])
    expected = model.tree({"features": tf.constant(batch["features"])}).logits
    np.testing.assert_allclose(fold(model).logits(batch["features"]), expected, atol=EXACT, rtol=0)


@pytest.mark.parametrize("path", ("0", "1", "1/2", "0/0"))
def test_nodes(path):
    model = tree_model("two levels")
    batch = _tensors(batch_of(model, [9, 4]))
    output = model.tree(batch)
    for index in path.split("/"):
        output = output.children[int(index)]
    np.testing.assert_allclose(fold(model, path).logits(**batch), output.logits, atol=EXACT, rtol=0)


@pytest.mark.parametrize("tree", ("leaf", "two levels", "mixture of dbof"))
def test_classes_are_columns(tree):
    model = tree_model(tree)
    batch = batch_of(model, [9, 4])
    classes = [17, 0, 5]
    folded = fold(model, classes=classes)
    assert list(folded.classes) == classes
    np.testing.assert_allclose(
        folded.logits(**batch), fold(model).logits(**batch).numpy()[:, classes], atol=EXACT, rtol=0
    )


def test_predict_gives_probabilities():
    model = trained_model(branching=(2,))
    folded = fold(model)
    for frames in (9, 7, 5):
        batch = batch_of(model, [3, 5], frames)
        expected = tf.sigmoid(folded.logits(**batch))
        np.testing.assert_allclose(folded.predict(**_tensors(batch)), expected, atol=1e-6, rtol=0)
    assert folded._probabilities.experimental_get_tracing_count() <= 2  # The length became free at its second value.


def test_wide_expansions_are_folded_away():
    """Of a leaf with lambda = 2 the projections read N values, not 2 N; no weight is kept twice."""
    model = tree_model("leaf")
    folded = fold(model)
    rgb = folded.subtrees[0].poolings[0]
    assert rgb.reads_input and tuple(rgb.projection.shape) == (4 + 4 * 6, 24)
    count = sum(int(np.prod(variable.shape)) for variable in folded.variables)
    assert count < sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


@pytest.mark.parametrize("tree", ("leaf", "two levels", "mixture of dbof"))
@pytest.mark.parametrize("examples, frames", ((0, 9), (0, 0), (2, 0)))
def test_nothing_to_score(tree, examples, frames):
    if tree == "mixture of dbof" and examples and not frames:
        pytest.skip("There is no frame to draw.")
    model = tree_model(tree)
    batch = batch_of(model, [0] * examples)
    empty = batch | {"features": batch["features"][:, :frames]}
    logits = fold(model).logits(**empty).numpy()
    assert logits.shape == (examples, 20)
    np.testing.assert_allclose(logits, fold(model).logits(**batch), atol=EXACT, rtol=0)


def test_subtrees_stay_on_their_devices():
    placement = Placement(("CPU:0", "CPU:1"))
    model = trained_model(branching=(2, 2), placement=placement)
    folded = fold(model)
    for index, subtree in enumerate(folded.subtrees):
        assert all(variable.device.endswith(f"CPU:{index}") for variable in subtree.variables)
    batch = _tensors(batch_of(model, [9, 4]))
    np.testing.assert_allclose(folded.logits(**batch), model.tree(batch).logits, atol=EXACT, rtol=0)
    function = tf.function(folded.logits).get_concrete_function(**batch)
    matmuls = [node.device for node in function.graph.as_graph_def().node if "MatMul" in node.op]
    assert {device[-5:] for device in matmuls} == {"CPU:0", "CPU:1"}
    devices = {variable.device[-5:] for variable in fold(model, "1/0").variables}
    assert devices == {"CPU:1"}


@pytest.mark.parametrize(
    "options, expected",
    (
        ({"node": "2"}, 'node must be a path in the tree (2x3), as "" or "0/0", got "2".'),
        ({"node": "0/1/0"}, 'node must be a path in the tree (2x3), as "" or "0/0", got "0/1/0".'),
        ({"node": "a"}, 'node must be a path in the tree (2x3), as "" or "0/0", got "a".'),
        ({"precision": "int8"}, 'precision must be one of float32, bfloat16, got "int8".'),
        ({"classes": [3, 20]}, "classes must be different numbers below 20, got 20."),
        ({"classes": [3, 3]}, "classes must be different numbers below 20, got a repeated one."),
        ({"classes": []}, "classes must be different numbers below 20, got none."),
    ),
)
def test_wrong_options(options, expected):
    with pytest.raises(UserError) as error:
        fold(tree_model("two levels"), **options)
    assert str(error.value) == expected
