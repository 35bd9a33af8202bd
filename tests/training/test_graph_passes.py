import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from youtube8m_mod.training.graph_passes import few_passes
from youtube8m_mod.training.placement_report import collected_graphs

ALL = ["pruning", "common_subgraph_elimination", "constfold", "arithmetic", "dependency", "common_subgraph_elimination"]


def rewriting():
    config = context.context().function_call_options.config_proto_serialized
    return tf.compat.v1.ConfigProto.FromString(config).graph_options.rewrite_options


@pytest.mark.parametrize("switch, name", [(None, None), ("constant_folding", "constfold"), ("remapping", None)])
def test_passes_of_a_scope(switch, name):
    try:
        if switch:
            tf.config.optimizer.set_experimental_options({switch: False})
        before = rewriting()
        with pytest.raises(KeyError), few_passes():
            assert list(rewriting().optimizers) == [own for own in ALL if own != name]
            raise KeyError
        assert rewriting() == before and not before.optimizers
    finally:
        tf.config.optimizer.set_experimental_options({switch: True} if switch else {})


def test_a_function_is_optimised_in_the_scope():
    def operations():
        @tf.function
        def twice(x):
            return tf.sin(x) * tf.sin(x) + 0.0 * tf.cos(tf.zeros(2))

        ones = tf.ones(2)
        with collected_graphs() as graphs:
            result = twice(ones)
        np.testing.assert_allclose(result, np.sin(1) ** 2, 1e-6)
        return sorted(node.op for graph in graphs() for node in graph.node)

    with few_passes():
        inside = operations()
    assert inside.count("Sin") == 1 and "Cos" not in inside
