"""Checkpoints: whole or not at all, by names that hold in any process, the damaged ones told."""

import glob
import os
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.training import tiny
from youtube8m_mod import config, files
from youtube8m_mod.errors import UserError
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.training import checkpoint_store, checkpoints
from youtube8m_mod.training.optimizer import FusedAdam


def parts(name="nextvlad_tiny", model=(), value=None):
    """A model with an optimizer; `value` fills all weights."""
    run = tiny.run(name=name, model=model)
    built = MOD.for_phase(run.model, run.phase, seed=run.seed)
    optimizer = FusedAdam(1e-3)
    optimizer.build(built.trainable_variables)
    if value is not None:
        fill(built, value)
    return built, optimizer


def fill(model, value):
    for variable in checkpoints.model_variables(model).values():
        variable.assign(tf.fill(variable.shape, tf.cast(value, variable.dtype)))


def values(model):
    return {float(variable.numpy().flat[0]) for variable in checkpoints.model_variables(model).values()}


@pytest.fixture
def saved(tmp_path):
    """A train_dir with the checkpoints 10, 20 and 30, whose weights are 1, 2 and 3; and what can read them."""
    model, optimizer = parts()
    for number in (1, 2, 3):
        fill(model, number)
        optimizer.iterations.assign(10 * number)
        checkpoints.save(str(tmp_path), model, optimizer, checkpoint_store.new_state(10 * number), keep=3)
    return tmp_path, model, optimizer


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        content[len(content) // 2] ^= 0x10
        path.write_bytes(content)
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "missing"])
@pytest.mark.parametrize("part", ["variables.data-00000-of-00001", "variables.index", "state.json"])
def test_a_damaged_newest_checkpoint_is_told_and_the_one_before_used(saved, capsys, part, how):
    train_dir, model, optimizer = saved
    damage(train_dir / "checkpoint-00000030" / part, how)
    fill(model, 0)
    state = checkpoints.restore_latest(str(train_dir), model, optimizer)
    assert state == checkpoint_store.new_state(20) and values(model) == {2.0} and optimizer.iterations == 20
    assert re.search(
        r"warning: the checkpoint \S+checkpoint-00000030 is damaged \(.+\); taking the one before it",
        capsys.readouterr().err,
    )


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.UnavailableError(None, None, "come again"),
        tf.errors.ResourceExhaustedError(None, None, "come again"),
        OSError(5, "come again"),
    ],
)
def test_what_fails_for_the_moment_is_no_damage(saved, monkeypatch, error):
    train_dir, model, optimizer = saved

    def fails(*_):
        raise error

    monkeypatch.setattr(checkpoints, "_restore", fails)
    with pytest.raises(UserError, match="Cannot read .*checkpoint-00000030: .*come again; it may be whole"):
        checkpoints.restore_latest(str(train_dir), model, optimizer)


def test_only_damaged_checkpoints_are_an_error_that_names_the_last(saved):
    train_dir, model, optimizer = saved
    for folder in train_dir.iterdir():
        damage(folder / "variables.data-00000-of-00001", "flipped")
    with pytest.raises(UserError, match="Cannot restore .*checkpoint-00000010: .*hecksum"):
        checkpoints.restore_latest(str(train_dir), model, optimizer)


@pytest.mark.parametrize(
    "content",
    [
        '{"step": 30, "place": -1}',
        '{"step": 30, "epoch": "x"}',
        '{"step": 20}',
        "[30]",
        '{"step": 30, "interval": {"loss": []}}',
    ],
)
def test_a_state_that_no_run_has(saved, capsys, content):
    train_dir, model, _ = saved
    (train_dir / "checkpoint-00000030" / "state.json").write_text(content)
    assert checkpoints.restore_latest(str(train_dir), model)["step"] == 20
    assert "state.json" in capsys.readouterr().err


def test_keeps_the_newest(saved):
    train_dir, model, optimizer = saved
    checkpoints.save(str(train_dir), model, optimizer, checkpoint_store.new_state(40), keep=2)
    assert checkpoint_store.steps(train_dir) == [30, 40]


def test_later_checkpoints_that_were_damaged_do_not_push_out_the_new_one(saved):
    train_dir, model, optimizer = saved
    checkpoints.save(str(train_dir), model, optimizer, checkpoint_store.new_state(15), keep=1)
    assert checkpoint_store.steps(train_dir) == [15]


def test_a_half_written_checkpoint_is_none(saved):
    train_dir, model, _ = saved
    shutil.copytree(train_dir / "checkpoint-00000030", train_dir / "partial-0a1b2c3d")
    shutil.copytree(train_dir / "checkpoint-00000030", train_dir / "checkpoint-00000040.copy")
    assert checkpoint_store.steps(train_dir) == [10, 20, 30]
    checkpoints.remove_partial(train_dir)
    assert not glob.glob(f"{train_dir}/partial-*")


@pytest.mark.parametrize("writer", ["variables", "state"])
def test_a_full_disk_leaves_the_checkpoints_before(saved, monkeypatch, writer):
    train_dir, model, optimizer = saved
    before = sorted(os.listdir(train_dir))

    def full(*_, **__):
        if writer == "variables":
            raise tf.errors.ResourceExhaustedError(None, None, "variables.data; No space left on device")
        raise OSError(28, "No space left on device")

    if writer == "variables":
        monkeypatch.setattr(tf.train.Checkpoint, "write", full)
    else:
        monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="Cannot write the checkpoint .*checkpoint-00000030.*No space left"):
        checkpoints.save(str(train_dir), model, optimizer, checkpoint_store.new_state(30), keep=1)
    assert sorted(os.listdir(train_dir)) == before
    assert checkpoints.restore_latest(str(train_dir), model)["step"] == 30 and values(model) == {3.0}


@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["weight", "state of Adam"])
def test_what_is_not_finite_is_not_saved(saved, kind, poison):
    train_dir, model, optimizer = saved
    variable = model.trainable_variables[3] if kind == "weight" else optimizer.second_moments[3]
    variable.assign(tf.fill(variable.shape, poison))
    with pytest.raises(UserError, match=f"The {kind} .* is not finite at step 40"):
        checkpoints.save(str(train_dir), model, optimizer, checkpoint_store.new_state(40), keep=3)
    assert checkpoint_store.steps(train_dir) == [10, 20, 30]


def test_a_checkpoint_of_another_model_is_refused_not_skipped(saved):
    train_dir, _, _ = saved
    with pytest.raises(UserError, match="Cannot restore .*30: it lacks .* variables of the model"):
        checkpoints.restore_latest(str(train_dir), parts("mix_nextvlad_tiny", ["branching=2"])[0])
    with pytest.raises(UserError, match=r"Cannot restore .*30: .* has the shape \[.*\] there and \[.*\] here"):
        checkpoints.restore_latest(str(train_dir), parts(model=["hidden_size=5"])[0])


def test_finetuning_starts_with_weights_and_moments_but_not_with_the_step(saved):
    train_dir, model, optimizer = saved
    random_state = [variable.numpy().tolist() for variable in checkpoints.random_state(model).values()]
    optimizer.first_moments[0].assign(tf.ones_like(optimizer.first_moments[0]))
    checkpoints.save(str(train_dir), model, optimizer, checkpoint_store.new_state(40), keep=1)
    fresh, fresh_optimizer = parts(value=0)
    for variable in checkpoints.random_state(fresh).values():
        variable.assign([7, 7])
    checkpoints.restore_latest(str(train_dir), fresh, fresh_optimizer, carry_step=False)
    assert values(fresh) == {3.0} and fresh_optimizer.iterations == 0
    assert set(fresh_optimizer.first_moments[0].numpy().flat) == {1.0}
    assert [variable.numpy().tolist() for variable in checkpoints.random_state(fresh).values()] != random_state


@pytest.mark.parametrize("name", [name for name in config.MODELS if name.endswith("_tiny")])
def test_names_are_unique_and_hold_in_any_process(name):
    run = tiny.run(name=name)
    shapes = []
    for _ in range(2):  # Keras goes on counting from the first model to the second.
        model = MOD.for_phase(run.model, run.phase, seed=0)
        optimizer = FusedAdam(1e-3)
        optimizer.build(model.trainable_variables)
        named = checkpoints.model_variables(model) | checkpoints.random_state(model)
        moments = checkpoints.optimizer_variables(model, optimizer)
        assert len(named) == len(model.variables)
        assert len(moments) == 2 * len(model.trainable_variables) + 3
        assert len(checkpoints.random_state(model)) == run.model.num_leaves
        shapes.append({path: variable.shape for path, variable in {**named, **moments}.items()})
    assert shapes[0] == shapes[1]


def test_a_train_dir_with_signs_of_a_glob(tmp_path):
    with pytest.raises(UserError, match=r"train_dir .* must have a name without \* \[ \]"):
        tiny.run().save(f"{tmp_path}/T=[1]*")


def test_a_remote_train_dir():
    folder = "ram://checkpoints/run"  # TensorFlow's file system in memory stands for gs://.
    model, optimizer = parts(value=1)
    for step in (10, 20):
        checkpoints.save(folder, model, optimizer, checkpoint_store.new_state(step), keep=1)
    assert checkpoint_store.steps(folder) == [20]
    fill(model, 0)
    assert checkpoints.restore_latest(folder, model, optimizer)["step"] == 20 and values(model) == {1.0}
    files.remove(f"{folder}/checkpoint-00000020/state.json")  # Where a kill came before the last act of writing.
    with pytest.raises(UserError, match="Cannot read .*state.json"):
        checkpoints.restore_latest(folder, model, optimizer)
    checkpoints.remove_partial(folder)
    assert checkpoints.restore_latest(folder, model, optimizer) is None
