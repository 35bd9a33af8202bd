"""The train_dir: what a run is (run.json), and its checkpoints.

A checkpoint is a folder `checkpoint-<step>` with TensorFlow's checkpoint of every variable by its path in the model,
and `state.json` with the place in the data. It is written beside and renamed, so it is there whole or not at all.
"""

import dataclasses
import re
import sys
import uuid

import keras
import numpy as np
import tensorflow as tf

from youtube8m_mod import files
from youtube8m_mod.config import ModelConfig, PhaseConfig, differences, from_dict, to_dict
from youtube8m_mod.errors import UserError
from youtube8m_mod.models.mod import MOD

# A run may be continued with another end, and a model may be trained on with any of these.
_FREE_FIELDS = ("max_steps", "num_epochs")


@dataclasses.dataclass
class Run:
    """What a train_dir holds.

    Attributes:
        model, phase: the configurations.
        seed: of weights, dropout and the order of the data.
        precision: "float32" or "mixed_bfloat16".
        started_from: train_dir whose weights the run started from; None: from scratch.
        classes: classes rated in the training segments, ascending; None in pretraining.
    """

    model: ModelConfig
    phase: PhaseConfig
    seed: int = 0
    precision: str = "float32"
    started_from: str | None = None
    classes: list[int] | None = None

    def save(self, train_dir):
        """Writes `train_dir/run.json`."""
        values = dataclasses.asdict(self) | {"model": to_dict(self.model), "phase": to_dict(self.phase)}
        files.write_json(f"{train_dir}/run.json", values)

    @classmethod
    def load(cls, train_dir):
        """The run of a train_dir; raises `UserError` where there is none."""
        path = f"{train_dir}/run.json"
        if not files.exists(path):
            raise UserError(f"{train_dir} is not a train_dir: {path} does not exist.")
        values = files.read_json(path)
        if not isinstance(values, dict) or set(values) != {field.name for field in dataclasses.fields(cls)}:
            raise UserError(f"{path} must hold the fields {', '.join(f.name for f in dataclasses.fields(cls))}.")
        values["model"] = from_dict(ModelConfig, values["model"], path)
        values["phase"] = from_dict(PhaseConfig, values["phase"], path)
        run = cls(**values)
        classes = run.classes
        good = (type(run.seed) is int and run.precision in ("float32", "mixed_bfloat16")
                and isinstance(run.started_from, (str, type(None)))
                and (classes is None or isinstance(classes, list)
                     and all(type(c) is int and 0 <= c < run.model.num_classes for c in classes)))
        if not good:
            raise UserError(f"{path} holds a seed, precision, started_from or classes that no run has.")
        return run

    def check_continues(self, earlier, train_dir):
        """Raises `UserError` naming the fields in which this run differs from the `earlier` one in its train_dir."""
        found = {**differences(earlier.model, self.model), **differences(earlier.phase, self.phase)}
        found |= {name: (getattr(earlier, name), getattr(self, name)) for name in ("seed", "precision", "started_from")
                  if getattr(earlier, name) != getattr(self, name)}
        found = {name: values for name, values in found.items() if name not in _FREE_FIELDS}
        if found:
            listed = ", ".join(f"{name} (there {old!r}, now {new!r})" for name, (old, new) in found.items())
            raise UserError(f"{train_dir} holds a run of another configuration, it differs in {listed}; use another "
                            "--train_dir, or --start_new_model to begin anew.")


def steps(train_dir):
    """Steps of the checkpoints in a train_dir, ascending."""
    matches = (re.fullmatch(r".*/checkpoint-(\d+)/?", path) for path in files.glob(f"{train_dir}/checkpoint-*"))
    return sorted(int(match[1]) for match in matches if match)


def _folder(train_dir, step):
    return f"{train_dir}/checkpoint-{step:08d}"


def model_variables(model):
    """{path: tf.Variable} of everything in a model, dropout's random state included."""
    named, generators = {}, 0
    for variable in model.variables:
        path = variable.path.removeprefix("mod/")
        if "seed_generator" in path:  # Keras numbers these through the process, not through the model.
            path = f"seed_generator_{generators}"
            generators += 1
        named[path] = variable.value
    return named


def optimizer_variables(model, optimizer):
    """{path: tf.Variable} of Adam's moments beside their variables' paths, its powers of beta, and the step."""
    named = {"step": optimizer.iterations.value, "beta_1_power": optimizer.beta_1_power.value,
             "beta_2_power": optimizer.beta_2_power.value}
    for letter, moments in (("m", optimizer.first_moments), ("v", optimizer.second_moments)):
        for variable, moment in zip(model.ordered_trainable_variables, moments):
            named[f"{variable.path.removeprefix('mod/')}/{letter}"] = moment.value
    return named


def save(train_dir, model, optimizer, state, keep):
    """Writes a checkpoint, then removes all but the newest `keep`.

    Args:
        state: a JSON-able dict with at least "step".
    """
    variables = model_variables(model)
    for path, variable in variables.items():
        if variable.dtype.is_floating and not tf.reduce_all(tf.math.is_finite(variable)):
            raise UserError(f"The weight {path} is not finite at step {state['step']}: the checkpoint was not written.")
    folder = _folder(train_dir, state["step"])
    partial = f"{train_dir}/partial-{uuid.uuid4().hex[:8]}"
    try:
        files.make_dirs(partial)
        checkpoint = tf.train.Checkpoint(model=variables, optimizer=optimizer_variables(model, optimizer))
        checkpoint.write(f"{partial}/variables")
        files.write_json(f"{partial}/state.json", state)
        files.remove_tree(folder)
        files.rename(partial, folder)
    except (tf.errors.OpError, OSError) as error:
        files.remove_tree(partial)
        raise UserError(f"Cannot write the checkpoint {folder}: {_first_line(error)}") from error
    for step in steps(train_dir)[:-keep]:
        files.remove_tree(_folder(train_dir, step))
    return folder


def remove_partial(train_dir):
    """Removes what a killed run left half-written."""
    for path in files.glob(f"{train_dir}/partial-*"):
        files.remove_tree(path)


def restore_latest(train_dir, model, optimizer=None, carry_step=True):
    """Restores the newest checkpoint that is whole; a damaged one is told on stderr, and the one before is taken.

    Args:
        optimizer: a built `FusedAdam` to restore too; None: the model alone.
        carry_step: False restores weights and Adam's moments but neither the step nor dropout's random state: how
            finetuning starts.

    Returns:
        the checkpoint's state, or None where the train_dir has no checkpoint.
    """
    found = steps(train_dir)
    for step in reversed(found):
        folder = _folder(train_dir, step)
        try:
            state = files.read_json(f"{folder}/state.json")
            if not isinstance(state, dict) or state.get("step") != step:
                raise UserError(f"{folder}/state.json is not the state of step {step}.")
            _restore(f"{folder}/variables", model, optimizer, carry_step)
            return state
        except (tf.errors.DataLossError, tf.errors.OutOfRangeError, tf.errors.NotFoundError, UserError) as error:
            if isinstance(error, _Mismatch) or step == found[0]:
                raise UserError(f"Cannot restore {folder}: {_first_line(error)}") from error
            print(f"warning: the checkpoint {folder} is damaged ({_first_line(error)}); taking the one before it.",
                  file=sys.stderr)
    return None


class _Mismatch(UserError):
    """A whole checkpoint of another model."""


def _restore(prefix, model, optimizer, carry_step):
    targets = {f"model/{path}": variable for path, variable in model_variables(model).items()}
    if optimizer is not None:
        targets |= {f"optimizer/{path}": v for path, v in optimizer_variables(model, optimizer).items()}
    if not carry_step:
        targets = {path: variable for path, variable in targets.items()
                   if path != "optimizer/step" and "seed_generator" not in path}
    reader = tf.train.load_checkpoint(prefix)
    shapes = reader.get_variable_to_shape_map()
    stored = {path: _key(path) for path in targets}
    if missing := [path for path, key in stored.items() if key not in shapes]:
        raise _Mismatch(f"it lacks {len(missing)} variables of the model, {', '.join(missing[:5])} among them.")
    for path, variable in targets.items():
        if list(variable.shape) != shapes[stored[path]]:
            raise _Mismatch(f"{path} has the shape {shapes[stored[path]]} there and {list(variable.shape)} here.")
    kinds = {"model": {}, "optimizer": {}}
    for path, variable in targets.items():
        kind, _, name = path.partition("/")
        kinds[kind][name] = variable
    tf.train.Checkpoint(**{kind: named for kind, named in kinds.items() if named}).read(prefix).expect_partial()


def _key(path):
    """The name under which TensorFlow's object checkpoint stores a variable of a dict."""
    kind, _, name = path.partition("/")
    return f"{kind}/{name.replace('.', '..').replace('/', '.S')}/.ATTRIBUTES/VARIABLE_VALUE"


def load_model(train_dir, placement=None, phase=None, precision=None):
    """The trained model of a train_dir.

    Args:
        placement: a `Placement`; any may load what another saved.
        phase: a `PhaseConfig` in place of the run's own, for instance to score whole videos with a finetuned model.
        precision: in place of the run's own.

    Returns:
        (`MOD`, `Run`).
    """
    run = Run.load(train_dir)
    model = MOD(run.model, phase or run.phase, placement, precision or run.precision, run.seed)
    if restore_latest(train_dir, model) is None:
        raise UserError(f"{train_dir} holds no checkpoint.")
    return model, run


def set_eigenvalues(model, path):
    """Gives a model the de-whitening scale from a .npy file of PCA eigenvalues."""
    with files.open_file(path, "rb") as file:
        try:
            eigenvalues = np.load(file, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise UserError(f"{path} is not a .npy array of PCA eigenvalues: {_first_line(error)}") from error
    try:
        model.scaling.set_eigenvalues(eigenvalues)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _first_line(error):
    text = str(getattr(error, "message", None) or error).strip() or type(error).__name__
    return text.splitlines()[0]


def seed_everything(seed):
    """Seeds the initial weights."""
    keras.utils.set_random_seed(seed)
