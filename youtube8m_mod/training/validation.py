"""Held-out records during training: what the model scores on them, the best checkpoint, when to stop."""

import contextlib
import dataclasses
import time

from youtube8m_mod import files
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.data.records import ReaderSettings
from youtube8m_mod.errors import UserError
from youtube8m_mod.overrides import check_positive
from youtube8m_mod.training import checkpoint_store, checkpoints
from youtube8m_mod.training.callbacks import RunCallback
from youtube8m_mod.training.history import read_history
from youtube8m_mod.training.run import Run, short_digest
from youtube8m_mod.training.scorer import SCORERS, Scorer

_LOWER_IS_BETTER = ("loss", "bce")
BEST = "best.json"


@dataclasses.dataclass(frozen=True)
class ValidationOptions:
    """What is scored during training, and what follows from it.

    Attributes:
        data_pattern: glob of held-out records.
        steps: score every so many steps, and at the end; None: at each checkpoint's interval, or 1000.
        examples: score so many examples, the first of the files; None: all.
        best_metric: what the best checkpoint is best in: "loss", or "<scorer>_<metric>" with a scorer of `SCORERS` and
            a metric of the phase ("gap", "hit_at_1", "perr"; "map", "bce" in finetuning); None: the root's GAP or MAP.
        patience: stop after so many validations without a better score; None: never.
        skip_bad_records: count and skip bad records in place of stopping.
        reader: `data.records.ReaderSettings` of the held-out records.
    """

    data_pattern: str
    steps: int | None = None
    examples: int | None = None
    best_metric: str | None = None
    patience: int | None = None
    skip_bad_records: bool = False
    reader: ReaderSettings = ReaderSettings()

    def __post_init__(self):
        check_positive(self, "steps", "examples", prefix="eval_")
        check_positive(self, "patience")


class Validation(RunCallback):
    """Scores held-out records every so many steps: the root, the first leaf, and the plain average of the leaves.

    All three come out of one pass through the tree. Nothing that training reads is changed: dropout is off, averages
    and random states stay.

    Args:
        options: `ValidationOptions`.
        run: the `Run`.

    Attributes:
        scores: {"val_<name>": value} of the step that was just taken; None where it was not scored.
        best: {"step", "metric", "value", "scores"} of the best validation so far; None before the first.
        seconds: spent on validation in this process.
        rated_videos: of the last time; see `Scorer`.
    """

    def __init__(self, options: ValidationOptions, run: Run):
        super().__init__()
        self.options, self.run = options, run
        phase = run.phase
        self.metric_names = ("map", "bce") if phase.segments else ("gap", "hit_at_1", "perr")
        names = ["loss", *(f"{scorer}_{name}" for scorer in SCORERS for name in self.metric_names)]
        self.best_name = options.best_metric or f"root_{self.metric_names[0]}"
        if self.best_name not in names:
            raise UserError(f"--best_metric must be one of {', '.join(names)}, got {self.best_name}.")
        self.reader = held_out_reader(run, options)
        self.scores = self.best = None
        self.seconds, self.waited = 0.0, 0
        self._scorer = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        state = self.trainer.state
        accept = self.trainer.options.accept_changed_data
        self.run.take_held_out(self._held_out(), self.trainer.train_dir, accept)
        for line in read_history(self.trainer.train_dir):
            if line["step"] <= state["step"]:
                self._note(line)
        if self.best:
            self.trainer.kept_steps = {self.best["step"]}
        self._stop_if_patient()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.scores = None
        state, phase = self.trainer.state, self.run.phase
        interval = self.options.steps or self.trainer.options.checkpoint_steps or 1000
        if state["step"] % interval == 0 or state["step"] == phase.max_steps:
            self._score()

    def on_train_end(self, logs: dict | None = None) -> None:
        lines = self.trainer.log.history.lines
        scored = any(line["step"] == self.trainer.state["step"] and "val_loss" in line for line in lines)
        self.scores = None
        if self.trainer.state["step"] and not scored:
            self._score()

    def _held_out(self):
        """What decides the scores, and which of them are the best, by the flags."""
        paths = self.reader.paths
        digest = short_digest([value[:2] for value in files.identities(paths)])
        what = f"{len(paths)} files, the first {files.absolute(paths[0])}, digest {digest}"
        found = {"--eval_data_pattern": what, "--best_metric": self.best_name}
        return found | ({"--eval_examples": str(self.options.examples)} if self.options.examples else {})

    def summary(self) -> dict[str, float]:
        """What the closing table shows of it."""
        found = {"validation_seconds": self.seconds}
        if self.best:
            found |= {"best_step": self.best["step"], f"best_{self.best_name}": self.best["value"]}
        return found

    @property
    def rated_videos(self) -> list[dict] | None:
        return self._scorer and self._scorer.rated_videos

    def evaluate(self) -> dict[str, float]:
        """{"val_<name>": value} of the model as it is now."""
        if self._scorer is None:
            self._scorer = Scorer(self.trainer.model, self.run, self.reader, self.options.examples)
        with _unchanged_random_state(self.trainer.model), _averaged_weights(self.trainer):
            return {f"val_{name}": value for name, value in self._scorer().items()}

    def _score(self):
        started = time.monotonic()
        self.scores = self.evaluate()
        self.seconds += time.monotonic() - started
        self._note({"step": self.trainer.state["step"]} | self.scores)
        self._stop_if_patient()

    def _note(self, line):
        """Takes the scores of a line of the log into account."""
        value = line.get(f"val_{self.best_name}")
        if value is None:
            return
        better = (
            not self.best
            or value != self.best["value"]
            and ((value < self.best["value"]) == self.best_name.endswith(_LOWER_IS_BETTER))
        )
        if better:
            scores = {name: number for name, number in line.items() if name.startswith("val_")}
            self.best = {"step": line["step"], "metric": self.best_name, "value": value, "scores": scores}
            self.waited = 0
        else:
            self.waited += 1

    def _stop_if_patient(self):
        if self.options.patience and self.waited >= self.options.patience:
            self.model.stop_training = True


class KeepBest(RunCallback):
    """Keeps the checkpoint with the best validation, and says in `best.json` which it is; after the run's log.

    Args:
        validation: the `Validation`.
    """

    def __init__(self, validation: Validation):
        super().__init__()
        self.validation = validation

    def on_train_begin(self, logs: dict | None = None) -> None:
        best, train_dir = self.validation.best, self.trainer.train_dir
        # A kill may have come between the best checkpoint and the file that names it.
        if best and best["step"] in checkpoint_store.steps(train_dir):
            files.write_json(f"{train_dir}/{BEST}", best)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        best, step = self.validation.best, self.trainer.state["step"]
        if self.validation.scores is None or best["step"] != step:
            return
        self.trainer.kept_steps |= {step}  # The earlier one stays until best.json names this one.
        self.trainer.save_checkpoint()
        files.write_json(f"{self.trainer.train_dir}/{BEST}", best)
        self.trainer.kept_steps = {step}

    def on_train_end(self, logs: dict | None = None) -> None:
        self.on_train_batch_end(None)


def held_out_reader(run: Run, options: ValidationOptions) -> Reader:
    """The `Reader` of the held-out records of `ValidationOptions`."""
    return Reader(
        options.data_pattern,
        run.model,
        segments=run.phase.segments,
        skip_bad_records=options.skip_bad_records,
        settings=options.reader,
    )


@contextlib.contextmanager
def _averaged_weights(trainer):
    """Gives the model the averages of its weights, where training keeps them, and its own again."""
    optimizer = trainer.optimizer
    pairs = list(zip(trainer.model.trainable_variables, optimizer.model_averages)) if optimizer.use_ema else []
    own = [variable.numpy() for variable, _ in pairs]
    for variable, average in pairs:
        variable.assign(average)
    try:
        yield
    finally:
        for (variable, _), value in zip(pairs, own):
            variable.assign(value)


@contextlib.contextmanager
def _unchanged_random_state(model):
    """Puts back what a scorer that draws at random (the deep bag of frames) has drawn from."""
    states = checkpoints.random_state(model).values()
    values = [state.numpy() for state in states]
    try:
        yield
    finally:
        for state, value in zip(states, values):
            state.assign(value)
