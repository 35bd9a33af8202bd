"""The training loop of both phases: steps, logs, checkpoints, exact resume."""

import contextlib
import dataclasses
import json
import signal
import sys
import time

import numpy as np
import tensorflow as tf

from youtube8m_mod import files
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.errors import UserError
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.report import format_table, progress
from youtube8m_mod.training import checkpoints
from youtube8m_mod.training.optimizer import FusedAdam, StaircaseDecay


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """How a run is carried out; nothing here changes its numbers.

    Attributes:
        checkpoint_steps: a checkpoint every so many steps, and one at the end.
        keep_checkpoints: newest checkpoints to keep.
        log_steps: a line of averages every so many steps.
        start_new_model: begin anew, removing what the train_dir holds.
        skip_bad_records: count and skip bad records in place of stopping.
        eigenvalues: path of the PCA eigenvalues; None: a scale of one.
    """

    checkpoint_steps: int = 1000
    keep_checkpoints: int = 3
    log_steps: int = 100
    start_new_model: bool = False
    skip_bad_records: bool = False
    eigenvalues: str | None = None

    def __post_init__(self):
        for name in ("checkpoint_steps", "keep_checkpoints", "log_steps"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, came {getattr(self, name)}.")


class Trainer:
    """Trains the model of a run in its train_dir, from its last checkpoint where there is one.

    Killed at any moment and started again, it ends with the weights of a run that was never interrupted: a checkpoint
    holds model, optimizer, dropout's random state, and the place in the data.

    Args:
        run: a `Run`.
        train_dir: where run.json, checkpoints, history.jsonl and TensorBoard's events go.
        data_pattern: glob of training records.
        options: `TrainingOptions`.
        placement: a `Placement`; None leaves it to TensorFlow.
    """

    def __init__(self, run, train_dir, data_pattern, options=TrainingOptions(), placement=None):
        self.run, self.train_dir, self.options = run, train_dir, options
        if run.phase.num_epochs is None and run.phase.max_steps is None:
            raise UserError("Training needs an end: num_epochs or max_steps.")
        self.reader = Reader(data_pattern, run.model, segments=run.phase.segments,
                             skip_bad_records=options.skip_bad_records)
        self._prepare_train_dir()
        checkpoints.seed_everything(run.seed)
        self.model = MOD(run.model, run.phase, placement, run.precision, run.seed)
        phase = run.phase
        self.optimizer = FusedAdam(
            StaircaseDecay(phase.base_learning_rate, phase.batch_size, phase.learning_rate_decay,
                           phase.learning_rate_decay_examples), clip_norm=phase.clip_gradient_norm)
        self.optimizer.build(self.model.ordered_trainable_variables)
        self.state = self._initial_state()
        self.step_function = tf.function(self._train_step, autograph=False)
        self.term_names = None
        self._stop_signal = None

    def train(self):
        """Trains to the end of the run.

        Returns:
            {"step", "examples", "seconds", and the last logged averages}.

        Raises:
            UserError: on bad data, a loss that is not finite, or after SIGTERM and Ctrl-C, when the checkpoint is written.
        """
        started, first_step = time.monotonic(), self.state["step"]
        history = _History(self.train_dir, first_step)
        averages = history.last
        bar = progress(total=self._total_steps(), initial=first_step, unit="step", description=self.run.phase.name)
        with bar, history, self._signals():
            interval = _Interval()
            for batch in self._batches():
                interval.add(self._run_step(batch), len(batch["labels"]))
                step = self.state["step"]
                bar.update()
                last = step == self.run.phase.max_steps
                if step % self.options.log_steps == 0 or last:
                    averages = self._log(interval, history)
                    bar.set_postfix({name: f"{averages[name]:.4g}" for name in self.model.metric_names})
                    interval = _Interval()
                if step % self.options.checkpoint_steps == 0:
                    self._save()
                if self._stop_signal:
                    self._save()
                    raise UserError(f"{self._stop_signal} came: stopped after step {step} with a checkpoint in "
                                    f"{self.train_dir}; the same command goes on from there.")
            if interval.steps:
                averages = self._log(interval, history)
        if checkpoints.steps(self.train_dir)[-1:] != [self.state["step"]]:
            self._save()
        return {"step": self.state["step"], "seconds": time.monotonic() - started, **(averages or {})}

    def _prepare_train_dir(self):
        files.make_dirs(self.train_dir)
        if self.options.start_new_model:
            for name in ("checkpoint-*", "partial-*", "run.json", "history.jsonl", "events", "placement.json"):
                for path in files.glob(f"{self.train_dir}/{name}"):
                    files.remove(path)
        checkpoints.remove_partial(self.train_dir)
        if files.exists(f"{self.train_dir}/run.json"):
            earlier = checkpoints.Run.load(self.train_dir)
            self.run.check_continues(earlier, self.train_dir)
            self.run.classes = earlier.classes
        elif checkpoints.steps(self.train_dir):
            raise UserError(f"{self.train_dir} holds checkpoints but no run.json; use another --train_dir.")
        self.run.save(self.train_dir)

    def _initial_state(self):
        """The state of the last checkpoint; without one, that of a new run."""
        state = checkpoints.restore_latest(self.train_dir, self.model, self.optimizer)
        if state is not None:
            return state
        if self.run.started_from:
            started = checkpoints.restore_latest(self.run.started_from, self.model, self.optimizer, carry_step=False)
            if started is None:
                raise UserError(f"{self.run.started_from} holds no checkpoint to start from.")
        elif self.options.eigenvalues:
            checkpoints.set_eigenvalues(self.model, self.options.eigenvalues)
        return {"step": 0, "epoch": 0, "batch": 0, "examples": 0}

    def _total_steps(self):
        return self.run.phase.max_steps  # With epochs alone the number of records is not known beforehand.

    def _batches(self):
        """Batches from the place of the state on, which moves along with them."""
        phase, state = self.run.phase, self.state
        while phase.num_epochs is None or state["epoch"] < phase.num_epochs:
            if phase.max_steps is not None and state["step"] >= phase.max_steps:
                return
            batches = self.reader.read(phase.batch_size, seed=self.run.seed, epoch=state["epoch"],
                                       skip_batches=state["batch"], drop_remainder=True)
            before = state["step"]
            for batch in batches:
                state["step"] += 1
                state["batch"] += 1
                state["examples"] += len(batch["labels"])
                yield batch
                if state["step"] == phase.max_steps:
                    return
            if summary := batches.counts.summary():
                print(f"epoch {state['epoch'] + 1}: {summary}", file=sys.stderr)
            if state["step"] == before and state["batch"] == 0:
                raise UserError(f"The training data holds fewer than one batch of {phase.batch_size} examples; lower "
                                "--batch_size.")
            state["epoch"] += 1
            state["batch"] = 0

    def _train_step(self, batch):
        terms, gradients = self.model.losses_and_gradients(batch)
        self.optimizer.apply(gradients, self.model.ordered_trainable_variables)
        self.term_names = [(kind, path) for kind, values in terms.items() for path in values]
        return tf.stack([value for values in terms.values() for value in values.values()])

    def _run_step(self, batch):
        """One step; returns its loss terms as a dict of numbers, after a look at each of them."""
        values = self.step_function(batch).numpy()
        if not np.all(np.isfinite(values)):
            kind, path = self.term_names[int(np.argmin(np.isfinite(values)))]
            raise UserError(
                f"The {kind} loss of {f'node {path}' if path else 'the root'} is {values[~np.isfinite(values)][0]} at "
                f"step {self.state['step']}; the last checkpoint before it is kept, a lower --base_learning_rate may "
                "help.")
        if "label_weights" in batch:
            rated = np.flatnonzero(batch["label_weights"].numpy().any(axis=0)).tolist()
            self.run.classes = sorted({*(self.run.classes or ()), *rated})
        terms = {"bce": {}, "kl": {}, "l2": {}}
        for (kind, path), value in zip(self.term_names, values.tolist()):
            terms[kind][path] = value
        return self.model.level_terms(terms)

    def _log(self, interval, history):
        rate = float(self.optimizer.learning_rate)
        averages = interval.averages() | {"learning_rate": rate, "epoch": self.state["epoch"]}
        history.add(self.state["step"], averages)
        return averages

    def _save(self):
        self.run.save(self.train_dir)
        checkpoints.save(self.train_dir, self.model, self.optimizer, self.state, self.options.keep_checkpoints)

    @contextlib.contextmanager
    def _signals(self):
        """SIGTERM and Ctrl-C let the step end and the checkpoint be written; a second Ctrl-C stops at once."""
        def note(number, _):
            if self._stop_signal and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._stop_signal = signal.Signals(number).name

        try:
            previous = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
        except ValueError:  # Not the main thread: signals are somebody else's.
            previous = {}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


class _Interval:
    """Averages of loss terms since the last line of the log."""

    def __init__(self):
        self.started, self.steps, self.examples, self.sums = time.monotonic(), 0, 0, {}

    def add(self, terms, examples):
        self.steps += 1
        self.examples += examples
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def averages(self):
        seconds = time.monotonic() - self.started
        return {name: value / self.steps for name, value in self.sums.items()} | {
            "examples_per_second": self.examples / seconds}


class _History:
    """The log of a run: `history.jsonl`, and curves for TensorBoard.

    A resumed run drops the lines after the checkpoint that it goes on from.
    """

    def __init__(self, train_dir, step):
        self.path = f"{train_dir}/history.jsonl"
        self.lines = [line for line in read_history(train_dir) if line["step"] <= step]
        self.writer = tf.summary.create_file_writer(f"{train_dir}/events", filename_suffix=f".{step}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._write()
        self.writer.close()

    @property
    def last(self):
        return {name: value for name, value in self.lines[-1].items() if name != "step"} if self.lines else None

    def add(self, step, averages):
        self.lines.append({"step": step, **averages})
        with self.writer.as_default(step):
            for name, value in averages.items():
                tf.summary.scalar(name, value)
        self._write()

    def _write(self):
        with files.write_file(self.path) as file:
            file.writelines(json.dumps(line) + "\n" for line in self.lines)


def read_history(train_dir):
    """The logged averages of a run: a list of dicts with "step" and the metric names."""
    path = f"{train_dir}/history.jsonl"
    if not files.exists(path):
        return []
    with files.open_file(path) as file:
        return [json.loads(line) for line in file]


def summary_table(result):
    """The table that a training command ends with."""
    return format_table([{"quantity": name.replace("_", " "), "value": value} for name, value in result.items()])
