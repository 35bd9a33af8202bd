"""Every operation of a step on one device has a GPU kernel for its types: none is sent to the CPU and back in silence.

TensorFlow's builds with CUDA register these kernels where there is no GPU too.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import kernels  # The one place that lists the kernels of a build.

from youtube8m_mod import config
from youtube8m_mod.inference.folded import fold
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.training.optimizer import FusedAdam, StaircaseDecay

pytestmark = pytest.mark.skipif(not tf.test.is_built_with_cuda(), reason="this TensorFlow has no GPU kernels")

_INPUTS = {"Placeholder", "_Arg", "_Retval"}
_SMALL = {
    "feature_sizes": (16, 8),
    "num_classes": 20,
    "max_frames": 6,
    "clusters": 4,
    "groups": 2,
    "hidden_size": 12,
    "gating_reduction": 2,
    "expansion": 2.0,
}


@functools.cache
def gpu_kernels(name):
    """[{attribute: types that it may have}] of an operation's kernels that a GPU can run."""
    return [
        {constraint.name: set(constraint.allowed_values.list.type) for constraint in kernel.constraint}
        for kernel in kernels.get_registered_kernels_for_op(name).kernel
        if kernel.device_type in ("GPU", "DEFAULT")
    ]


def fits(kernel, attributes):
    """Whether a kernel takes an operation's types."""
    for name, types in kernel.items():
        value = attributes[name]
        if not types.issuperset([value.type] if value.type else value.list.type):
            return False
    return True


def without_gpu_kernel(graph):
    """Names of the operations of a traced graph, and of the functions it calls, that only the CPU can do."""
    definition = graph.as_graph_def(add_shapes=False)
    functions = {function.signature.name: function.node_def for function in definition.library.function}
    nodes = [*definition.node, *(node for body in functions.values() for node in body)]
    return [
        f"{node.op} {node.name}"
        for node in nodes
        if node.op not in functions
        and node.op not in _INPUTS
        and not any(fits(kernel, node.attr) for kernel in gpu_kernels(node.op))
    ]


def test_what_only_the_cpu_can_do_is_found():
    graph = (
        tf.function(lambda text: tf.strings.length(text) + 1)
        .get_concrete_function(tf.TensorSpec((None,), tf.string))
        .graph
    )
    assert [name.split()[0] for name in without_gpu_kernel(graph)] == ["StringLength"]


def make_model(name, phase_name, precision, branching=()):
    sizes = _SMALL | ({"branching": branching} if branching else {})
    phase = config.phase_config(phase_name, {"batch_size": 4})
    return MOD.for_phase(config.model_config(name, sizes), phase, dtype=precision)


def batch_spec(model):
    sizes = {"features": (4, model.frames, 24), "labels": (4, 20)}
    if model.segments:
        sizes["label_weights"] = (4, 20)
    batch = {key: tf.zeros(shape, tf.uint8) for key, shape in sizes.items()}
    frames = tf.constant(np.full(4, model.frames, np.int32))
    return batch | {"num_frames": frames, "present_frames": frames}


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(
    "name, phase, branching",
    [
        ("mod_nextvlad_tiny", "pretrain", (2, 2)),
        ("mod_nextvlad_tiny", "finetune", (2, 2)),
        ("dbof_tiny", "pretrain", ()),
    ],
)
def test_training_step(name, phase, branching, precision):
    model = make_model(name, phase, precision, branching)
    optimizer = FusedAdam(StaircaseDecay(1e-3, 4, 0.8, 1000))
    optimizer.build(model.trainable_variables)
    model.compile(optimizer)
    step = tf.function(model.train_step, autograph=False).get_concrete_function(batch_spec(model))
    assert not without_gpu_kernel(step.graph)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "name, phase, branching",
    [
        ("mod_nextvlad_tiny", "pretrain", (2, 2)),
        ("mod_nextvlad_tiny", "finetune", (2, 2)),
        ("dbof_tiny", "pretrain", ()),
    ],
)
def test_folded_inference(name, phase, branching, precision):
    model = fold(make_model(name, phase, "float32", branching), precision=precision)
    features, frames = tf.TensorSpec((None, None, 24), tf.uint8), tf.TensorSpec((None,), tf.int32)
    assert not without_gpu_kernel(model._probabilities.get_concrete_function(features, frames, frames, None).graph)
