"""What a `Trainer` does beside the steps, each as a callback: logs, checkpoints, reports, reasons to stop."""

import contextlib
import math
import signal
import time
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from youtube8m_mod import losses
from youtube8m_mod.data.estimate import estimated_examples
from youtube8m_mod.errors import Stopped, UserError
from youtube8m_mod.terminal import progress
from youtube8m_mod.training import placement_report
from youtube8m_mod.training.history import History, Interval

if TYPE_CHECKING:
    from youtube8m_mod.training.validation import Validation

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

    def on_checkpoint(self, step: int) -> None:
        """A checkpoint was written."""

    def close(self) -> None:
        """The run ends, in whatever way."""


class StopOnNonFinite(RunCallback):
    """Ends the run with a `UserError` that names the first loss term that is not finite."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
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

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if "label_weights" in self.trainer.batch:
            rated = np.flatnonzero(self.trainer.batch["label_weights"].numpy().any(axis=0)).tolist()
            self.trainer.run.classes = sorted({*(self.trainer.run.classes or ()), *rated})


class HistoryLog(RunCallback):
    """Averages of the losses every `log_steps` steps and at the end: in `history.jsonl` and for TensorBoard.

    Args:
        validation: a `Validation` earlier in the list, whose scores are part of the line of their step; or None.

    Attributes:
        averages: those of the last line; None before there is one.
    """

    def __init__(self, validation: "Validation | None" = None):
        super().__init__()
        self.validation = validation

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        state = self.trainer.state
        self.history = History(self.trainer.train_dir, state["step"])
        self.averages, self.interval = self.history.last, Interval(state["interval"])

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        logs = {"loss": logs["loss"]} | logs  # Keras sorts them.
        self.interval.add(logs, len(self.trainer.batch["labels"]))
        if self.trainer.state["step"] % self.trainer.options.log_steps == 0 or self.scores:
            self._write(self.scores)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        lines = self.history.lines
        if self.interval.sums and (not lines or lines[-1]["step"] < self.trainer.state["step"]):
            self._write(self.scores)
        elif self.scores and lines:  # The step was logged before it was known to be the last.
            self.history.extend(self.scores)
            self.averages = self.averages | self.scores

    @property
    def scores(self) -> dict[str, float] | None:
        """The validation's scores of the step, where it was scored."""
        return self.validation.scores if self.validation else None

    def close(self) -> None:
        if hasattr(self, "history"):
            self.history.close()

    def _write(self, scores=None):
        state = self.trainer.state
        rate = float(self.model.optimizer.learning_rate)
        self.averages = self.interval.averages() | {"learning_rate": rate, "epoch": state["epoch"]} | (scores or {})
        self.history.add(state["step"], self.averages)
        state["interval"] = {}
        self.interval = Interval(state["interval"])


class ProgressLine(RunCallback):
    """Pass, steps, rate, remaining time, the last averages of a `HistoryLog` and the last score in the terminal.

    How many steps a run by passes takes is estimated from the sizes of the files, and known from the second pass on.
    """

    def __init__(self, log: HistoryLog):
        super().__init__()
        self.log, self.shown = log, {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        phase, state = self.trainer.run.phase, self.trainer.state
        paths = getattr(self.trainer.reader, "paths", None) if phase.num_epochs else None
        self.estimate = estimated_examples(paths, phase.segments) if paths else None
        self.bar = progress(total=self._total(), initial=state["step"], unit="step", description=self._description())

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.bar.update()
        if self.trainer.state["step"] % self.trainer.options.log_steps == 0 or self.log.scores:
            if self.log.scores:
                name = self.log.validation.best_name
                self.shown = {name: f"{self.log.scores[f'val_{name}']:.4f}"}
            self.bar.total = self._total()
            self.bar.set_description(self._description(), refresh=False)
            self.bar.set_postfix({name: f"{self.log.averages[name]:.4g}" for name in logs} | self.shown)

    def _description(self):
        phase, state = self.trainer.run.phase, self.trainer.state
        if phase.num_epochs is None:
            return phase.name
        return f"{phase.name}, pass {min(state['epoch'] + 1, phase.num_epochs)}/{phase.num_epochs}"

    def _total(self):
        """Steps of the whole run; None where they are not known yet."""
        phase, state = self.trainer.run.phase, self.trainer.state
        if phase.num_epochs is None:
            return phase.max_steps
        if state["epoch"]:
            examples = (state["examples"] - state["place"]) / state["epoch"]
        elif self.estimate:
            examples = max(self.estimate, state["place"])
        else:
            return phase.max_steps
        steps = math.ceil(examples * phase.num_epochs / phase.batch_size)
        return steps if phase.max_steps is None else min(steps, phase.max_steps)

    def close(self) -> None:
        if hasattr(self, "bar"):
            self.bar.close()


class PlacementReport(RunCallback):
    """Shows in the first step where everything lies: a table, and `placement.json`; see `placement_report.reported`."""

    def __init__(self):
        super().__init__()
        self.first_step = contextlib.ExitStack()
        self.reported = False

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if not self.reported and not tf.config.functions_run_eagerly():  # Eagerly there is no graph to look at.
            trainer = self.trainer
            table = placement_report.start_table(self.model, trainer.step.graph(trainer.batch))
            tqdm.write(table)  # Beside the progress line.
            path = f"{trainer.train_dir}/placement.json"
            self.first_step.enter_context(placement_report.reported(self.model, path))
        self.reported = True

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.first_step.close()

    def close(self) -> None:
        self.first_step.pop_all()  # A first step that failed is not reported.


class StopOnSignal(RunCallback):
    """SIGTERM and Ctrl-C let the step end and a checkpoint be written; a second Ctrl-C stops at once."""

    def __init__(self):
        super().__init__()
        self.received, self.previous = None, {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        with contextlib.suppress(ValueError):  # Not the main thread: signals are somebody else's.
            for number in (signal.SIGTERM, signal.SIGINT):
                self.previous[number] = signal.signal(number, self._note)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        trainer = self.trainer
        step = trainer.state["step"]
        if self.received and step != trainer.run.phase.max_steps:
            trainer.save_checkpoint()
            raise Stopped(
                f"{signal.Signals(self.received).name} received: step {step} is done and its checkpoint is in "
                f"{trainer.train_dir}; the same command goes on from there.",
                self.received,
            )

    def close(self) -> None:
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

    def due(self) -> bool:
        """Whether it is time for one; at the default interval not before the last one's cost is a small share."""
        step, interval = self.trainer.state["step"], self.trainer.options.checkpoint_steps
        if interval:
            return step % interval == 0
        share_is_small = self.last_cost <= _CHECKPOINT_SHARE * (time.monotonic() - self.last_time)
        return step % DEFAULT_CHECKPOINT_STEPS == 0 and share_is_small

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.due():
            before = self.trainer.checkpoint_seconds
            self.trainer.save_checkpoint()
            self.last_time, self.last_cost = time.monotonic(), self.trainer.checkpoint_seconds - before

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.trainer.save_checkpoint()
