"""Subtrees on devices: the same numbers as on one, everything of a subtree where it belongs."""

import numpy as np
import pytest
import tensorflow as tf

from tests.distribution.placed_models import FOUR, Run, assert_close, batch
from tests.eagerly import eagerly
from youtube8m_mod.distribution import placement
from youtube8m_mod.distribution.placement import DataParallelPlacement, Placement, make_placement
from youtube8m_mod.errors import UserError
from youtube8m_mod.training import checkpoint_store, checkpoints

# An Adam step is 1e-3 whatever the gradient's size: where a gradient is nearly 0, its rounding errors show.
STATE = dict(absolute=5e-5)
BATCHES = [batch(seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def alone():
    """Losses and final state of three steps on one device."""
    run = Run()
    with eagerly():
        return run.train(BATCHES), run.state()


def test_same_steps_as_on_one_device(alone):
    _check_same_steps(alone, FOUR)


def test_same_steps_with_fewer_devices_than_subtrees(alone, eager):
    _check_same_steps(alone, FOUR[:3])


def _check_same_steps(alone, devices):
    run = Run(Placement(devices))
    losses = run.train(BATCHES)
    np.testing.assert_allclose(losses, alone[0], rtol=1e-5)
    assert_close(run.state(), alone[1], **STATE)


def test_variables_and_slots_lie_with_their_subtree():
    run = Run(Placement(FOUR))
    slots = dict(
        zip(
            (v.path for v in run.model.trainable_variables),
            zip(run.optimizer.first_moments, run.optimizer.second_moments),
        )
    )
    for subtree, device in zip(run.model.subtrees, FOUR):
        for variable in subtree.variables:
            assert placement.device_name(variable.value.device) == device, variable.path
        for variable in subtree.trainable_variables:
            for slot in slots[variable.path]:
                assert placement.device_name(slot.value.device) == device, slot.path


def test_defaults_to_all_cpus_where_there_is_no_gpu():
    dealt = make_placement()
    assert dealt.devices == FOUR
    assert [dealt.device_of(subtree) for subtree in range(6)] == [*FOUR, "CPU:0", "CPU:1"]


def test_devices_in_the_order_given():
    assert make_placement(["CPU:2", "CPU:0"]).devices == ("CPU:2", "CPU:0")


def test_unknown_device_is_named_with_those_there_are():
    with pytest.raises(UserError, match='"GPU:7" in --devices: there are CPU:0, CPU:1, CPU:2, CPU:3'):
        make_placement(["CPU:0", "GPU:7"])


def test_no_gpu_to_split():
    with pytest.raises(UserError, match="--logical_gpus=4 needs a GPU"):
        make_placement(logical_gpus=4)
    with pytest.raises(UserError, match="--logical_cpus must be at least 1, got 0"):
        make_placement(logical_cpus=0)


@pytest.mark.parametrize(
    "device, name",
    [
        ("/device:GPU:1", "GPU:1"),
        ("/job:localhost/replica:0/task:0/device:CPU:0", "CPU:0"),
        ("/job:worker/replica:0/task:3/device:GPU:1", "worker:3/GPU:1"),
    ],
)
def test_names_of_devices(device, name):
    assert placement.device_name(device) == name
    assert placement.device_name(placement._full_name(name)) == name


def test_data_parallel_equals_one_device(eager):
    # Both halves of each batch are equal: so are their batch-norm statistics, and those of the whole batch.
    batches = [batch(copies=2, seed=seed) for seed in range(3)]
    one = Run(dropout=0.0, branching="2")
    two = Run(DataParallelPlacement(FOUR[:2]), dropout=0.0, branching="2")
    np.testing.assert_allclose(two.train(batches), one.train(batches), rtol=1e-5)
    # Without dropout the hidden layer's batch norm takes out whatever this beta adds: its gradient is rounding errors.
    states = [
        {path: value for path, value in run.state().items() if "output_norm/beta" not in path} for run in (one, two)
    ]
    assert_close(*states, **STATE)


def test_data_parallel_batch_norm_takes_the_statistics_of_each_part(eager):
    whole = batch()
    two = Run(DataParallelPlacement(FOUR[:2]), branching="", dropout=0.0)
    losses = two.train([whole])[0]
    halves = []
    for part in (slice(0, 4), slice(4, 8)):
        half = Run(branching="", dropout=0.0)
        half_losses = half.train([{key: values[part] for key, values in whole.items()}])[0]
        halves.append((half_losses, half.state()))
    np.testing.assert_allclose(losses, np.mean([half[0] for half in halves], axis=0), rtol=1e-5)
    state = two.state()
    averages = [path for path in state if "moving_" in path]
    assert averages
    for path in averages:
        expected = np.mean([half[1][path] for half in halves], axis=0)
        np.testing.assert_allclose(state[path], expected, rtol=1e-5, atol=1e-7, err_msg=path)


def test_data_parallel_batches_that_do_not_split(eager):
    dealt = DataParallelPlacement(FOUR[:2])
    with pytest.raises(UserError, match="A batch of 7 examples does not split evenly over 2 devices"):
        dealt.check_batch_size(7)
    run = Run(dealt, branching="", dropout=0.0)
    last = {key: values[:3] for key, values in batch().items()}
    filled = {key: tf.concat([values, values[:1]], axis=0) for key, values in last.items()}
    other = Run(dealt, branching="", dropout=0.0)
    np.testing.assert_array_equal(run.train([last]), other.train([filled]))


def test_devices_that_hold_two_subtrees_each(eager):
    ours, alone = Run(Placement(FOUR[2:]), dropout=0.0), Run(dropout=0.0)
    np.testing.assert_allclose(ours.train(BATCHES[:1]), alone.train(BATCHES[:1]), rtol=1e-6)


def test_checkpoint_of_any_placement_loads_in_any_other(tmp_path, eager):
    placements = [Placement(), Placement(FOUR), Placement(FOUR[2:3]), DataParallelPlacement(FOUR[:2])]
    first = Run(placements[1], branching="2")
    first.train(BATCHES[:1])
    saved = first.state()
    for number, source in enumerate(placements):
        folder = str(tmp_path / str(number))
        checkpoints.save(folder, first.model, first.optimizer, checkpoint_store.new_state() | {"step": 1}, keep=1)
        run = Run(source, branching="2")
        assert checkpoints.restore_latest(folder, run.model, run.optimizer)["step"] == 1
        assert_close(run.state(), saved, absolute=0, relative=0)
        first = run
