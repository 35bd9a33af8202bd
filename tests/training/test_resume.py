"""A run that was killed and started again is the run that was never interrupted."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks import kill_and_resume
from tests.training import tiny
from youtube8m_mod import files
from youtube8m_mod.errors import Stopped
from youtube8m_mod.training import checkpoint_store, checkpoints
from youtube8m_mod.training.callbacks import RunCallback
from youtube8m_mod.training.history import read_history

pytestmark = pytest.mark.filterwarnings("ignore:Even though")  # The data's functions stay graphs.


class Killed(BaseException):
    """What nobody handles: the nearest that a process can do to itself."""


class KilledAt(RunCallback):
    """Dies in a step, before or after its update of the weights; `seen` are the ids of each step."""

    def __init__(self, step, after_update):
        super().__init__()
        self.step, self.after_update, self.seen = step, after_update, []

    def on_train_batch_begin(self, batch, logs=None):
        step = self.trainer.state["step"] + 1
        self.seen.append((step, sorted(self.trainer.batch["ids"].numpy().tolist())))
        if step == self.step and not self.after_update:
            raise Killed

    def on_train_batch_end(self, batch, logs=None):
        if self.trainer.state["step"] == self.step:
            raise Killed


class SignalledAt(RunCallback):
    """Sends this process a signal in a step."""

    def __init__(self, step, number):
        super().__init__()
        self.step, self.number = step, number

    def on_train_batch_begin(self, batch, logs=None):
        if self.trainer.state["step"] + 1 == self.step:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    "case",
    [
        dict(model=("branching=2",), name="mix_nextvlad_tiny", max_steps=7),
        dict(name="dbof_tiny", max_steps=7),
        dict(phase="finetune", num_epochs=3),
    ],
    ids=["mixture", "dbof", "segments to the end of the epochs"],
)
def test_resumed_run_equals_uninterrupted_run(data, tmp_path, eager, case):
    result = tiny.trainer(data, tmp_path / "whole", tiny.run(**case), checkpoint_steps=2).train()
    last = result["step"]
    assert last >= 7
    seen = []
    for number, step in enumerate((1, 4, 7, None)):
        killed = KilledAt(step, after_update=number % 2)
        trainer = tiny.trainer(data, tmp_path / "killed", tiny.run(**case), [killed], checkpoint_steps=2)
        with contextlib.suppress(Killed):
            trainer.train()
        seen += killed.seen
    tiny.assert_same(tiny.stored(tmp_path / "whole", last), tiny.stored(tmp_path / "killed", last))
    folders = [f"{tmp_path}/{name}/checkpoint-{last:08d}/state.json" for name in ("whole", "killed")]
    assert files.read_json(folders[0]) == files.read_json(folders[1])
    assert len(seen) > last and len({str(step) for step in seen}) == last  # A step taken again saw the same records.
    for whole, killed in zip(read_history(tmp_path / "whole"), read_history(tmp_path / "killed"), strict=True):
        assert whole | {"examples_per_second": 0} == killed | {"examples_per_second": 0}
    assert files.read_json(f"{tmp_path}/whole/run.json") == files.read_json(f"{tmp_path}/killed/run.json")


def test_sigkill_in_a_real_process(capfd):
    assert kill_and_resume.main(["--kills=1", "--steps=8", "--branching=2", "--seed=4"]) == 0
    result = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert result["kills"] == 1 and result["tensors"] > 100 and result["tensors_that_differ"] == 0


def test_sigterm_writes_a_checkpoint_and_says_how_to_go_on(data, tmp_path):
    train_dir = tmp_path / "run"
    process = subprocess.Popen(
        [
            sys.executable,
            "train.py",
            f"--train_data_pattern={data}/train-*.tfrecord",
            f"--train_dir={train_dir}",
            "--model=nextvlad_tiny",
            "--rgb_eigenvalues=none",
            "--batch_size=4",
            "--log_steps=1",
            *(f"--set={text}" for text in tiny.MODEL),
        ],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"},
    )
    while not os.path.exists(train_dir / "history.jsonl") and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    stderr = process.communicate()[1]
    assert process.returncode == 128 + signal.SIGTERM
    (step,) = checkpoint_store.steps(train_dir)
    assert (
        f"stopped: SIGTERM received: step {step} is done and its checkpoint is in {train_dir}; the same command "
        "goes on from there." in stderr.splitlines()
    )
    assert "Traceback" not in stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_step_and_the_run_goes_on_from_there(data, five_steps, tmp_path, eager, number):
    trainer = tiny.trainer(data, tmp_path / "stopped", tiny.run(max_steps=5), [SignalledAt(3, number)])
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(Stopped, match="step 3 is done") as caught:
        trainer.train()
    assert caught.value.exit_code == 128 + number
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    assert checkpoint_store.steps(tmp_path / "stopped") == [3]
    tiny.trainer(data, tmp_path / "stopped", tiny.run(max_steps=5)).train()
    tiny.assert_same(tiny.stored(five_steps, 5), tiny.stored(tmp_path / "stopped", 5))


def test_a_signal_in_the_last_step_is_no_reason_to_stop(data, tmp_path, eager):
    trainer = tiny.trainer(data, tmp_path, tiny.run(max_steps=2), [SignalledAt(2, signal.SIGTERM)])
    assert trainer.train()["step"] == 2


def test_a_finished_run_stays_as_it_is(data, tmp_path, eager):
    first = tiny.trainer(data, tmp_path, tiny.run(max_steps=4)).train()
    before = tiny.stored(tmp_path, 4), (tmp_path / "history.jsonl").read_text()
    second = tiny.trainer(data, tmp_path, tiny.run(max_steps=4)).train()
    tiny.assert_same(before[0], tiny.stored(tmp_path, 4))
    assert (tmp_path / "history.jsonl").read_text() == before[1]
    assert second["loss"] == first["loss"]


def test_killed_before_the_first_checkpoint(data, tmp_path, eager):
    tiny.trainer(data, tmp_path / "whole", tiny.run(max_steps=2)).train()
    tiny.trainer(data, tmp_path / "killed", tiny.run(max_steps=2))  # Wrote run.json, and no more.
    assert (tmp_path / "killed" / "run.json").exists() and not checkpoint_store.steps(tmp_path / "killed")
    tiny.trainer(data, tmp_path / "killed", tiny.run(max_steps=2)).train()
    tiny.assert_same(tiny.stored(tmp_path / "whole", 2), tiny.stored(tmp_path / "killed", 2))


def test_what_a_checkpoint_overwrites_is_not_drawn(data, tmp_path, eager, monkeypatch):
    tiny.trainer(data, tmp_path / "run", tiny.run(max_steps=1)).train()

    def refuse(*args, **kwargs):
        raise AssertionError("a number was drawn")

    monkeypatch.setattr("youtube8m_mod.layers.initializers._truncated_normal", refuse)
    with pytest.raises(AssertionError, match="a number was drawn"):
        tiny.trainer(data, tmp_path / "new", tiny.run(max_steps=1))
    resumed = tiny.trainer(data, tmp_path / "run", tiny.run(max_steps=2))
    started = tiny.trainer(
        data, tmp_path / "next", dataclasses.replace(tiny.run(max_steps=1), started_from=f"{tmp_path}/run")
    )
    loaded, _ = checkpoints.load_model(f"{tmp_path}/run")
    kernels = [model.root.hidden.kernel.numpy() for model in (resumed.model, started.model, loaded)]
    assert np.abs(kernels[0]).min() > 0 and all(np.array_equal(kernel, kernels[0]) for kernel in kernels)
