"""GAP, Hit@1 and PERR are those of `evaluation.video_metrics`, in any multi-label model."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from youtube8m_mod.evaluation.video_metrics import video_scores
from youtube8m_mod.metrics import GAP, PERR, HitAt1

METRICS = (GAP, HitAt1, PERR)


def examples(count=37, classes=30, seed=0):
    """Labels, some examples without one, and probabilities with ties and zeros."""
    random = np.random.default_rng(seed)
    labels = (random.random((count, classes)) < 0.1) * (random.random((count, 1)) < 0.9)
    probabilities = np.round(random.random((count, classes)) * (random.random((count, classes)) < 0.7), 2)
    return labels.astype(np.uint8), probabilities.astype(np.float32)


def expected(labels, probabilities):
    classes = np.arange(labels.shape[1])
    scores = video_scores(
        {str(number): np.flatnonzero(row) for number, row in enumerate(labels)},
        ((str(number), classes, row) for number, row in enumerate(probabilities)),
    )
    return {"gap": scores.gap, "hit_at_1": scores.hit_at_1, "perr": scores.perr}


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("classes", [30, 7])
def test_equal_to_the_evaluation(graph, classes):
    labels, probabilities = examples(classes=classes)
    values = {}
    for metric in (each() for each in METRICS):
        update = tf.function(metric.update_state) if graph else metric.update_state
        for start in range(0, len(labels), 8):
            update(labels[start : start + 8], probabilities[start : start + 8])
        values[metric.name] = float(tf.function(metric.result)() if graph else metric.result())
    scores = expected(labels, probabilities)
    assert values["gap"] == scores["gap"]
    np.testing.assert_allclose([values[name] for name in scores], list(scores.values()), rtol=1e-6)


def test_by_hand():
    gap, hit, perr = (metric() for metric in METRICS)
    labels, probabilities = [[1, 0, 1], [0, 1, 0]], [[0.9, 0.8, 0.1], [0.6, 0.5, 0.0]]
    for metric in (gap, hit, perr):
        metric.update_state(np.array(labels), np.array(probabilities))
    # In order: label, none, none, label, label, none.
    np.testing.assert_allclose(gap.result(), (1 / 1 + 2 / 4 + 3 / 5) / 3)
    assert float(hit.result()) == 0.5 and float(perr.result()) == 0.25
    gap.reset_state()
    assert float(gap.result()) == 0


def test_classes_that_were_not_rated_do_not_count():
    labels, probabilities = examples()
    counts = np.arange(labels.shape[1]) % 3 > 0
    weights = np.broadcast_to(counts, labels.shape).astype(np.uint8)
    scores = expected(labels[:, counts], probabilities[:, counts])
    for metric in (each() for each in METRICS):
        metric.update_state(labels, probabilities, weights)
        np.testing.assert_allclose(metric.result(), scores[metric.name], rtol=1e-6)


@pytest.mark.parametrize("rank", [1, 2])
def test_examples_of_no_weight_do_not_count(rank):
    labels, probabilities = examples()
    weights = np.arange(len(labels)) % 3 > 0
    scores = expected(labels[weights], probabilities[weights])
    for metric in (each() for each in METRICS):
        metric.update_state(labels, probabilities, weights[:, None] if rank == 2 else weights)
        np.testing.assert_allclose(metric.result(), scores[metric.name], rtol=1e-6)


def test_a_batch_without_an_example_changes_nothing():
    """A replica may have none of the last batch."""
    labels, probabilities = examples()
    scores = expected(labels, probabilities)
    for metric in (each() for each in METRICS):
        metric.update_state(labels, probabilities)
        metric.update_state(labels[:0], probabilities[:0])
        np.testing.assert_allclose(metric.result(), scores[metric.name], rtol=1e-6)


def test_configuration_round_trip():
    metrics = [GAP(top_k=3, name="gap_3"), HitAt1(), PERR()]
    for metric in metrics:
        again = keras.metrics.deserialize(keras.metrics.serialize(metric))
        assert type(again) is type(metric) and again.get_config() == metric.get_config()
    with pytest.raises(ValueError, match="Expected top_k of at least 1, got 0"):
        GAP(top_k=0)


@pytest.mark.parametrize("devices", [1, 2])
def test_in_any_multi_label_model(devices, tmp_path):
    labels, probabilities = examples()
    names = [f"CPU:{number}" for number in range(devices)]
    # The default reduces by collectives, whose waiting threads may starve the metrics on few cores.
    strategy = tf.distribute.MirroredStrategy(names, cross_device_ops=tf.distribute.ReductionToOneDevice())
    with strategy.scope() if devices > 1 else tf.device("CPU:0"):
        model = keras.Sequential([keras.Input((30,)), keras.layers.Identity()])
        model.compile(loss="binary_crossentropy", metrics=[GAP(), HitAt1(), PERR()])
    # Ties of different replicas have no order.
    probabilities = probabilities + np.arange(probabilities.size, dtype=np.float32).reshape(probabilities.shape) * 1e-6
    found = model.evaluate(probabilities, labels, batch_size=8, verbose=0, return_dict=True)
    for name, value in expected(labels, probabilities).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5)
    if devices == 1:
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
        assert again.evaluate(probabilities, labels, batch_size=8, verbose=0, return_dict=True) == found
