"""A train_dir out of a checkpoint of the original TensorFlow 1 code."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from youtube8m_mod import config, files, overrides
from youtube8m_mod.errors import UserError, first_line

_LISTED = 20  # Names that an error lists, of each kind.
_COUNTERS = ("global_step", "beta1_power", "beta2_power")
_SLOTS = ("/Adam", "/Adam_1")  # Adam's first and second moments.
# What a conversion shows of a configuration.
_SIZES = (
    "feature_sizes",
    "groups",
    "clusters",
    "expansion",
    "hidden_size",
    "gating_reduction",
    "num_classes",
)


def read_config(shapes: Mapping[str, tuple[int, ...]], checkpoint: str) -> tuple[config.ModelConfig, int]:
    """The model in a checkpoint, from its variables' names and shapes.

    One tower of b branches is the mixture (b,): the original's root net over one tower, whose weight is always 1, is
    left out. Several towers are (towers, branches), and towers without branches (the original's single model on several
    GPUs) are (towers,).

    Args:
        shapes: {name: shape}.
        checkpoint: its name, for errors.

    Returns:
        (`ModelConfig`, number of towers). What the variables do not show, as the number of frames, has its default.
    """
    towers, branches = _count(shapes, "tower_"), _count(shapes, "tower_0/branch_")
    leaf, suffix = ("tower_0/branch_0", "vlad") if branches else ("tower_0", "VLAD")

    def shape(name, rank):
        if len(found := shapes.get(f"{leaf}/{name}", ())) != rank:
            raise UserError(
                f"{checkpoint} is not a NeXtVLAD checkpoint of the original: a variable {leaf}/{name} with "
                f"{rank} dimensions was expected, got {list(found) or 'none'}."
            )
        return found

    sizes = [
        shape(f"{stream}_{suffix}/fully_connected/weights", 2)[0]
        for stream in ("video", "audio")
        if stream == "video" or any(name.startswith(f"{leaf}/audio_{suffix}/") for name in shapes)
    ]
    size, width = shape(f"video_{suffix}/fully_connected/weights", 2)
    hidden_size, reduced = shape("gating_weights_1", 2)
    values = dict(
        branching=tuple(count for count in (towers if towers > 1 else 0, branches) if count),
        feature_names=("rgb", "audio")[: len(sizes)],
        feature_sizes=tuple(sizes),
        num_classes=shape("fully_connected/weights", 2)[1],
        groups=shape(f"video_{suffix}/fully_connected_1/weights", 2)[1],
        clusters=shape(f"video_{suffix}/cluster_weights2", 3)[2],
        expansion=width // size if width % size == 0 else width / size,
        hidden_size=hidden_size,
        gating_reduction=hidden_size // max(reduced, 1),
    )
    try:
        model = config.ModelConfig("tf1", **values)
    except UserError as error:
        raise UserError(f"{checkpoint} holds a model that cannot be: {error}") from error
    named = (
        known.name for known in config.MODELS.values() if not overrides.differences(known, model).keys() - {"name"}
    )
    return dataclasses.replace(model, name=next(named, "tf1")), towers


def convert(
    checkpoint: str,
    train_dir: str,
    phase: str | None = None,
    eigenvalues: str | None = None,
    changes: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Makes a train_dir with the weights, batch-norm averages and optimizer state of a TensorFlow 1 checkpoint.

    Args:
        checkpoint: prefix of the checkpoint's files.
        train_dir: a folder without a run.
        phase: "pretrain" or "finetune"; None: what Adam's powers of beta show. Finetuning carries them over and resets
            the step, so in a finetuned checkpoint they are smaller than its steps make them.
        eigenvalues: path of the PCA eigenvalues, which no checkpoint holds; None: a scale of one.
        changes: "field=value" of what the variables do not show: `max_frames`, `feature_names`, the phase.

    Returns:
        a list of {"quantity", "value"}: what was found.

    Raises:
        UserError: listing names, where variables of model and checkpoint do not match one to one.
    """
    from youtube8m_mod.models.mod import MOD
    from youtube8m_mod.tf1 import variable_names
    from youtube8m_mod.training import checkpoint_store, checkpoints
    from youtube8m_mod.training.optimizer import FusedAdam
    from youtube8m_mod.training.run import Run

    if files.exists(f"{train_dir}/run.json") or checkpoint_store.steps(train_dir):
        raise UserError(f"{train_dir} holds a run already; --train_dir must name a new folder.")
    checkpoint = re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", checkpoint)
    reader = _Reader(checkpoint)
    model_config, towers = read_config(reader.shapes, checkpoint)
    has_optimizer = any(name.endswith(_SLOTS) or name in _COUNTERS[1:] for name in reader.shapes)
    step = int(reader.read("global_step"))
    if phase is None:
        phase = "finetune" if has_optimizer and _carried_over(float(reader.read("beta2_power")), step) else "pretrain"
    phase_config = config.phase_config(phase)
    model_texts, phase_texts = overrides.split_overrides(changes, model_config, phase_config)
    model_config = overrides.override(model_config, model_texts)
    phase_config = overrides.override(phase_config, phase_texts)

    model = MOD.for_phase(model_config, phase_config)
    optimizer = FusedAdam(phase_config.base_learning_rate)
    optimizer.build(model.trainable_variables)
    targets = variable_names.tree_variables(model, leaf_towers=towers > 1 and len(model_config.branching) == 1)
    if has_optimizer:
        targets |= _optimizer_targets(targets, model, optimizer)
    dropped = {name for name in reader.shapes if towers == 1 and name.startswith("ensemble/")}
    _check_match(reader.shapes, targets, dropped | {"global_step"}, checkpoint)

    for name, variable in targets.items():
        variable.assign(reader.read(name))
    optimizer.iterations.assign(step)
    if eigenvalues:
        checkpoints.set_eigenvalues(model, eigenvalues)
    # The place in the original's data is not known: training goes on with the first example of an epoch.
    state = checkpoint_store.new_state(step, step * phase_config.batch_size)
    folder = checkpoints.save(train_dir, model, optimizer, state, keep=1)
    Run(model_config, phase_config).save(train_dir)

    found = {
        "checkpoint": folder,
        "model": model_config.name,
        "phase": phase_config.name,
        "step": step,
        "towers": towers,
        "branches in a tower": model_config.branching[-1] if model_config.branching else 0,
        **{name.replace("_", " "): _text(getattr(model_config, name)) for name in _SIZES},
        "parameters": sum(variable.shape.num_elements() for variable in model.trainable_variables),
        "variables carried": len(targets),
        "Adam's moments": "carried" if has_optimizer else "not in the checkpoint: they start at 0",
        "eigenvalues": eigenvalues or "none: a scale of one",
    }
    if dropped:
        found["left out"] = f"the net over one tower, ensemble/* ({len(dropped)} variables): its weight is always 1"
    return [{"quantity": name, "value": value} for name, value in found.items()]


class _Reader:
    """The variables of a checkpoint, with errors that name it."""

    def __init__(self, checkpoint):
        import tensorflow as tf

        self.checkpoint = checkpoint
        self._errors = (tf.errors.OpError, ValueError, IndexError, OSError)
        try:
            self._reader = tf.train.load_checkpoint(checkpoint)
        except self._errors as error:
            raise UserError(
                f"{checkpoint} must be the prefix of a checkpoint's files, as model.ckpt-20 of "
                f"model.ckpt-20.index: {first_line(error)}"
            ) from error
        self.shapes = {name: tuple(shape) for name, shape in self._reader.get_variable_to_shape_map().items()}

    def read(self, name):
        """The value of a variable, a numpy array or scalar."""
        if name not in self.shapes:
            raise UserError(f"{self.checkpoint} lacks the variable {name}.")
        try:
            return self._reader.get_tensor(name)
        except self._errors as error:
            raise UserError(f"{self.checkpoint}: the variable {name} cannot be read: {first_line(error)}") from error


def _count(shapes, prefix):
    """How many numbered scopes `<prefix><number>/` there are."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)/")
    return len({match[1] for match in map(pattern.match, shapes) if match})


def _carried_over(beta_2_power, step):
    """Whether Adam's power of beta_2 (0.999 in the original) has seen more steps than the checkpoint counts."""
    return beta_2_power < 0.99 * 0.999 ** (step + 1) and 0.999 ** (step + 1) > 1e-30


def _optimizer_targets(targets, model, optimizer):
    """{TF1 name: variable} of Adam's moments and its powers of beta."""
    names = {id(variable): name for name, variable in targets.items()}
    slots = {"beta1_power": optimizer.beta_1_power, "beta2_power": optimizer.beta_2_power}
    for suffix, moments in zip(_SLOTS, (optimizer.first_moments, optimizer.second_moments)):
        slots |= {
            f"{names[id(variable)]}{suffix}": moment for variable, moment in zip(model.trainable_variables, moments)
        }
    return slots


def _check_match(shapes, targets, others, checkpoint):
    """Raises `UserError` unless `targets` and `others` are what the checkpoint holds, in the same shapes."""
    shared = sorted(targets.keys() & shapes.keys())
    problems = {
        "it lacks": sorted(targets.keys() - shapes.keys()),
        "no model of the original has its": sorted(shapes.keys() - targets.keys() - others),
        "of another shape are": [
            f"{name} {list(shapes[name])} in place of {list(targets[name].shape)}"
            for name in shared
            if shapes[name] != tuple(targets[name].shape)
        ],
    }
    differing = [
        f"{what} {', '.join(names[:_LISTED])}" + (f" and {len(names) - _LISTED} more" if names[_LISTED:] else "")
        for what, names in problems.items()
        if names
    ]
    if differing:
        raise UserError(f"{checkpoint} does not match the model that its first leaf describes: {'; '.join(differing)}.")


def _text(value):
    return ", ".join(map(str, value)) if isinstance(value, tuple) else value
