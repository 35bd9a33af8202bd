"""Callbacks of a run: Keras' own, those that know the trainer, and what stops a run early."""

import csv

import keras
import pytest

from tests.training import tiny
from youtube8m_mod.training import checkpoint_store
from youtube8m_mod.training.callbacks import RunCallback
from youtube8m_mod.training.history import read_history

pytestmark = pytest.mark.filterwarnings("ignore:Even though")  # The data's functions stay graphs.


class Witness(RunCallback):
    """What a run calls, in order, with its step."""

    def __init__(self):
        super().__init__()
        self.calls, self.losses = [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(f"begin {epoch}")

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append(f"end {epoch}")
        assert logs["loss"] > 0

    def on_train_batch_begin(self, batch, logs=None):
        assert len(self.trainer.batch["ids"]) == 4

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(self.trainer.state["step"])
        self.losses.append(logs["loss"])

    def on_checkpoint(self, step):
        self.calls.append(f"checkpoint {step}")

    def on_train_end(self, logs=None):
        self.calls.append("end of training")

    def close(self):
        self.calls.append("closed")


class StopAt(keras.callbacks.Callback):
    """Stops a run at the end of a batch or of an epoch, as `EarlyStopping` does."""

    def __init__(self, hook, number):
        super().__init__()
        setattr(self, hook, lambda reached, logs=None: self.stop(reached == number))

    def stop(self, reached):
        self.model.stop_training = self.model.stop_training or reached


def test_hooks_in_their_order(data, tmp_path, eager):
    witness = Witness()
    # 14 videos: the third batch of a pass has one of the next pass, and so on.
    tiny.trainer(data, tmp_path, tiny.run(max_steps=5), [witness], checkpoint_steps=2, log_steps=1).train()
    assert witness.calls == [
        *("begin 0", 1, 2, "checkpoint 2", 3, "end 0"),
        *("begin 1", 4, "checkpoint 4", 5, "end 1", "end of training", "checkpoint 5", "closed"),
    ]
    assert witness.losses == [line["loss"] for line in read_history(tmp_path)]


def test_closed_after_an_error(data, tmp_path, eager):
    class Broken(RunCallback):
        def on_train_batch_end(self, batch, logs=None):
            raise RuntimeError("broken")

    witness = Witness()
    with pytest.raises(RuntimeError, match="broken"):
        tiny.trainer(data, tmp_path, tiny.run(max_steps=5), [Broken(), witness]).train()
    assert witness.calls == ["begin 0", "closed"]


@pytest.mark.parametrize("hook, number, step", [("on_train_batch_end", 1, 2), ("on_epoch_end", 0, 3)])
def test_stop_training_ends_the_run_with_a_checkpoint(data, five_steps, tmp_path, eager, hook, number, step):
    stopped = tiny.trainer(data, tmp_path / "stopped", tiny.run(max_steps=5), [StopAt(hook, number)]).train()
    assert stopped["step"] == step and checkpoint_store.steps(tmp_path / "stopped") == [step]
    assert read_history(tmp_path / "stopped")[-1]["step"] == step
    tiny.trainer(data, tmp_path / "stopped", tiny.run(max_steps=5)).train()
    tiny.assert_same(tiny.stored(five_steps, 5), tiny.stored(tmp_path / "stopped", 5))


def test_keras_callbacks(data, tmp_path, eager):
    path = tmp_path / "log.csv"
    own = [
        keras.callbacks.CSVLogger(path),
        keras.callbacks.ModelCheckpoint(str(tmp_path / "{epoch}.keras")),
        keras.callbacks.EarlyStopping("loss", patience=0, min_delta=1e9),
    ]
    tiny.trainer(data, tmp_path / "run", tiny.run(num_epochs=6), own).train()
    with open(path) as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"] and float(rows[0]["loss"]) > 0
    assert (tmp_path / "2.keras").exists() and not (tmp_path / "3.keras").exists()
