"""Numbers that go wrong, runs begun anew or of another configuration, the log."""

import os
import shutil

import pytest

from tests.training import tiny
from youtube8m_mod.errors import UserError
from youtube8m_mod.models.loss_means import LossMeans
from youtube8m_mod.training import checkpoint_store, checkpoints
from youtube8m_mod.training.callbacks import Checkpoints, RunCallback
from youtube8m_mod.training.history import read_history
from youtube8m_mod.training.run import Run
from youtube8m_mod.training.trainer import TrainingOptions

pytestmark = pytest.mark.filterwarnings("ignore:Even though")  # The data's functions stay graphs.


def test_a_loss_that_is_not_finite_stops_before_it_poisons_a_checkpoint(data, tmp_path, eager):
    trainer = tiny.trainer(data, tmp_path, tiny.run(base_learning_rate=1e30, max_steps=9), checkpoint_steps=4)
    checkpoints.save(str(tmp_path), trainer.model, trainer.optimizer, trainer.state, keep=3)
    before = tiny.stored(tmp_path, 0)
    with pytest.raises(UserError, match="The bce loss of the root is nan at step 2: the run stops"):
        trainer.train()
    assert checkpoint_store.steps(tmp_path) == [0]
    tiny.assert_same(tiny.stored(tmp_path, 0), before)


def test_names_the_term_that_is_not_finite(data, tmp_path, eager):
    trainer = tiny.trainer(data, tmp_path, tiny.run(max_steps=1))
    means = LossMeans((2, 1))
    means.update_state({"bce": 1.0, "kl/1/0": float("inf"), "l2/1": float("nan")}, 4)
    trainer.model.loss_means.terms = means.terms
    trainer.step = lambda batch: means.result()
    with pytest.raises(UserError, match="The kl loss of node 1/0 is inf at step 1: the run stops"):
        trainer.train()


def test_weights_that_are_not_finite_are_told_where_the_loss_was_still_good(data, tmp_path, eager):
    class Poison(RunCallback):
        def on_train_batch_end(self, batch, logs=None):
            if self.trainer.state["step"] == 2:
                weight = self.model.trainable_variables[0]
                weight.assign(weight * float("nan"))

    trainer = tiny.trainer(data, tmp_path, tiny.run(max_steps=3), [Poison()], checkpoint_steps=1)
    with pytest.raises(UserError, match="The weight .*_kernel is not finite at step 2"):
        trainer.train()
    assert checkpoint_store.steps(tmp_path) == [1]


def test_checkpoints_at_the_interval_and_at_the_end(data, tmp_path, eager):
    tiny.trainer(data, tmp_path, tiny.run(max_steps=7), checkpoint_steps=2, keep_checkpoints=3).train()
    assert checkpoint_store.steps(tmp_path) == [4, 6, 7]


def test_the_default_interval_waits_until_the_last_checkpoint_is_a_small_share(data, tmp_path):
    due = Checkpoints()
    due.trainer = tiny.trainer(data, tmp_path, tiny.run(max_steps=7))
    due.trainer.state["step"] = 1000
    assert due.due()
    due.last_cost = 5.0
    assert not due.due()
    due.last_time -= 251
    assert due.due()
    due.trainer.state["step"] = 1001
    assert not due.due()


def test_start_new_model_removes_the_run_and_nothing_else(data, tmp_path, eager):
    tiny.trainer(data, tmp_path, tiny.run(max_steps=3, seed=1)).train()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(
        UserError,
        match=r"another configuration, it differs in seed \(there 1, now 2\); .*"
        "--start_new_model",
    ):
        tiny.trainer(data, tmp_path, tiny.run(max_steps=2, seed=2))
    tiny.trainer(data, tmp_path, tiny.run(max_steps=2, seed=2), start_new_model=True).train()
    assert checkpoint_store.steps(tmp_path) == [2]
    assert [line["step"] for line in read_history(tmp_path)] == [2]
    assert Run.load(tmp_path).seed == 2 and (tmp_path / "notes.txt").read_text() == "mine"


def test_a_killed_start_anew_leaves_a_run_that_can_be_started(data, tmp_path, eager, monkeypatch):
    tiny.trainer(data, tmp_path, tiny.run(max_steps=3), checkpoint_steps=1).train()
    from youtube8m_mod import files

    remove, removed = files.remove, []
    for deaths in range(1, 5):

        def dying_remove(path):
            if len(removed) == deaths:
                raise KeyboardInterrupt
            removed.append(path)
            remove(path)

        removed.clear()
        monkeypatch.setattr(files, "remove", dying_remove)
        with pytest.raises(KeyboardInterrupt):
            tiny.trainer(data, tmp_path, tiny.run(max_steps=3), start_new_model=True)
        monkeypatch.undo()
        assert tiny.trainer(data, tmp_path, tiny.run(max_steps=3), checkpoint_steps=1).train()["step"] == 3


def test_a_longer_run_goes_on(data, five_steps, tmp_path, eager):
    tiny.trainer(data, tmp_path, tiny.run(max_steps=4)).train()
    tiny.trainer(data, tmp_path, tiny.run(max_steps=5)).train()
    tiny.assert_same(tiny.stored(five_steps, 5), tiny.stored(tmp_path, 5))


def test_a_run_beyond_its_end_does_not_go_on(data, tmp_path, eager):
    tiny.trainer(data, tmp_path, tiny.run(max_steps=4)).train()
    before = tiny.stored(tmp_path, 4)
    assert tiny.trainer(data, tmp_path, tiny.run(max_steps=2)).train()["step"] == 4
    assert checkpoint_store.steps(tmp_path) == [4]
    tiny.assert_same(tiny.stored(tmp_path, 4), before)


def test_a_run_does_not_start_from_its_own_train_dir(data, tmp_path, eager):
    tiny.trainer(data, tmp_path / "run", tiny.run(max_steps=1)).train()
    started = tiny.run("finetune", max_steps=1)
    started.started_from = f"{tmp_path}/other/../run/"
    with pytest.raises(UserError, match="needs a --train_dir of its own"):
        tiny.trainer(data, tmp_path / "run", started, start_new_model=True)
    assert checkpoint_store.steps(tmp_path / "run") == [1]


def test_a_damaged_newest_checkpoint_costs_only_its_steps(data, tmp_path, eager, capsys):
    tiny.trainer(data, tmp_path / "whole", tiny.run(max_steps=6)).train()
    tiny.trainer(data, tmp_path / "damaged", tiny.run(max_steps=5), checkpoint_steps=2).train()
    path = tmp_path / "damaged" / "checkpoint-00000005" / "variables.data-00000-of-00001"
    path.write_bytes(path.read_bytes()[:-7])
    tiny.trainer(data, tmp_path / "damaged", tiny.run(max_steps=6)).train()
    assert "checkpoint-00000005 is damaged" in capsys.readouterr().err
    tiny.assert_same(tiny.stored(tmp_path / "whole", 6), tiny.stored(tmp_path / "damaged", 6))


def test_a_corrupt_record_stops_the_run_with_file_and_offset(data, tmp_path, eager):
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    path = copy / "train-00001-of-00003.tfrecord"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + b"\xff" + content[len(content) // 2 + 1 :])
    with pytest.raises(UserError, match=r"train-00001-of-00003.tfrecord, record 2: its checksum is wrong at byte \d"):
        tiny.trainer(copy, tmp_path / "run", tiny.run(max_steps=9), checkpoint_steps=1).train()
    path.write_bytes(content)
    tiny.trainer(copy, tmp_path / "run", tiny.run(max_steps=5), checkpoint_steps=1).train()
    tiny.trainer(data, tmp_path / "whole", tiny.run(max_steps=5)).train()
    tiny.assert_same(tiny.stored(tmp_path / "whole", 5), tiny.stored(tmp_path / "run", 5))


def test_checkpoints_without_run_json_are_refused(data, tmp_path, eager):
    tiny.trainer(data, tmp_path, tiny.run(max_steps=2)).train()
    os.remove(tmp_path / "run.json")
    with pytest.raises(UserError, match="holds checkpoints but no run.json"):
        tiny.trainer(data, tmp_path, tiny.run(max_steps=2))


@pytest.mark.parametrize("line", ["", "{", "[1]", '{"loss": 1.0}', '{"step": 1, "loss": "x"}', "\xff"])
def test_a_damaged_log_is_told_by_line(tmp_path, line):
    (tmp_path / "history.jsonl").write_bytes(b'{"step": 1, "loss": 2.0}\n' + line.encode("latin-1") + b"\n")
    with pytest.raises(UserError, match="history.jsonl, line 2, must be a JSON object of numbers with a step"):
        read_history(tmp_path)


@pytest.mark.parametrize("seed", [-1, 2**31, 1.5, True])
def test_a_seed_that_cannot_be(seed):
    with pytest.raises(UserError, match="seed must be an integer from 0 to 2147483647, got"):
        tiny.run(max_steps=1, seed=seed)


@pytest.mark.parametrize("name", ["checkpoint_steps", "keep_checkpoints", "log_steps"])
def test_options_are_at_least_one(name):
    with pytest.raises(UserError, match=f"{name} must be at least 1, got 0"):
        TrainingOptions(**{name: 0})


def test_no_end(data, tmp_path):
    with pytest.raises(UserError, match="needs an end: num_epochs or max_steps"):
        tiny.trainer(data, tmp_path, tiny.run())
