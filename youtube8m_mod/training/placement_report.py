"""Where a model's weights, slots and matrix products really are: the table at start, and placement.json."""

import contextlib
import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from tensorflow.python.eager import context  # The one place where TensorFlow gives away its optimised graphs.

from youtube8m_mod import files
from youtube8m_mod.distribution.placement import device_name
from youtube8m_mod.terminal import format_table

if TYPE_CHECKING:
    from youtube8m_mod.models.mod import MOD

_COLUMNS = {
    "subtree": "subtree",
    "device": "device",
    "parameters": "parameters",
    "weights": "weights (kB)",
    "slots": "slots (kB)",
    "activations": "activations (kB)",
}
_SAME_BUFFER = {"Identity", "IdentityN", "Reshape", "ExpandDims", "Squeeze", "StopGradient"}
_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
_NO_ACTIVATION = {"ReadVariableOp", "Const", "Placeholder", "VarHandleOp"}


@contextlib.contextmanager
def reported(model: "MOD", path: files.Path) -> Iterator[None]:
    """A scope for the first call of a training step, which writes `placement.json` at its end.

    {"devices": {device: {"subtrees", "parameters", "weight_bytes", "slot_bytes", "forward_matmuls",
    "backward_matmuls"}}}, counted in variables as they lie and in the graph as TensorFlow optimised and split it.

    Args:
        model: a compiled `MOD`.
        path: of placement.json.
    """
    devices = variable_report(model)
    with collected_graphs() as graphs:
        yield
    for device, counts in matmul_report(graphs()).items():
        devices.setdefault(device, _nothing()).update(counts)
    files.write_json(path, {"devices": dict(sorted(devices.items()))})


def variable_report(model: "MOD") -> dict[str, dict[str, Any]]:
    """{device: {"subtrees", "parameters", "weight_bytes", "slot_bytes"}} by where the variables lie."""
    devices = {}
    for kind, variables in (("weight_bytes", model.variables), ("slot_bytes", model.optimizer.variables)):
        for copy in _copies(variables):
            entry = devices.setdefault(device_name(copy.device), _nothing())
            entry[kind] += _bytes(copy)
    for copy in _copies(model.trainable_variables):
        devices[device_name(copy.device)]["parameters"] += copy.shape.num_elements()
    for index, subtree in enumerate(model.subtrees):
        for device in sorted({device_name(copy.device) for copy in _copies(subtree.variables)}):
            devices[device]["subtrees"].append(index)
    return devices


def matmul_report(graphs: Iterable[tf.compat.v1.GraphDef]) -> dict[str, dict[str, int]]:
    """{device: {"forward_matmuls", "backward_matmuls"}} of `tf.compat.v1.GraphDef`s that are placed on devices."""
    devices = {}
    for graph in graphs:
        for node in graph.node:
            if "MatMul" in node.op or "Einsum" in node.op:
                counts = devices.setdefault(device_name(node.device), {"forward_matmuls": 0, "backward_matmuls": 0})
                counts["backward_matmuls" if is_backward(node) else "forward_matmuls"] += 1
    return devices


def is_backward(node: tf.compat.v1.NodeDef | tf.Operation) -> bool:
    """Whether a gradient tape made a node of a graph; custom gradients number their scopes."""
    return re.search(r"gradient_tape(_\d+)?/", node.name) is not None


@contextlib.contextmanager
def collected_graphs() -> Iterator[Callable[[], list[tf.compat.v1.GraphDef]]]:
    """Yields a function that gives the graphs run in the block, optimised and split by device.

    A TensorFlow function shows them once, when it runs for the first time.
    """
    eager_context = context.context()
    eager_context.enable_graph_collection()
    graphs = []
    try:
        yield lambda: graphs
        for function in eager_context.export_run_metadata().function_graphs:
            graphs.extend(function.partition_graphs)
    finally:
        eager_context.disable_graph_collection()


def activation_bytes(graph: tf.Graph) -> dict[str, int]:
    """{device: bytes of tensors that the backward pass of a traced graph reads of its forward pass}."""
    tensors = {}
    for operation in graph.get_operations():
        if is_backward(operation):
            for calls, tensor in map(_source, operation.inputs):
                outer = calls[0] if calls else tensor.op
                if not is_backward(outer) and tensor.op.type not in _NO_ACTIVATION:
                    tensors[(*(call.name for call in calls), tensor.name)] = outer.device, tensor
    devices = {}
    for device, tensor in tensors.values():
        if device and tensor.shape.is_fully_defined() and tensor.dtype.is_numpy_compatible:
            name = device_name(device)
            devices[name] = devices.get(name, 0) + _bytes(tensor)
    return devices


def start_table(model: "MOD", graph: tf.Graph) -> str:
    """Text of the table: a line for each subtree on each of its devices."""
    places = [
        (index, device)
        for index, subtree in enumerate(model.subtrees)
        for device in sorted({device_name(copy.device) for copy in _copies(subtree.variables)})
    ]
    activations = activation_bytes(graph)
    slots = {
        variable.path: [first, second]
        for variable, first, second in zip(
            model.trainable_variables, model.optimizer.first_moments, model.optimizer.second_moments
        )
    }
    rows = []
    for index, device in places:
        own = model.subtrees[index].variables
        if not index and model.config.branching:
            own = own + model.root.mixing.variables
        trainable = [variable for variable in own if variable.path in slots]
        sharing = sum(other == device for _, other in places)
        rows.append(
            {
                "subtree": index,
                "device": device,
                "parameters": sum(math.prod(variable.shape) for variable in trainable),
                "weights": _kilobytes(sum(_bytes(variable) for variable in own)),
                "slots": _kilobytes(sum(_bytes(slot) for variable in trainable for slot in slots[variable.path])),
                "activations": _kilobytes(activations[device] / sharing if device in activations else None),
            }
        )
    return format_table(rows, _COLUMNS)


def _copies(variables):
    """The variables as they lie: those of each replica where they are mirrored."""
    for variable in variables:
        yield from getattr(variable.value, "values", None) or (variable.value,)


def _nothing():
    return {
        "subtrees": [],
        "parameters": 0,
        "weight_bytes": 0,
        "slot_bytes": 0,
        "forward_matmuls": 0,
        "backward_matmuls": 0,
    }


def _source(tensor):
    """(calls of functions, outermost first, in which it is made; the tensor whose memory a tensor shares)."""
    while tensor.op.type in _SAME_BUFFER and tensor.op.inputs:
        tensor = tensor.op.inputs[tensor.value_index if tensor.op.type == "IdentityN" else 0]
    call = tensor.op
    if call.type not in _CALLS:
        return (), tensor
    body = call.graph._get_function(call.get_attr("f").name).graph
    calls, inner = _source(body.outputs[tensor.value_index])
    for argument, value in zip(body.inputs, call.inputs):
        if not calls and inner is argument:
            return _source(value)
    return (call, *calls), inner


def _bytes(value):
    return math.prod(value.shape) * tf.as_dtype(value.dtype).size


def _kilobytes(count):
    return None if count is None else round(count / 1000)
