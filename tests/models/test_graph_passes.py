import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from tests.models.trained_models import batch_of, trained_model
from youtube8m_mod.models.graph_passes import few_passes
from youtube8m_mod.training.placement_report import collected_graphs

ALL = ["pruning", "common_subgraph_elimination", "constfold", "arithmetic", "dependency", "common_subgraph_elimination"]


def rewriting():
    config = context.context().function_call_options.config_proto_serialized
    return tf.compat.v1.ConfigProto.FromString(config).graph_options.rewrite_options


@pytest.fixture
def switches():
    """Switches optimisers of TensorFlow for a test."""
    asked = {}

    def switch(**options):
        asked.update(options)
        tf.config.optimizer.set_experimental_options(options)

    yield switch
    context.context()._optimizer_experimental_options = {}
    context.context().function_call_options = None


@pytest.mark.parametrize(
    "options, missing",
    [
        ({}, None),
        ({"constant_folding": False}, "constfold"),
        ({"disable_model_pruning": True}, "pruning"),
        ({"remapping": False}, None),
    ],
)
def test_passes_of_a_scope(switches, options, missing):
    switches(**options)
    before = rewriting()
    with pytest.raises(KeyError), few_passes():
        assert list(rewriting().optimizers) == [own for own in ALL if own != missing]
        raise KeyError
    assert rewriting() == before and not before.optimizers


@pytest.mark.parametrize("option", ["disable_meta_optimizer", "debug_stripper", "auto_mixed_precision_mkl"])
def test_a_pass_that_is_asked_for_is_made(switches, option):
    switches(**{option: True})
    before = rewriting()
    with few_passes():
        assert rewriting() == before


def test_what_is_switched_in_the_scope_stays(switches):
    with few_passes():
        switches(constant_folding=False)
    assert rewriting().constant_folding == rewriting().OFF


def operations():
    """Names of the operations of a function as TensorFlow runs it."""

    @tf.function
    def function(x):
        product = tf.nn.relu(tf.nn.bias_add(tf.matmul(x, x), tf.ones(2)))
        return product * tf.sin(x) * tf.sin(x) + 0.0 * tf.cos(tf.zeros(2))

    x = tf.ones((2, 2))
    with collected_graphs() as graphs:
        np.testing.assert_allclose(function(x), 3 * np.sin(1) ** 2 * np.ones((2, 2)), 1e-6)
    return [node.op for graph in graphs() for node in graph.node]


def test_a_function_is_optimised_in_the_scope_only_by_its_passes():
    """TensorFlow by itself would also fuse the product with what follows it, where no pass of the scope does."""
    with few_passes():
        inside = operations()
    assert inside.count("Sin") == 1 and "Cos" not in inside and not any("Fused" in name for name in inside)
    assert any("Fused" in name for name in operations())


def test_fit_of_keras_makes_them_too(eager):
    model, seen = trained_model(), []
    model.compile("sgd")
    note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_, **__: seen.append(list(rewriting().optimizers)))
    model.fit(batch_of(model, [9, 4]), np.zeros((2, 20), np.uint8), callbacks=[note], verbose=0)
    assert seen == [ALL] and not rewriting().optimizers
