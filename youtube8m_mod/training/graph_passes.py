"""Which passes TensorFlow makes over the graph of a step before it runs for the first time."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.python.eager import context  # The one place where the passes can be named, in their order.

# Passes, in order, each with the switch of `tf.config.optimizer` that it obeys. TensorFlow by itself makes some 25, in
# two rounds. These make the same of a step: without the last one, its sums would be in another order.
_PASSES = (
    ("pruning", None),
    ("common_subgraph_elimination", None),
    ("constfold", "constant_folding"),
    ("arithmetic", "arithmetic_optimization"),
    ("dependency", "dependency_optimization"),
    ("common_subgraph_elimination", None),
)


@contextlib.contextmanager
def few_passes() -> Iterator[None]:
    """A scope in which graphs of functions that run for the first time get those passes that do something in a step.

    The others take a third of the time of a first step. What the user has switched off stays off.
    """
    eager_context = context.context()
    given, switches = eager_context.function_call_options, tf.config.optimizer.get_experimental_options()
    config = tf.compat.v1.ConfigProto.FromString(given.config_proto_serialized)
    rewriting = config.graph_options.rewrite_options
    rewriting.optimizers[:] = [name for name, switch in _PASSES if switches.get(switch, True)]
    rewriting.meta_optimizer_iterations = rewriting.ONE
    eager_context.function_call_options = context.FunctionCallOptions(given.executor_type, config)
    try:
        yield
    finally:
        eager_context.function_call_options = given
