"""The training loop of both phases: steps, logs, checkpoints, exact resume."""

import contextlib
import dataclasses
import signal
import time

import numpy as np
import tensorflow as tf

from youtube8m_mod import files, losses
from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.distribution.placement import Placement
from youtube8m_mod.errors import Stopped, UserError
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.models.size import check_memory
from youtube8m_mod.terminal import progress
from youtube8m_mod.training import checkpoints, examples
from youtube8m_mod.training.history import History, Interval
from youtube8m_mod.training.optimizer import optimizer_of
from youtube8m_mod.training.placement_report import ReportedStep
from youtube8m_mod.training.train_dir import note_start, prepare

DEFAULT_CHECKPOINT_STEPS = 1000
_CHECKPOINT_SHARE = 0.02  # Of the time, at the default interval.


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """How a run is carried out; nothing here changes its numbers.

    Attributes:
        checkpoint_steps: a checkpoint every so many steps, and one at the end; None: every 1000 steps, or more
            where that would take more than 2% of the time.
        keep_checkpoints: newest checkpoints to keep.
        log_steps: a line of averages every so many steps.
        start_new_model: begin anew, removing what the train_dir holds.
        skip_bad_records: count and skip bad records in place of stopping.
        accept_changed_data: go on with other training files than those that the run in the train_dir began with.
        eigenvalues: path of the PCA eigenvalues; None: a scale of one.
    """

    checkpoint_steps: int | None = None
    keep_checkpoints: int = 3
    log_steps: int = 100
    start_new_model: bool = False
    skip_bad_records: bool = False
    accept_changed_data: bool = False
    eigenvalues: str | None = None

    def __post_init__(self):
        for name in ("checkpoint_steps", "keep_checkpoints", "log_steps"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}.")


class Trainer:
    """Trains the model of a run in its train_dir, from its last checkpoint where there is one.

    Killed at any moment and started again, it ends with the weights of a run that was never interrupted: a checkpoint
    holds model, optimizer, dropout's random state, and the place in the data.

    Args:
        run: a `Run`.
        train_dir: where run.json, checkpoints, history.jsonl and TensorBoard's events go.
        data_pattern: glob of training records, or what reads them as a `Reader` does.
        options: `TrainingOptions`.
        placement: a `Placement`; None leaves it to TensorFlow.
    """

    def __init__(self, run, train_dir, data_pattern, options=TrainingOptions(), placement=None):
        self.run, self.train_dir, self.options = run, files.expand(train_dir), options
        if run.phase.num_epochs is None and run.phase.max_steps is None:
            raise UserError("Training needs an end: num_epochs or max_steps.")
        placement, phase = placement or Placement(), run.phase
        placement.check_batch_size(phase.batch_size)
        if not placement.cluster:
            check_memory(run.model, 3, phase.batch_size, SEGMENT_FRAMES if phase.segments else run.model.max_frames)
        self.reader = (
            data_pattern
            if hasattr(data_pattern, "read")
            else Reader(data_pattern, run.model, segments=run.phase.segments, skip_bad_records=options.skip_bad_records)
        )
        self.lock = prepare(run, self.train_dir, options, getattr(self.reader, "paths", None))
        checkpoints.seed_everything(run.seed)
        with placement.variables():
            self.model = MOD.for_phase(run.model, phase, placement, run.precision, run.seed)
            self.optimizer = optimizer_of(phase)
            self.model.compile(self.optimizer)
        self.state = self._initial_state()
        self.step_function = ReportedStep(
            placement.step(self._train_step), self.model, self.optimizer, f"{self.train_dir}/placement.json"
        )
        self.checkpoint_seconds = 0.0
        self._last_checkpoint, self._last_cost = time.monotonic(), 0.0
        self._stop_signal = None

    def train(self):
        """Trains to the end of the run.

        Returns:
            {"step", "seconds", "checkpoint_seconds", and the last logged averages}.

        Raises:
            UserError: on bad data or a loss that is not finite.
            Stopped: after SIGTERM or Ctrl-C, when the checkpoint is written.
        """
        started, first_step = time.monotonic(), self.state["step"]
        max_steps = self.run.phase.max_steps
        bar = progress(total=max_steps, initial=first_step, unit="step", description=self.run.phase.name)
        with self.lock, bar, History(self.train_dir, first_step) as history, self._signals():
            averages = history.last
            interval = Interval(self.state["interval"])
            for batch in examples.batches(self.reader, self.run.phase, self.run.seed, self.state):
                interval.add(self._run_step(batch), len(batch["labels"]))
                bar.update()
                if self.state["step"] % self.options.log_steps == 0:
                    averages, interval = self._log(interval, history)
                    bar.set_postfix({name: f"{averages[name]:.4g}" for name in self.model.loss_means.result()})
                if self._stop_signal and self.state["step"] != max_steps:
                    self._stop()
                if self._checkpoint_due():
                    self._save()
            if interval.sums and (not history.lines or history.lines[-1]["step"] < self.state["step"]):
                averages, interval = self._log(interval, history)
            self._save()
        return {
            "step": self.state["step"],
            "seconds": time.monotonic() - started,
            "checkpoint_seconds": self.checkpoint_seconds,
            **(averages or {}),
        }

    def _initial_state(self):
        """The state of the last checkpoint; without one, that of a new run."""
        state = checkpoints.restore_latest(self.train_dir, self.model, self.optimizer)
        self._saved_step = state and state["step"]
        if state is not None:
            return state
        if self.run.started_from:
            started = checkpoints.restore_latest(self.run.started_from, self.model, self.optimizer, carry_step=False)
            if started is None:
                raise UserError(f"{self.run.started_from} holds no checkpoint to start from.")
            note_start(self.run, self.train_dir, started["step"])
        elif self.options.eigenvalues:
            checkpoints.set_eigenvalues(self.model, self.options.eigenvalues)
        return checkpoints.new_state()

    def _train_step(self, batch):
        self.model.reset_metrics()  # The logs are those of the step.
        return self.model.train_step(batch)

    def _run_step(self, batch):
        """One step; returns its loss terms as a dict of numbers, after a look at each of them."""
        try:
            logs = {name: float(value) for name, value in self.step_function(batch).items()}
        except tf.errors.ResourceExhaustedError as error:
            raise UserError(
                f"Memory is short at step {self.state['step']}: {error.message.splitlines()[0]}; a smaller "
                "--batch_size or more devices may help."
            ) from error
        if not np.all(np.isfinite(list(logs.values()))):
            terms = {name: float(value) for name, value in self.model.loss_means.terms().items()}
            (kind, path), value = next(
                (losses.split_term_name(name), value) for name, value in terms.items() if not np.isfinite(value)
            )
            raise UserError(
                f"The {kind} loss of {f'node {path}' if path else 'the root'} is {value} at "
                f"step {self.state['step']}: the run stops, and the checkpoints before that step stay; a run with a "
                "lower --base_learning_rate, in another --train_dir or with --start_new_model, may do better."
            )
        if "label_weights" in batch:
            rated = np.flatnonzero(batch["label_weights"].numpy().any(axis=0)).tolist()
            self.run.classes = sorted({*(self.run.classes or ()), *rated})
        return logs

    def _log(self, interval, history):
        """Writes the line of an interval; returns its averages and the interval that begins."""
        rate = float(self.optimizer.learning_rate)
        averages = interval.averages() | {"learning_rate": rate, "epoch": self.state["epoch"]}
        history.add(self.state["step"], averages)
        self.state["interval"] = {}
        return averages, Interval(self.state["interval"])

    def _checkpoint_due(self):
        """Whether it is time for one; at the default interval not before the last one's cost is a small share."""
        if self.options.checkpoint_steps:
            return self.state["step"] % self.options.checkpoint_steps == 0
        seconds, cost = time.monotonic() - self._last_checkpoint, self._last_cost
        return self.state["step"] % DEFAULT_CHECKPOINT_STEPS == 0 and cost <= _CHECKPOINT_SHARE * seconds

    def _save(self):
        """Writes a checkpoint, where that of this step is not there yet."""
        if self._saved_step == self.state["step"]:
            return
        started = time.monotonic()
        self.lock.check()
        self.run.save(self.train_dir)
        checkpoints.save(self.train_dir, self.model, self.optimizer, self.state, self.options.keep_checkpoints)
        self._saved_step, self._last_checkpoint = self.state["step"], time.monotonic()
        self._last_cost = self._last_checkpoint - started
        self.checkpoint_seconds += self._last_cost

    def _stop(self):
        self._save()
        raise Stopped(
            f"{signal.Signals(self._stop_signal).name} received: step {self.state['step']} is done and its "
            f"checkpoint is in {self.train_dir}; the same command goes on from there.",
            self._stop_signal,
        )

    @contextlib.contextmanager
    def _signals(self):
        """SIGTERM and Ctrl-C let the step end and the checkpoint be written; a second Ctrl-C stops at once."""

        def note(number, _):
            if self._stop_signal and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._stop_signal = number

        try:
            previous = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
        except ValueError:  # Not the main thread: signals are somebody else's.
            previous = {}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
