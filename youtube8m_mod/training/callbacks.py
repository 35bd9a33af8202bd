"""What a `Trainer` does beside the steps, each as a callback: logs, checkpoints, reports, reasons to stop."""

import contextlib
import signal
import time

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from youtube8m_mod import losses
from youtube8m_mod.errors import Stopped, UserError
from youtube8m_mod.terminal import progress
from youtube8m_mod.training import placement_report
from youtube8m_mod.training.history import History, Interval

DEFAULT_CHECKPOINT_STEPS = 1000
_CHECKPOINT_SHARE = 0.02  # Of the time, at the default interval.


class RunCallback(keras.callbacks.Callback):
    """A Keras callback that knows the `Trainer` which calls it, with two hooks more.

    Of Keras' hooks a `Trainer` calls those of training: a batch is a step, an epoch a pass over the data; the logs of
    a batch are the losses of its step.

    Attributes:
        trainer: the `Trainer`. Of interest are its `run`, `train_dir`, `options`, `model`, `batch` (that of the step)
            and `state` (the place in the run after the last step that was taken).
    """

    trainer = None

    def on_checkpoint(self, step):
        """A checkpoint was written."""

    def close(self):
        """The run ends, in whatever way."""


class StopOnNonFinite(RunCallback):
    """Ends the run with a `UserError` that names the first loss term that is not finite."""

    def on_train_batch_end(self, batch, logs=None):
        if np.all(np.isfinite(list(logs.values()))):
            return
        terms = {name: float(value) for name, value in self.model.loss_means.terms().items()}
        name, value = next((name, value) for name, value in terms.items() if not np.isfinite(value))
        kind, path = losses.split_term_name(name)
        raise UserError(
            f"The {kind} loss of {f'node {path}' if path else 'the root'} is {value} at step "
            f"{self.trainer.state['step']}: the run stops, and the checkpoints before that step stay; a run with a "
            "lower --base_learning_rate, in another --train_dir or with --start_new_model, may do better."
        )


class RatedClasses(RunCallback):
    """Notes in the run which classes its segments rate."""

    def on_train_batch_end(self, batch, logs=None):
        if "label_weights" in self.trainer.batch:
            rated = np.flatnonzero(self.trainer.batch["label_weights"].numpy().any(axis=0)).tolist()
            self.trainer.run.classes = sorted({*(self.trainer.run.classes or ()), *rated})


class HistoryLog(RunCallback):
    """Averages of the losses every `log_steps` steps and at the end: in `history.jsonl` and for TensorBoard.

    Attributes:
        averages: those of the last line; None before there is one.
    """

    def on_train_begin(self, logs=None):
        state = self.trainer.state
        self.history = History(self.trainer.train_dir, state["step"])
        self.averages, self.interval = self.history.last, Interval(state["interval"])

    def on_train_batch_end(self, batch, logs=None):
        self.interval.add(logs, len(self.trainer.batch["labels"]))
        if self.trainer.state["step"] % self.trainer.options.log_steps == 0:
            self._write()

    def on_train_end(self, logs=None):
        lines = self.history.lines
        if self.interval.sums and (not lines or lines[-1]["step"] < self.trainer.state["step"]):
            self._write()

    def close(self):
        if hasattr(self, "history"):
            self.history.close()

    def _write(self):
        state = self.trainer.state
        rate = float(self.model.optimizer.learning_rate)
        self.averages = self.interval.averages() | {"learning_rate": rate, "epoch": state["epoch"]}
        self.history.add(state["step"], self.averages)
        state["interval"] = {}
        self.interval = Interval(state["interval"])


class ProgressLine(RunCallback):
    """Steps, rate, remaining time and the last averages of a `HistoryLog` in the terminal."""

    def __init__(self, log):
        super().__init__()
        self.log = log

    def on_train_begin(self, logs=None):
        phase, step = self.trainer.run.phase, self.trainer.state["step"]
        self.bar = progress(total=phase.max_steps, initial=step, unit="step", description=phase.name)

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update()
        if self.trainer.state["step"] % self.trainer.options.log_steps == 0:
            self.bar.set_postfix({name: f"{self.log.averages[name]:.4g}" for name in logs})

    def close(self):
        if hasattr(self, "bar"):
            self.bar.close()


class PlacementReport(RunCallback):
    """Tells in the first step where everything lies: a table, and `placement.json`; see `placement_report.reported`."""

    def __init__(self):
        super().__init__()
        self.first_step = contextlib.ExitStack()
        self.reported = False

    def on_train_batch_begin(self, batch, logs=None):
        if not self.reported and not tf.config.functions_run_eagerly():  # Eagerly there is no graph to look at.
            trainer = self.trainer
            table = placement_report.start_table(self.model, trainer.step.graph(trainer.batch))
            tqdm.write(table)  # Beside the progress line.
            path = f"{trainer.train_dir}/placement.json"
            self.first_step.enter_context(placement_report.reported(self.model, path))
        self.reported = True

    def on_train_batch_end(self, batch, logs=None):
        self.first_step.close()

    def close(self):
        self.first_step.pop_all()  # A first step that failed is not reported.


class StopOnSignal(RunCallback):
    """SIGTERM and Ctrl-C let the step end and a checkpoint be written; a second Ctrl-C stops at once."""

    def __init__(self):
        super().__init__()
        self.received, self.previous = None, {}

    def on_train_begin(self, logs=None):
        with contextlib.suppress(ValueError):  # Not the main thread: signals are somebody else's.
            for number in (signal.SIGTERM, signal.SIGINT):
                self.previous[number] = signal.signal(number, self._note)

    def on_train_batch_end(self, batch, logs=None):
        trainer = self.trainer
        step = trainer.state["step"]
        if self.received and step != trainer.run.phase.max_steps:
            trainer.save_checkpoint()
            raise Stopped(
                f"{signal.Signals(self.received).name} received: step {step} is done and its checkpoint is in "
                f"{trainer.train_dir}; the same command goes on from there.",
                self.received,
            )

    def close(self):
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _note(self, number, _):
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number


class Checkpoints(RunCallback):
    """A checkpoint every `checkpoint_steps` steps, and at the end."""

    def __init__(self):
        super().__init__()
        self.last_time, self.last_cost = time.monotonic(), 0.0

    def due(self):
        """Whether it is time for one; at the default interval not before the last one's cost is a small share."""
        step, interval = self.trainer.state["step"], self.trainer.options.checkpoint_steps
        if interval:
            return step % interval == 0
        share_is_small = self.last_cost <= _CHECKPOINT_SHARE * (time.monotonic() - self.last_time)
        return step % DEFAULT_CHECKPOINT_STEPS == 0 and share_is_small

    def on_train_batch_end(self, batch, logs=None):
        if self.due():
            before = self.trainer.checkpoint_seconds
            self.trainer.save_checkpoint()
            self.last_time, self.last_cost = time.monotonic(), self.trainer.checkpoint_seconds - before

    def on_train_end(self, logs=None):
        self.trainer.save_checkpoint()
