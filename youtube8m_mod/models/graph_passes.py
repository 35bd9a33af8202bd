"""Which passes TensorFlow makes over the graph of a step before it runs for the first time."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.python.eager import context  # The one place where the passes can be named, in their order.

# Passes, in order, each with the switch of `tf.config.optimizer` that it obeys and the value with which it is made.
# TensorFlow by itself makes some 25, in two rounds. These make the same of a step, but for its memory optimiser, which
# splits sums of large gradients (docs/speed.md): without the last one, more sums would be in another order.
_PASSES = (
    ("pruning", "disable_model_pruning", False),
    ("common_subgraph_elimination", None, True),
    ("constfold", "constant_folding", True),
    ("arithmetic", "arithmetic_optimization", True),
    ("dependency", "dependency_optimization", True),
    ("common_subgraph_elimination", None, True),
)
# Passes that TensorFlow makes only where the user asks for them; they have no place in the list.
_ASKED_FOR = (
    *("auto_mixed_precision", "auto_mixed_precision_mkl", "auto_mixed_precision_onednn_bfloat16"),
    *("debug_stripper", "pin_to_host_optimization", "scoped_allocator_optimization"),
)


@contextlib.contextmanager
def few_passes() -> Iterator[None]:
    """A scope in which graphs of functions that run for the first time get those passes that do something in a step.

    The others take a third of the time of a first step. What the user has switched off by `tf.config.optimizer` stays
    off; where he has switched a pass on, or all of them off, the scope changes nothing.
    """
    eager_context = context.context()
    given, switches = eager_context.function_call_options, tf.config.optimizer.get_experimental_options()
    if switches.get("disable_meta_optimizer") or any(switches.get(name) for name in _ASKED_FOR):
        yield
        return
    config = tf.compat.v1.ConfigProto.FromString(given.config_proto_serialized)
    rewriting = config.graph_options.rewrite_options
    rewriting.optimizers[:] = [name for name, switch, value in _PASSES if switches.get(switch, value) == value]
    rewriting.meta_optimizer_iterations = rewriting.ONE
    own = eager_context.function_call_options = context.FunctionCallOptions(given.executor_type, config)
    try:
        yield
    finally:
        if eager_context.function_call_options is own:  # Nobody has switched anything meanwhile.
            eager_context.function_call_options = given
