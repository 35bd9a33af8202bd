"""placement.json: what the optimised graph really does, so that a backward pass on one device is never silent again."""

import json

import pytest
import tensorflow as tf

from tests.distribution.placed_models import FOUR, Run, batch
from tests.training import tiny
from youtube8m_mod.distribution.placement import DataParallelPlacement, Placement, device_name
from youtube8m_mod.training import placement_report

# Products of a subtree: five a feature (with the training-time fold), the hidden layer, two in gating, the classifier.
FORWARD = 2 * 5 + 4
BACKWARD = 2 * FORWARD - 2 * 2  # Each has two gradients; the frames, factors of two products a feature, need none.


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """(placement.json, table at start, graphs split by device, traced graph, run) of four subtrees on four devices."""
    run = Run(Placement(FOUR))
    path = tmp_path_factory.mktemp("run") / "placement.json"
    with placement_report.collected_graphs() as graphs:
        pass  # Nothing runs: nothing is collected.
    assert not graphs()
    table = placement_report.start_table(run.model, run.step.graph(batch()))
    split = []
    report_of = placement_report.matmul_report
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placement_report, "matmul_report", lambda found: split.extend(found) or report_of(found))
        with placement_report.reported(run.model, str(path)):
            run.step(batch())
    return json.loads(path.read_text()), table, split, run.step.graph(batch()), run


def test_everything_of_a_subtree_is_on_its_device(report):
    values, _, _, _, run = report
    devices = values["devices"]
    assert list(devices) == list(FOUR)
    assert [devices[device]["subtrees"] for device in FOUR] == [[0], [1], [2], [3]]
    for device in FOUR[1:]:
        entry = devices[device]
        assert entry["forward_matmuls"] == FORWARD
        assert entry["backward_matmuls"] == BACKWARD
        assert entry["slot_bytes"] == 2 * 4 * entry["parameters"]
        assert entry["weight_bytes"] > 4 * entry["parameters"]  # Moving averages.
    root = devices[FOUR[0]]
    assert root["forward_matmuls"] == FORWARD + 1
    assert root["backward_matmuls"] > devices[FOUR[1]]["backward_matmuls"]
    parameters = sum(variable.shape.num_elements() for variable in (v.value for v in run.model.trainable_variables))
    assert sum(entry["parameters"] for entry in devices.values()) == parameters


def test_only_inputs_logits_and_logit_gradients_travel(report):
    _, _, split, traced, _ = report
    sizes = _outputs(traced)
    inputs = {tensor.op.name for tensor in traced.inputs}
    travelled = {"inputs": 0, "scale": 0, "logits": 0, "scalars": 0}
    for graph in split:
        for node in graph.node:
            if node.op != "_Send" or "/ctrl/" in node.input[0]:
                continue
            name, _, index = node.input[0].partition(":")
            shape = sizes[name][int(index or 0)].shape
            kind = tf.as_dtype(node.attr["T"].type)
            if name in inputs:
                travelled["inputs"] += 1
                assert kind in (tf.uint8, tf.int32)
            elif shape.rank == 0:
                travelled["scalars"] += 1
            elif shape == (8, 20):
                travelled["logits"] += 1
            else:
                assert name.startswith("scaling") and shape == (24,), (name, shape)
                travelled["scale"] += 1
    assert travelled["inputs"] == 3 * 5
    assert travelled["scale"] == 3
    assert travelled["logits"] == 3 * 2  # There and back.
    assert travelled["scalars"] <= 3 * 8


def _outputs(graph):
    """{name of an operation, as it is where calls have been replaced by what they call: its outputs}."""
    found = {}
    for operation in graph.get_operations():
        found[operation.name] = operation.outputs
        if operation.type == "PartitionedCall":
            body = _outputs(graph._get_function(operation.get_attr("f").name).graph)
            found |= {f"{operation.name}/{name}": outputs for name, outputs in body.items()}
    return found


def test_table_at_start(report):
    lines = report[1].split("\n")
    assert lines[0].split("  ")[0].strip() == "subtree"
    rows = [line.split() for line in lines[2:]]
    assert [row[:2] for row in rows] == [[str(index), device] for index, device in enumerate(FOUR)]
    assert all(int(cell.replace(",", "")) > 0 for row in rows for cell in row[2:])


def test_one_tape_over_all_is_told_from_one_tape_a_subtree():
    run = Run(Placement(FOUR[:2]), branching="2")

    @tf.function
    def step(values):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(run.model(values, training=True))
        return tape.gradient(loss, [variable.value for variable in run.model.trainable_variables])

    with placement_report.collected_graphs() as graphs:
        step(batch())
    counts = placement_report.matmul_report(graphs())
    assert counts["CPU:0"]["backward_matmuls"] > 2 * FORWARD
    assert counts["CPU:1"] == {"forward_matmuls": FORWARD, "backward_matmuls": 0}


def test_data_parallel_has_all_on_each_device(tmp_path):
    run = Run(DataParallelPlacement(FOUR[:2]), branching="")
    path = tmp_path / "placement.json"
    with placement_report.reported(run.model, str(path)):
        run.step(batch(16))  # As many rows a replica as above.
    first, second = json.loads(path.read_text())["devices"].values()
    assert first["subtrees"] == second["subtrees"] == [0]
    assert first["forward_matmuls"] == second["forward_matmuls"] == FORWARD
    assert first["backward_matmuls"] == second["backward_matmuls"] == BACKWARD
    assert first["parameters"] == second["parameters"] > 0


def test_no_report_where_functions_run_eagerly(data, tmp_path, eager):
    tiny.trainer(data, tmp_path, tiny.run(max_steps=1)).train()
    assert not (tmp_path / "placement.json").exists()


def test_devices_of_variables():
    run = Run(Placement(["CPU:3", "CPU:1"]), branching="3")
    report = placement_report.variable_report(run.model)
    assert report["CPU:3"]["subtrees"] == [0, 2]
    assert report["CPU:1"]["subtrees"] == [1]
    assert device_name(run.model.root.mixing.kernel.value.device) == "CPU:3"
