"""Checkpoints of a train_dir: everything that a run needs to go on as if it had never stopped.

A checkpoint is a folder `checkpoint-<step>` with TensorFlow's checkpoint of every variable by its path in the model,
and `state.json` with the place in the data. It is written beside and renamed, so it is there whole or not at all; where
renaming a folder is no single act (object stores), `state.json` is written last and makes it one.
"""

import sys
import uuid
from collections.abc import Callable, Collection

import keras
import numpy as np
import tensorflow as tf

from youtube8m_mod import files
from youtube8m_mod.distribution.placement import CHECKPOINT_OPTIONS, Placement
from youtube8m_mod.errors import UserError, first_line
from youtube8m_mod.layers.initializers import overwritten
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.models.size import check_memory
from youtube8m_mod.training import checkpoint_store as store
from youtube8m_mod.training.run import Run


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
    state: store.State,
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
    folder = store.folder_of(train_dir, state["step"])
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
    found = store.steps(train_dir)
    for step in found:
        old = step in [s for s in found if s <= state["step"]][:-keep] and step not in kept_steps
        if step > state["step"] or old:
            files.remove_tree(store.folder_of(train_dir, step))
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
    choice: str = store.LAST,
) -> store.State | None:
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
        _restore(prefixes[-1], model, optimizer, carry_step, anew, state["step"])
        if len(prefixes) > 1:
            _assign(model, prefixes, anew=anew)
        return state

    return store.read_chosen(train_dir, choice, restore) if store.steps(train_dir) else None


def load_model(
    train_dir: str,
    placement: Placement | None = None,
    frames: int | None = None,
    precision: str | None = None,
    checkpoint: str = store.LAST,
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

    Raises:
        UserError: where the train_dir holds no run, no such checkpoint, or none that is whole.
    """
    run = Run.load(train_dir)
    store.chosen_steps(train_dir, checkpoint)
    check_memory(run.model, 1, 1, run.model.max_frames)
    with overwritten():
        model = MOD.for_phase(run.model, run.phase, placement, precision or run.precision, run.seed, frames)
    if checkpoint == store.LAST and not run.phase.ema_momentum:
        restore_latest(train_dir, model)
    else:
        restore_weights(train_dir, model, checkpoint)
    return model, run


def restore_weights(train_dir: str, model: MOD, choice: str) -> None:
    """Gives a model the weights of another checkpoint of its run, as `load_model` does."""
    store.read_chosen(train_dir, choice, lambda prefixes, state: _assign(model, prefixes, averages=True))


def _assign(model, prefixes, averages=False, anew=None):
    stored = store.StoredVariables(*prefixes, averages=averages)
    for path, variable in model_variables(model).items():
        if not (anew and anew(path)):
            variable.assign(stored.read(f"model/{path}", variable.shape))


def set_eigenvalues(model: MOD, path: files.Path) -> None:
    """Gives a model the de-whitening scale from a .npy file of PCA eigenvalues."""
    with files.open_file(path, "rb") as file:
        try:
            eigenvalues = np.load(file, allow_pickle=False)
        except Exception as error:  # A damaged header raises what numpy's parser happens to meet.
            # Numpy takes what it does not know for a pickle, and says how to run it.
            reason = "it is another kind of file" if "pickle" in str(error) else first_line(error)
            raise UserError(f"{path} is not a .npy array of PCA eigenvalues: {reason}.") from error
    try:
        model.scaling.set_eigenvalues(eigenvalues)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def seed_everything(seed: int) -> None:
    """Seeds the initial weights."""
    keras.utils.set_random_seed(seed)


def _path(variable):
    return variable.path.removeprefix("mod/")  # The name of a `MOD`.


def _is_random_state(variable):
    return variable.name == "seed_generator_state"


def _check_finite(name, variable, step):
    try:
        tf.debugging.check_numerics(variable, "")  # One operation, where is_finite and reduce_all are two and a copy.
    except tf.errors.InvalidArgumentError as error:
        raise UserError(f"The {name} is not finite at step {step}: the checkpoint was not written.") from error


def _restore(prefix, model, optimizer, carry_step, anew, step):
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
    stored = store.StoredVariables(prefix)
    if "optimizer" in targets and carry_step:
        stored.check({"optimizer/step": ()})
        if (found := int(stored.read("optimizer/step", ()))) not in (0, step):  # 0: it was never stepped.
            raise UserError(f"its variables are those of step {found}.")
    stored.check({path: variable.shape for path, variable in named.items()})
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
