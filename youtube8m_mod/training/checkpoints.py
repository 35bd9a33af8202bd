"""Checkpoints of a train_dir: everything that a run needs to go on as if it had never stopped.

A checkpoint is a folder `checkpoint-<step>` with TensorFlow's checkpoint of every variable by its path in the model,
and `state.json` with the place in the data. It is written beside and renamed, so it is there whole or not at all; where
renaming a folder is no single act (object stores), `state.json` is written last and makes it one.
"""

import hashlib
import re
import sys
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

from youtube8m_mod import files
from youtube8m_mod.distribution.placement import CHECKPOINT_OPTIONS, Placement
from youtube8m_mod.errors import UserError, first_line
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.models.size import check_memory
from youtube8m_mod.training.run import Run

State = dict[str, Any]  # The place of a run in its data; see `new_state`.
T = TypeVar("T")

# What a file system that fails for the moment raises, or memory that is short; the checkpoint may be whole.
_PASSING = (
    tf.errors.UnavailableError,
    tf.errors.ResourceExhaustedError,
    tf.errors.PermissionDeniedError,
    tf.errors.UnauthenticatedError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    OSError,
)
# What reading damaged files raises.
_DAMAGE = (UserError, tf.errors.OpError, ValueError, RuntimeError, LookupError)

LAST = "last"  # The choice of checkpoint by default.


def steps(train_dir: str) -> list[int]:
    """Steps of the checkpoints in a train_dir, ascending."""
    matches = (re.fullmatch(r"checkpoint-(\d{8,})", name) for name in files.list_dir(train_dir))
    return sorted(int(match[1]) for match in matches if match)


def fingerprint(train_dir: str, step: int) -> str:
    """What distinguishes a checkpoint from others of its step: a digest of the checksums of all its tensors."""
    path = f"{_folder(train_dir, step)}/variables.index"
    if not files.exists(path):
        return ""
    with files.open_file(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def new_state(step: int = 0, examples: int = 0) -> State:
    """The state of a run before the first example of an epoch.

    Returns:
        {"step", "epoch", "place": examples of the epoch that were used, "examples": used in all, "interval": sums of
        the log line that is not written yet}.
    """
    return {"step": step, "epoch": 0, "place": 0, "examples": examples, "interval": {}}


def model_variables(model: MOD) -> dict[str, tf.Variable]:
    """{path: tf.Variable} of a model's weights and averages."""
    return {_path(variable): variable.value for variable in model.variables if not _is_random_state(variable)}


def random_state(model: MOD) -> dict[str, tf.Variable]:
    """{path: tf.Variable} of the state of a model's random number generators (dropout, DBoF's frames).

    Keras numbers generators by how many there were in the process, so they are named by their place in the model.
    """
    generators = [variable.value for variable in model.variables if _is_random_state(variable)]
    return {f"random_state/{index}": variable for index, variable in enumerate(generators)}


def optimizer_variables(model: MOD, optimizer: keras.optimizers.Optimizer) -> dict[str, tf.Variable]:
    """{path: tf.Variable} of Adam's moments beside their variables' paths, its powers of beta, and the step.

    With `use_ema` also of the averages of the variables.
    """
    named = {
        "step": optimizer.iterations.value,
        "beta_1_power": optimizer.beta_1_power.value,
        "beta_2_power": optimizer.beta_2_power.value,
    }
    slots = [("m", optimizer.first_moments), ("v", optimizer.second_moments)]
    if optimizer.use_ema:
        slots.append(("average", optimizer.model_averages))
    for name, values in slots:
        for variable, value in zip(model.trainable_variables, values):
            named[f"{_path(variable)}/{name}"] = value.value
    return named


def save(
    train_dir: str,
    model: MOD,
    optimizer: keras.optimizers.Optimizer,
    state: State,
    keep: int,
    kept_steps: Collection[int] = (),
) -> str:
    """Writes a checkpoint, then removes all but the newest `keep`, and those of later steps: they were damaged.

    Args:
        state: a JSON-able dict with at least "step".
        kept_steps: of checkpoints that stay beside the newest ones.

    Raises:
        UserError: where a weight is not finite, or the checkpoint cannot be written; the others stay.
    """
    variables = {
        "model": model_variables(model) | random_state(model),
        "optimizer": optimizer_variables(model, optimizer),
    }
    for kind, named in variables.items():
        for path, variable in named.items():
            if variable.dtype.is_floating:
                _check_finite(f"{'weight' if kind == 'model' else 'state of Adam'} {path}", variable, state["step"])
    folder = _folder(train_dir, state["step"])
    partial = folder if files.is_remote(folder) else f"{train_dir}/partial-{uuid.uuid4().hex[:8]}"
    try:
        if partial == folder:
            files.remove_tree(folder)
        files.make_dirs(partial)
        tf.train.Checkpoint(**variables).write(f"{partial}/variables", CHECKPOINT_OPTIONS)
        files.flush_tree(partial)
        files.write_json(f"{partial}/state.json", state)
        if partial != folder:
            files.remove_tree(folder)
            files.rename(partial, folder)
    except BaseException as error:
        files.remove_tree(partial)
        if isinstance(error, (tf.errors.OpError, OSError, UserError)):
            raise UserError(f"Cannot write the checkpoint {folder}: {first_line(error)}") from error
        raise
    found = steps(train_dir)
    for step in found:
        old = step in [s for s in found if s <= state["step"]][:-keep] and step not in kept_steps
        if step > state["step"] or old:
            files.remove_tree(_folder(train_dir, step))
    return folder


def remove_partial(train_dir: str) -> None:
    """Removes what a killed run left half-written."""
    for name in files.list_dir(train_dir):
        folder = f"{train_dir}/{name}"
        if name.startswith("partial-") or (
            files.is_remote(folder) and name.startswith("checkpoint-") and not files.exists(f"{folder}/state.json")
        ):
            files.remove_tree(folder)


def of_classes(path: str) -> bool:
    """Whether a variable depends on the vocabulary: the classifiers of the leaves do, and what Adam keeps of them."""
    return "classifier" in path.split("/")


def restore_latest(
    train_dir: str,
    model: MOD,
    optimizer: keras.optimizers.Optimizer | None = None,
    carry_step: bool = True,
    anew: Callable[[str], bool] | None = None,
    choice: str = LAST,
) -> State | None:
    """Restores the newest checkpoint that is whole (see `newest`), or the one that a choice names.

    Args:
        choice: see `chosen_steps`; of "average:<n>" the weights are means, all else is that of the last.
        optimizer: a built `FusedAdam` to restore too, with the random state; None: the model alone.
        carry_step: False restores weights and Adam's moments but neither the step nor the random state: how
            finetuning starts.
        anew: a function of a variable's path: those for which it is true are not restored, which stderr reports.

    Returns:
        the checkpoint's state, or None where the train_dir has no checkpoint.

    Raises:
        UserError: where all checkpoints are damaged, or one is of another model.
    """

    def restore(prefixes, state):
        _restore(prefixes[-1], model, optimizer, carry_step, anew)
        if len(prefixes) > 1:
            _assign(model, prefixes, anew=anew)
        return state

    return read_chosen(train_dir, choice, restore) if steps(train_dir) else None


def newest(train_dir: str, read: Callable[[str, State], T]) -> T | None:
    """What `read` makes of the newest checkpoint that is whole.

    Where it is damaged, a warning on stderr says so and the one before is taken.

    Args:
        read: a function (prefix of the checkpoint's variables, state).

    Returns:
        what `read` returns, or None where the train_dir has no checkpoint.

    Raises:
        UserError: where all checkpoints are damaged, or one is of another model.
    """
    found = steps(train_dir)
    for step in reversed(found):
        folder = _folder(train_dir, step)
        try:
            return read(f"{folder}/variables", _read_state(f"{folder}/state.json", step))
        except _PASSING as error:
            raise UserError(
                f"Cannot read {folder}: {first_line(error)}; it may be whole, so nothing is done without it."
            ) from error
        except _DAMAGE as error:
            if isinstance(error, _Mismatch) or step == found[0]:
                raise UserError(f"Cannot restore {folder}: {first_line(error)}") from error
            print(
                f"warning: the checkpoint {folder} is damaged ({first_line(error)}); taking the one before it.",
                file=sys.stderr,
            )
    return None


def check_choice(choice: str) -> None:
    """Raises `UserError` unless `choice` is "last", "best", a step, or "average:<n>"."""
    if not re.fullmatch(r"last|best|\d+|average:0*[1-9]\d*", choice):
        raise UserError(f'--checkpoint must be last, best, a step or average:<n>, got "{choice}".')


def chosen_steps(train_dir: str, choice: str = LAST) -> list[int]:
    """The steps of the checkpoints that a choice names: one, or with "average:<n>" the last n.

    Args:
        choice: "last"; "best", the one that `best.json` of a run with validation names; the number of a step; or
            "average:<n>".

    Raises:
        UserError: where there is no such checkpoint.
    """
    check_choice(choice)
    found = steps(train_dir)
    if not found:
        raise UserError(f"{train_dir} holds no checkpoint.")
    if choice == LAST:
        return found[-1:]
    if choice.startswith("average:"):
        count = int(choice.removeprefix("average:"))
        if count > len(found):
            raise UserError(
                f"--checkpoint={choice}: {train_dir} holds {len(found)} checkpoints only (more stay with "
                "--keep_checkpoints in training)."
            )
        return found[-count:]
    step = _best_step(train_dir) if choice == "best" else int(choice)
    if step not in found:
        listed = ", ".join(map(str, found))
        raise UserError(f"--checkpoint={choice}: {train_dir} holds no checkpoint of step {step}, but of {listed}.")
    return [step]


def _best_step(train_dir):
    path = f"{train_dir}/best.json"
    if not files.exists(path):
        raise UserError(f"--checkpoint=best: {path} does not exist, which a run with --eval_data_pattern writes.")
    best = files.read_json(path)
    if not isinstance(best, dict) or type(best.get("step")) is not int:
        raise UserError(f"{path} must name a step.")
    return best["step"]


def read_chosen(train_dir: str, choice: str, read: Callable[[list[str], State], T]) -> T | None:
    """What `read` makes of the checkpoints that a choice names.

    The last may be damaged: then the one before is taken, as `newest` says. Others are taken as they are named.

    Args:
        choice: see `chosen_steps`.
        read: a function (list of prefixes of the checkpoints' variables, state of the last of them).

    Raises:
        UserError: where there is no such checkpoint, or it cannot be read.
    """
    chosen = chosen_steps(train_dir, choice)
    if choice == LAST:
        return newest(train_dir, lambda prefix, state: read([prefix], state))
    folders = [_folder(train_dir, step) for step in chosen]
    try:
        state = _read_state(f"{folders[-1]}/state.json", chosen[-1])
        return read([f"{folder}/variables" for folder in folders], state)
    except (*_PASSING, *_DAMAGE) as error:
        raise UserError(f"Cannot read {', '.join(folders)}: {first_line(error)}") from error


class StoredVariables:
    """The variables of a checkpoint, or their means over several, each read when it is asked for.

    Batch-norm averages are averaged with the rest: computing them anew for the mean weights would take a pass over
    training data, which whoever scores does not have.

    Args:
        prefixes: of the files of one checkpoint or of several.
        averages: take the average of a weight during training in place of the weight, where there is one.
    """

    def __init__(self, *prefixes: str, averages: bool = False):
        self._readers = [tf.compat.v1.train.NewCheckpointReader(prefix) for prefix in prefixes]
        self._shapes = self._readers[0].get_variable_to_shape_map()
        self._averages = averages

    def check(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """Raises an error of another model unless all of {path: shape} are there."""
        if missing := [path for path in shapes if _key(path) not in self._shapes]:
            raise _Mismatch(f"it lacks {len(missing)} variables of the model, {', '.join(missing[:5])} among them.")
        for path, shape in shapes.items():
            if list(shape) != self._shapes[_key(path)]:
                raise _Mismatch(f"{path} has the shape {self._shapes[_key(path)]} there and {list(shape)} here.")

    def read(self, path: str, shape: Sequence[int]) -> np.ndarray:
        """The array of a variable, after `check`."""
        self.check({path: shape})
        key = _key(path)
        average = _key(f"optimizer/{path.removeprefix('model/')}/average")
        if self._averages and path.startswith("model/") and average in self._shapes:
            key = average
        arrays = [reader.get_tensor(key) for reader in self._readers]
        return arrays[0] if len(arrays) == 1 else np.mean(arrays, axis=0, dtype=np.float64).astype(arrays[0].dtype)


def load_model(
    train_dir: str,
    placement: Placement | None = None,
    frames: int | None = None,
    precision: str | None = None,
    checkpoint: str = LAST,
) -> tuple[MOD, Run]:
    """The trained model of a train_dir; where training averaged the weights (`ema_momentum`), with the averages.

    Args:
        checkpoint: which: "last", "best", a step as text, or "average:<n>"; see `chosen_steps`.
        placement: a `Placement`; any may load what another saved.
        frames: frames of an example in place of the run's own, for instance to score whole videos with a finetuned
            model.
        precision: in place of the run's own.

    Returns:
        (`MOD`, `Run`).
    """
    run = Run.load(train_dir)
    chosen_steps(train_dir, checkpoint)
    check_memory(run.model, 1, 1, run.model.max_frames)
    model = MOD.for_phase(run.model, run.phase, placement, precision or run.precision, run.seed, frames)
    if checkpoint == LAST and not run.phase.ema_momentum:
        restore_latest(train_dir, model)
    else:
        restore_weights(train_dir, model, checkpoint)
    return model, run


def restore_weights(train_dir: str, model: MOD, choice: str) -> None:
    """Gives a model the weights of another checkpoint of its run, as `load_model` does."""
    read_chosen(train_dir, choice, lambda prefixes, state: _assign(model, prefixes, averages=True))


def _assign(model, prefixes, averages=False, anew=None):
    stored = StoredVariables(*prefixes, averages=averages)
    for path, variable in model_variables(model).items():
        if not (anew and anew(path)):
            variable.assign(stored.read(f"model/{path}", variable.shape))


def set_eigenvalues(model: MOD, path: files.Path) -> None:
    """Gives a model the de-whitening scale from a .npy file of PCA eigenvalues."""
    with files.open_file(path, "rb") as file:
        try:
            eigenvalues = np.load(file, allow_pickle=False)
        except Exception as error:  # A damaged header raises what numpy's parser happens to meet.
            raise UserError(f"{path} is not a .npy array of PCA eigenvalues: {first_line(error)}") from error
    try:
        model.scaling.set_eigenvalues(eigenvalues)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def seed_everything(seed: int) -> None:
    """Seeds the initial weights."""
    keras.utils.set_random_seed(seed)


class _Mismatch(UserError):
    """A whole checkpoint of another model."""


def _folder(train_dir, step):
    return f"{train_dir}/checkpoint-{step:08d}"


def _path(variable):
    return variable.path.removeprefix("mod/")  # The name of a `MOD`.


def _is_random_state(variable):
    return variable.name == "seed_generator_state"


def _check_finite(name, variable, step):
    try:
        tf.debugging.check_numerics(variable, "")  # One operation, where is_finite and reduce_all are two and a copy.
    except tf.errors.InvalidArgumentError as error:
        raise UserError(f"The {name} is not finite at step {step}: the checkpoint was not written.") from error


def _read_state(path, step):
    state = files.read_json(path)
    if not isinstance(state, dict) or state.get("step") != step:
        raise UserError(f"{path} is not the state of step {step}.")
    state = new_state() | state
    interval = state["interval"]
    numbers = [state[name] for name in ("epoch", "place", "examples")]
    if (
        not all(type(number) is int and number >= 0 for number in numbers)
        or not isinstance(interval, dict)
        or not all(type(value) in (int, float) for value in interval.values())
    ):
        raise UserError(f"{path} holds an epoch, place, number of examples or log line that no run has.")
    return state


def _restore(prefix, model, optimizer, carry_step, anew=None):
    targets = {"model": model_variables(model)}
    if optimizer is not None:
        targets["optimizer"] = optimizer_variables(model, optimizer)
        if carry_step:
            targets["model"] |= random_state(model)
        else:  # Averages of the weights begin with the run.
            begun = [path for path in targets["optimizer"] if path == "step" or path.endswith("/average")]
            targets["optimizer"] = {path: v for path, v in targets["optimizer"].items() if path not in begun}
    if anew:
        weights = targets["model"]
        new = [path for path in weights if anew(path)]
        targets = {
            kind: {path: variable for path, variable in variables.items() if not anew(path)}
            for kind, variables in targets.items()
        }
        print(
            f"{prefix}: {len(targets['model']):,} of {len(weights):,} variables of the model restored; made anew: "
            f"{', '.join(new[:4])}{', ...' if len(new) > 4 else ''} ({len(new):,}).",
            file=sys.stderr,
        )
    named = {f"{kind}/{path}": variable for kind, variables in targets.items() for path, variable in variables.items()}
    StoredVariables(prefix).check({path: variable.shape for path, variable in named.items()})
    for part in _parts(targets):
        status = tf.train.Checkpoint(**part).read(prefix, CHECKPOINT_OPTIONS)
        status.assert_existing_objects_matched().expect_partial()


def _parts(targets):
    """The targets in parts of some 256 MB: what is read at once lies in memory twice."""
    part, size = {}, 0
    for kind, variables in targets.items():
        for path, variable in variables.items():
            part.setdefault(kind, {})[path] = variable
            size += variable.shape.num_elements() * variable.dtype.size
            if size > 2**28:
                yield part
                part, size = {}, 0
    yield part


def _key(path):
    """The name under which TensorFlow's object checkpoint stores a variable of a dict."""
    kind, _, name = path.partition("/")
    return f"{kind}/{name.replace('.', '..').replace('/', '.S')}/.ATTRIBUTES/VARIABLE_VALUE"
