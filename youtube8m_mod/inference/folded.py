"""The inference form of a trained model: the same logits with fewer operations.

Everything between the stored bytes and a matmul that is affine is multiplied into its weights, in float64:

* dequantising and de-whitening into the first matmul (both are one affine map per feature);
* the expansion into the projections of attention and assignment, where that saves operations: no nonlinearity
  stands between them, (x We) Wa = x (We Wa);
* batch norms, at their moving averages, into the matmul before or after them.

Inputs are measured in bytes, u = x * 255/4, so that what an absent frame holds, a dequantised 0, stays 0.
The functions here make a `FoldedModel` (`folded_model.py`) of a model or of a checkpoint.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from youtube8m_mod.config import ModelConfig
from youtube8m_mod.distribution.placement import Placement
from youtube8m_mod.errors import UserError
from youtube8m_mod.inference.folded_model import PRECISIONS, Classes, FoldedModel
from youtube8m_mod.inference.int8 import Int8Model, TooCoarse
from youtube8m_mod.inference.weights import checkpoint_weights, model_weights
from youtube8m_mod.models.size import below, check_memory
from youtube8m_mod.training import checkpoint_store
from youtube8m_mod.training.run import Run
from youtube8m_mod.tree import parse_path

if TYPE_CHECKING:
    from youtube8m_mod.models.mod import MOD


def fold(
    model: "MOD",
    node: str = "",
    precision: str = "float32",
    classes: Classes = None,
    placement: Placement | None = None,
    kernels_right: bool = False,
) -> FoldedModel:
    """The inference form of a trained `MOD` or of a part of it.

    Args:
        model: a `MOD`.
        node: path of the node that scores: "" is the root, "1/2" the third child of the second child.
        precision: "float32" is exact to 1e-5 on logits; "bfloat16" holds for the large matmuls and what stands
            between them: normalisation, mixing and the classifier stay float32.
        classes: numbers of the classes to score, in the order of the output; None: all.
        placement: a `Placement` of the subtrees; None: the model's.
        kernels_right: use weights as right factors of matmuls only: slower here, but what TFLite quantises.

    Returns:
        a `FoldedModel`.

    Raises:
        UserError: there is no such node, precision or class.
    """
    check_options(model.config, node, precision, classes)
    placement, segments = placement or model.placement, model.segments
    return FoldedModel(model.config, segments, model_weights(model), node, precision, classes, placement, kernels_right)


def fold_checkpoint(
    train_dir: str,
    node: str = "",
    precision: str = "float32",
    classes: Classes = None,
    placement: Placement | None = None,
    kernels_right: bool = False,
    segments: bool | None = None,
    checkpoint: str = checkpoint_store.LAST,
) -> FoldedModel:
    """The inference form of the model in a train_dir's newest checkpoint, or in another.

    The same as `fold(load_model(train_dir)[0])`, in less time and memory: the model itself is not built. Of each weight
    only what inference needs is kept, and one weight at a time is read.

    Args:
        segments: whether it scores segments or whole videos; None: as it was trained.
        checkpoint: which: "last", "best", a step as text, or "average:<n>"; see `checkpoint_store.chosen_steps`.
        placement: a `Placement`; None leaves it to TensorFlow.

    Raises:
        UserError: also where the train_dir holds no run, or no checkpoint that is whole.
    """
    options = (node, precision, classes, placement or Placement(), kernels_right)

    def make(run, segments, prefixes):
        return FoldedModel(run.model, segments, checkpoint_weights(*prefixes), *options)

    return _of_checkpoint(train_dir, checkpoint, segments, options, make)


def fold_int8(
    train_dir: str,
    sample: tuple[Any, Any, Any],
    node: str = "",
    classes: Classes = None,
    segments: bool | None = None,
    checkpoint: str = checkpoint_store.LAST,
) -> Int8Model:
    """The model in a train_dir's newest checkpoint with 8-bit weights, on this machine's processor.

    The first call converts the leaves, which takes some seconds each, and keeps them beside the checkpoint.

    Args:
        sample: arguments of `predict`: some examples on which a new leaf is held against float32.
        node, classes, segments, checkpoint: see `fold_checkpoint`; what is of the mean of several checkpoints is kept
            beside the last of them.

    Raises:
        UserError: as `fold_checkpoint`, and where 8 bits change a probability of the sample too much.
    """

    def make(run, segments, prefixes):
        return Int8Model(run.model, segments, prefixes, sample, node, classes)

    try:
        return _of_checkpoint(train_dir, checkpoint, segments, (node, "float32", classes), make)
    except TooCoarse as error:
        raise UserError(str(error)) from error


def _of_checkpoint(train_dir, checkpoint, segments, options, make):
    """`make(run, segments, prefixes)` for the checkpoint of a train_dir, or the several, that a choice names."""
    run = Run.load(train_dir)
    checkpoint_store.chosen_steps(train_dir, checkpoint)
    check_options(run.model, *options[:3])
    check_memory(below(run.model, options[0]), 1, 1, run.model.max_frames)
    segments = run.phase.segments if segments is None else segments
    return checkpoint_store.read_chosen(train_dir, checkpoint, lambda prefixes, state: make(run, segments, prefixes))


def check_options(config: ModelConfig, node: str, precision: str, classes: Classes) -> None:
    """Raises `UserError` where there is no such node, precision or class; see `fold`."""
    parse_path(node, config.branching)
    if precision not in PRECISIONS:
        raise UserError(f'precision must be one of {", ".join(PRECISIONS)}, got "{precision}".')
    if classes is not None:
        check_classes(classes, config.num_classes)


def check_classes(classes: Sequence[int] | np.ndarray, num_classes: int) -> None:
    """Raises `UserError` unless `classes` are different class numbers."""
    wrong = [number for number in classes if not 0 <= number < num_classes]
    if wrong or len(set(classes)) < len(classes) or not len(classes):
        raise UserError(
            f"classes must be different numbers below {num_classes}, got "
            f"{wrong[0] if wrong else 'a repeated one' if len(classes) else 'none'}."
        )
