"""The checkpoints that a train_dir holds: which there are, which one a choice names, and their variables one by one.

Nothing here needs a model, so whoever only scores reads weights without building one. `checkpoints.py` writes them.
"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from youtube8m_mod import files
from youtube8m_mod.errors import UserError, first_line

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
    path = f"{folder_of(train_dir, step)}/variables.index"
    return files.digest(path) if files.exists(path) else ""


def new_state(step: int = 0, examples: int = 0) -> State:
    """The state of a run before the first example of an epoch.

    Returns:
        {"step", "epoch", "place": examples of the epoch that were used, "examples": used in all, "interval": sums of
        the log line that is not written yet}.
    """
    return {"step": step, "epoch": 0, "place": 0, "examples": examples, "interval": {}}


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
        folder = folder_of(train_dir, step)
        try:
            return read(f"{folder}/variables", _read_state(f"{folder}/state.json", step))
        except _PASSING as error:
            raise UserError(
                f"Cannot read {folder}: {first_line(error)}; it may be whole, so nothing is done without it."
            ) from error
        except _DAMAGE as error:
            if isinstance(error, OtherModel) or step == found[0]:
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
    folders = [folder_of(train_dir, step) for step in chosen]
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
        if missing := [path for path in shapes if stored_name(path) not in self._shapes]:
            raise OtherModel(f"it lacks {len(missing)} variables of the model, {', '.join(missing[:5])} among them.")
        for path, shape in shapes.items():
            if list(shape) != self._shapes[stored_name(path)]:
                raise OtherModel(
                    f"{path} has the shape {self._shapes[stored_name(path)]} there and {list(shape)} here."
                )

    def read(self, path: str, shape: Sequence[int]) -> np.ndarray:
        """The array of a variable, after `check`."""
        self.check({path: shape})
        key = stored_name(path)
        average = stored_name(f"optimizer/{path.removeprefix('model/')}/average")
        if self._averages and path.startswith("model/") and average in self._shapes:
            key = average
        arrays = [reader.get_tensor(key) for reader in self._readers]
        return arrays[0] if len(arrays) == 1 else np.mean(arrays, axis=0, dtype=np.float64).astype(arrays[0].dtype)


class OtherModel(UserError):
    """A whole checkpoint of another model."""


def folder_of(train_dir: str, step: int) -> str:
    return f"{train_dir}/checkpoint-{step:08d}"


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


def stored_name(path: str) -> str:
    """The name under which TensorFlow's object checkpoint stores a variable of a dict."""
    kind, _, name = path.partition("/")
    return f"{kind}/{name.replace('.', '..').replace('/', '.S')}/.ATTRIBUTES/VARIABLE_VALUE"
