"""What a train_dir is a run of: run.json."""

import dataclasses
import hashlib
import itertools

from youtube8m_mod import files
from youtube8m_mod.config import ModelConfig, PhaseConfig
from youtube8m_mod.errors import UserError
from youtube8m_mod.overrides import differences, from_dict, to_dict

_FREE_FIELDS = ("max_steps", "num_epochs")  # A run may be continued with another end.
_MAX_SEED = 2**31 - 1


@dataclasses.dataclass
class Run:
    """What a train_dir holds.

    Attributes:
        model, phase: the configurations.
        seed: of weights, dropout and the order of the data.
        precision: "float32" or "mixed_bfloat16".
        started_from: train_dir whose weights the run started from, absolute once the run has begun; None: from scratch.
        started_step, started_fingerprint: which checkpoint that was; None: not known.
        data_files: {absolute path of a training file: [bytes, time of the last change in ns]}; None: not known.
        classes: classes rated in the training segments, ascending; None in pretraining.
        new_classes: the run started from a model of another vocabulary: its classifiers were made anew.
        teachers: models that teach this one, [[absolute train_dir, [[step, fingerprint] of each checkpoint]], ...];
            None: there are none.
        freeze_trunk: only classifiers and mixing nets are trained.
        reading: {flag or a field of it: value} of what decides how records are read; None: not known.
        eigenvalues: [absolute path of the PCA eigenvalues, digest of the file]; ["none", ""]: none were given, the
            scale is one or that of `started_from`; None: not known.
        checkpoint: the choice among the checkpoints of `started_from`; None: not known.
        held_out: {flag: value} of what is scored during training, and which scores are the best ones; None: nothing,
            or not known.
    """

    model: ModelConfig
    phase: PhaseConfig
    seed: int = 0
    precision: str = "float32"
    started_from: str | None = None
    classes: list[int] | None = None
    started_step: int | None = None
    started_fingerprint: str | None = None
    data_files: dict[str, list[int]] | None = None
    new_classes: bool = False
    freeze_trunk: bool = False
    teachers: list[list] | None = None
    reading: dict[str, str] | None = None
    eigenvalues: list[str] | None = None
    checkpoint: str | None = None
    held_out: dict[str, str] | None = None

    def __post_init__(self):
        if type(self.seed) is not int or not 0 <= self.seed <= _MAX_SEED:
            raise UserError(f"seed must be an integer from 0 to {_MAX_SEED}, got {self.seed!r}.")
        if self.precision not in ("float32", "mixed_bfloat16"):
            raise UserError(f'precision must be "float32" or "mixed_bfloat16", got {self.precision!r}.')
        if not isinstance(self.started_from, (str, type(None))):
            raise UserError(f"started_from must be the path of a train_dir or null, got {self.started_from!r}.")
        for name in ("new_classes", "freeze_trunk"):
            if type(getattr(self, name)) is not bool:
                raise UserError(f"{name} must be true or false, got {getattr(self, name)!r}.")
        if type(self.started_step) not in (int, type(None)):
            raise UserError(f"started_step must be an integer or null, got {self.started_step!r}.")
        if not isinstance(self.started_fingerprint, (str, type(None))):
            raise UserError(f"started_fingerprint must be text or null, got {self.started_fingerprint!r}.")
        if not isinstance(self.data_files, (dict, type(None))) or not all(
            isinstance(value, list) and [*map(type, value)] == [int, int] for value in (self.data_files or {}).values()
        ):
            raise UserError("data_files must hold bytes and time of each training file, or be null.")
        if self.teachers is not None and not _are_teachers(self.teachers):
            raise UserError("teachers must hold train_dir and checkpoints of each model that teaches, or be null.")
        for name in ("reading", "held_out"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, dict) and _are_texts(value.values())):
                raise UserError(f"{name} must hold texts by the names of flags, or be null, got {value!r}.")
        if self.eigenvalues is not None and not (
            isinstance(self.eigenvalues, list) and len(self.eigenvalues) == 2 and _are_texts(self.eigenvalues)
        ):
            raise UserError(f"eigenvalues must hold a path and a digest, or be null, got {self.eigenvalues!r}.")
        if not isinstance(self.checkpoint, (str, type(None))):
            raise UserError(f"checkpoint must be text or null, got {self.checkpoint!r}.")
        classes = [] if self.classes is None else self.classes
        if not isinstance(classes, list) or not all(
            type(label) is int and 0 <= label < self.model.num_classes for label in classes
        ):
            raise UserError(f"classes must be a list of classes from 0 to {self.model.num_classes - 1}, or null.")

    def save(self, train_dir: str) -> None:
        """Writes `train_dir/run.json`."""
        if signs := sorted(set(str(train_dir)) & set("*?[]")):
            raise UserError(
                f"train_dir {train_dir} must have a name without {' '.join(signs)}: TensorFlow takes it for a pattern."
            )
        values = dataclasses.asdict(self) | {"model": to_dict(self.model), "phase": to_dict(self.phase)}
        files.write_json(f"{train_dir}/run.json", values)

    @classmethod
    def load(cls, train_dir: str) -> "Run":
        """The run of a train_dir; raises `UserError` where there is none."""
        path = f"{train_dir}/run.json"
        if not files.exists(path):
            raise UserError(f"{train_dir} is not a train_dir: {path} does not exist.")
        values = files.read_json(path)
        names = [field.name for field in dataclasses.fields(cls)]  # Those after `classes` were added later.
        if not isinstance(values, dict) or not set(names[: names.index("classes") + 1]) <= set(values) <= set(names):
            raise UserError(f"{path} must hold the fields {', '.join(names)}.")
        values["model"] = from_dict(ModelConfig, values["model"], path)
        values["phase"] = from_dict(PhaseConfig, values["phase"], path)
        try:
            return cls(**values)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error

    def check_continues(self, earlier: "Run", train_dir: str) -> None:
        """Raises `UserError` naming the fields in which this run differs from the `earlier` one in its train_dir."""
        found = {**differences(earlier.model, self.model), **differences(earlier.phase, self.phase)}
        found |= {
            name: (getattr(earlier, name), getattr(self, name))
            for name in ("seed", "precision", "new_classes", "freeze_trunk")
            if getattr(earlier, name) != getattr(self, name)
        }
        starts = earlier.started_from, self.started_from
        if starts[0] != starts[1] and not (all(starts) and files.same_place(*starts)):
            found["--pretrained_dir"] = starts
        elif earlier.checkpoint and self.checkpoint and earlier.checkpoint != self.checkpoint:
            found["--checkpoint"] = earlier.checkpoint, self.checkpoint
        found |= _other_flags(earlier.reading, self.reading)
        if earlier.eigenvalues and self.eigenvalues and earlier.eigenvalues[1] != self.eigenvalues[1]:
            found["--rgb_eigenvalues"] = _in_words(earlier.eigenvalues), _in_words(self.eigenvalues)
        found = {name: values for name, values in found.items() if name not in _FREE_FIELDS}
        if not found:
            self._check_teachers(earlier, train_dir)
        if found:
            raise UserError(
                f"{train_dir} holds a run of another configuration, it differs in {_listed(found)}; use another "
                "--train_dir, or --start_new_model to begin anew."
            )

    def take_held_out(self, held_out: dict[str, str], train_dir: str, accept_changed: bool = False) -> None:
        """Takes what is scored from now on; raises `UserError` where the run has scored something else so far."""
        if (found := _other_flags(self.held_out, held_out)) and not accept_changed:
            raise UserError(
                f"{train_dir} holds a run that is scored otherwise, it differs in {_listed(found)}: its best "
                "checkpoint was chosen by other scores; use another --train_dir, or --accept_changed_data to go on "
                "with these."
            )
        if self.held_out != held_out:
            self.held_out = held_out
            self.save(train_dir)  # At once: a run that is at its end is scored, and saves nothing more.

    def _check_teachers(self, earlier, train_dir):
        for old, new in itertools.zip_longest(earlier.teachers or (), self.teachers or ()):
            if not (old and new and old[1] == new[1]):
                raise UserError(
                    f"{train_dir} holds a run that learns from {_teacher_name(old)}, now from {_teacher_name(new)}; "
                    "use the same --teacher and --teacher_checkpoint, another --train_dir, or --start_new_model to "
                    "begin anew."
                )


def _are_teachers(values):
    def is_checkpoint(value):
        return isinstance(value, list) and [*map(type, value)] == [int, str]

    return isinstance(values, list) and all(
        isinstance(value, list) and [*map(type, value)] == [str, list] and all(map(is_checkpoint, value[1]))
        for value in values
    )


def short_digest(value: object) -> str:
    """Eight digits by which a value that is too long to be kept is known again."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:8]


def _other_flags(earlier, now):
    """{flag: (there, now)} of those that differ, where both are known."""
    if earlier is None or now is None:
        return {}
    pairs = {flag: (earlier.get(flag), now.get(flag)) for flag in sorted({*earlier, *now})}
    return {flag: values for flag, values in pairs.items() if values[0] != values[1]}


def _listed(found):
    return ", ".join(f"{name} (there {old!r}, now {new!r})" for name, (old, new) in found.items())


def _are_texts(values):
    return all(isinstance(value, str) for value in values)


def _in_words(eigenvalues):
    path, digest = eigenvalues
    return f"{path} with digest {digest[:8]}" if digest else path


def _teacher_name(teacher):
    if teacher is None:
        return "no such model"
    path, checkpoints = teacher
    return f"step {', '.join(str(step) for step, _ in checkpoints)} of {path}"
