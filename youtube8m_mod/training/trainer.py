"""The training loop of both phases: the steps of a run, from any place on, and the callbacks around them."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from youtube8m_mod import files
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.data.records import ReaderSettings
from youtube8m_mod.distribution.placement import Placement
from youtube8m_mod.errors import UserError
from youtube8m_mod.layers.initializers import overwritten
from youtube8m_mod.models.graph_passes import few_passes
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.models.size import check_memory
from youtube8m_mod.overrides import check_positive
from youtube8m_mod.training import callbacks as run_callbacks
from youtube8m_mod.training import checkpoint_store, checkpoints, examples
from youtube8m_mod.training.history import Interval
from youtube8m_mod.training.optimizer import optimizer_of
from youtube8m_mod.training.run import Run
from youtube8m_mod.training.tensorboard import TensorBoardDetails
from youtube8m_mod.training.train_dir import note_start, prepare
from youtube8m_mod.training.validation import KeepBest, Validation, ValidationOptions


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """How a run is carried out. Only `skip_bad_records` and the last three change its numbers.

    Attributes:
        checkpoint_steps: a checkpoint every so many steps, and one at the end; None: every 1000 steps, or more
            where that would take more than 2% of the time.
        keep_checkpoints: newest checkpoints to keep.
        log_steps: a line of averages every so many steps.
        start_new_model: begin anew, removing what the train_dir holds.
        skip_bad_records: count and skip bad records in place of stopping.
        accept_changed_data: go on with other training files, or with other held-out records or scores, than those that
            the run in the train_dir began with.
        eigenvalues: path of the PCA eigenvalues; None: a scale of one.
        pretrained_checkpoint: of the train_dir that the run starts from; see `checkpoint_store.chosen_steps`.
        reader: `data.records.ReaderSettings` of the training records.
    """

    checkpoint_steps: int | None = None
    keep_checkpoints: int = 3
    log_steps: int = 100
    start_new_model: bool = False
    skip_bad_records: bool = False
    accept_changed_data: bool = False
    eigenvalues: str | None = None
    pretrained_checkpoint: str = checkpoint_store.LAST
    reader: ReaderSettings = ReaderSettings()

    def __post_init__(self):
        check_positive(self, "checkpoint_steps", "keep_checkpoints", "log_steps")


class Trainer:
    """Trains the model of a run in its train_dir, from its last checkpoint where there is one.

    Killed at any moment and started again, it ends with the weights of a run that was never interrupted: a checkpoint
    holds model, optimizer, dropout's random state, and the place in the data.

    The loop is ours, the step is `MOD.train_step`, and what happens around it are Keras callbacks. `fit` would draw
    batches ahead of the steps, so that no callback knew the place in the data after its step; and what is wrong with
    a record would reach the user as an error of TensorFlow's.

    Args:
        run: a `Run`.
        train_dir: where run.json, checkpoints, history.jsonl and TensorBoard's events go.
        data_pattern: glob of training records, or what reads them as a `Reader` does.
        options: `TrainingOptions`.
        placement: a `Placement`; None leaves it to TensorFlow.
        validation: `ValidationOptions`: what is scored on held-out records meanwhile; None: nothing.
        teacher: a function of a batch that gives the logits `(batch, classes)` of trained models, from which the model
            learns too (`teacher_weight` of the phase); it must give the same for the same batch. None: there is none.
        callbacks: Keras callbacks of your own, in this order after the run's log and before its checkpoints. Those that
            are a `RunCallback` know this trainer. Setting `model.stop_training` ends the run after the step, with a
            checkpoint.

    Attributes:
        model: the compiled `MOD`; optimizer: its `FusedAdam`.
        step: the step as a function of a batch; see `Placement.step`.
        kept_steps: of checkpoints that stay beside the newest ones.
        state: the place in the run after the last step; see `checkpoint_store.new_state`.
        batch: of the step that is being taken.
    """

    def __init__(
        self,
        run: Run,
        train_dir: files.Path,
        data_pattern: str | Reader,
        options: TrainingOptions = TrainingOptions(),
        placement: Placement | None = None,
        callbacks: Iterable[keras.callbacks.Callback] = (),
        validation: ValidationOptions | None = None,
        teacher: Callable[[dict[str, tf.Tensor]], tf.Tensor] | None = None,
    ):
        self.run, self.train_dir, self.options = run, files.expand(train_dir), options
        if run.phase.num_epochs is None and run.phase.max_steps is None:
            raise UserError("Training needs an end: num_epochs or max_steps.")
        placement, phase = placement or Placement(), run.phase
        if bool(teacher) != bool(phase.teacher_weight):
            raise UserError(
                "teacher_weight and models that teach (--teacher) belong together: expected both or neither, got "
                f"{'a teacher' if teacher else 'none'} and teacher_weight {phase.teacher_weight:g}."
            )
        self.teacher = teacher
        placement.check_batch_size(phase.batch_size)
        if not placement.cluster:
            check_memory(run.model, 3, phase.batch_size, phase.frames(run.model))
        self.reader = (
            data_pattern
            if hasattr(data_pattern, "read")
            else Reader(
                data_pattern,
                run.model,
                segments=run.phase.segments,
                skip_bad_records=options.skip_bad_records,
                settings=options.reader,
                training=True,
            )
        )
        self.lock = prepare(run, self.train_dir, options, getattr(self.reader, "paths", None))
        checkpoints.seed_everything(run.seed)
        restored = checkpoint_store.steps(self.train_dir) or (run.started_from and not run.new_classes)
        with placement.variables():
            with overwritten() if restored else contextlib.nullcontext():
                self.model = MOD.for_phase(run.model, phase, placement, run.precision, run.seed)
            if run.freeze_trunk:
                self.model.freeze_trunk()
            self.optimizer = optimizer_of(phase)
            self.model.compile(self.optimizer)
        self.state = self._initial_state()
        self.step, self.batch = placement.step(self._train_step), None
        self.validation = Validation(validation, run) if validation else None
        self.kept_steps = set()
        self.log = run_callbacks.HistoryLog(self.validation)
        self.callbacks = [
            run_callbacks.PlacementReport(),
            run_callbacks.StopOnNonFinite(),
            run_callbacks.RatedClasses(),
            *([self.validation] if self.validation else []),
            self.log,
            *([KeepBest(self.validation)] if self.validation else []),
            run_callbacks.ProgressLine(self.log),
            TensorBoardDetails(10 if run.model.pooling == "nextvlad" else 0, self.validation),
            *callbacks,
            run_callbacks.StopOnSignal(),
            run_callbacks.Checkpoints(),
        ]
        self.checkpoint_seconds = 0.0

    def train(self) -> dict[str, Any]:
        """Trains to the end of the run.

        Returns:
            {"step", "seconds", "checkpoint_seconds", and the last logged averages}.

        Raises:
            UserError: on bad data or a loss that is not finite.
            Stopped: after SIGTERM or Ctrl-C, when the checkpoint is written.
        """
        started = time.monotonic()
        with self.lock, few_passes(), contextlib.ExitStack() as stack:
            for callback in self._run_callbacks():
                callback.trainer = self
                stack.callback(callback.close)
            self._take_steps(
                keras.callbacks.CallbackList(
                    self.callbacks, model=self.model, epochs=self.run.phase.num_epochs, steps=None, verbose=0
                )
            )
        return {
            "step": self.state["step"],
            "seconds": time.monotonic() - started,
            "checkpoint_seconds": self.checkpoint_seconds,
            **(self.validation.summary() if self.validation else {}),
            **(self.log.averages or {}),
        }

    def save_checkpoint(self) -> None:
        """Writes a checkpoint, where that of this step is not there yet."""
        if self._saved_step == self.state["step"]:
            return
        started = time.monotonic()
        self.lock.check()
        self.run.save(self.train_dir)
        checkpoints.save(
            self.train_dir, self.model, self.optimizer, self.state, self.options.keep_checkpoints, self.kept_steps
        )
        self._saved_step = self.state["step"]
        self.checkpoint_seconds += time.monotonic() - started
        for callback in self._run_callbacks():
            callback.on_checkpoint(self._saved_step)

    def _take_steps(self, callbacks):
        self.model.stop_training = False
        callbacks.on_train_begin()
        state = self.state | {"interval": None}  # That of the batch: the step is yet to be taken.
        epoch, number, means, logs = None, 0, Interval({}), {}
        for batch in examples.batches(self.reader, self.run.phase, self.run.seed, state):
            self.batch = batch | {"teacher_logits": self.teacher(batch)} if self.teacher else batch
            if state["epoch"] != epoch:
                if number:
                    callbacks.on_epoch_end(epoch, means.averages())
                epoch, number, means = state["epoch"], 0, Interval({})
                if self.model.stop_training:
                    break
                callbacks.on_epoch_begin(epoch)
            callbacks.on_train_batch_begin(number)
            logs = self._take_step(state["step"])
            self.state.update(state | {"interval": self.state["interval"]})
            means.add(logs, len(batch["labels"]))
            callbacks.on_train_batch_end(number, logs)
            number += 1
            if self.model.stop_training:
                break
        else:
            self.state.update(state | {"interval": self.state["interval"]})
        if number:
            callbacks.on_epoch_end(epoch, means.averages())
        callbacks.on_train_end(logs)

    def _take_step(self, number):
        """One step with the batch; returns its losses as a dict of numbers."""
        try:
            return {name: float(value) for name, value in self.step(self.batch).items()}
        except tf.errors.ResourceExhaustedError as error:
            raise UserError(
                f"Memory is short at step {number}: {error.message.splitlines()[0]}; a smaller --batch_size or more "
                "devices may help."
            ) from error

    def _train_step(self, batch):
        self.model.reset_metrics()  # The logs are those of the step.
        return self.model.train_step(batch)

    def _run_callbacks(self):
        return [callback for callback in self.callbacks if isinstance(callback, run_callbacks.RunCallback)]

    def _initial_state(self):
        """The state of the last checkpoint; without one, that of a new run."""
        state = checkpoints.restore_latest(self.train_dir, self.model, self.optimizer)
        self._saved_step = state and state["step"]
        if state is not None:
            return state
        if self.run.started_from:
            anew = self.run.new_classes and checkpoints.of_classes
            started = checkpoints.restore_latest(
                self.run.started_from,
                self.model,
                self.optimizer,
                carry_step=False,
                anew=anew,
                choice=self.options.pretrained_checkpoint,
            )
            if started is None:
                raise UserError(f"{self.run.started_from} holds no checkpoint to start from.")
            note_start(self.run, self.train_dir, started["step"])
        elif self.options.eigenvalues:
            checkpoints.set_eigenvalues(self.model, self.options.eigenvalues)
        return checkpoint_store.new_state()
