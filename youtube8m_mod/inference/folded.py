"""The inference form of a trained model: the same logits with fewer operations.

Everything between the stored bytes and a matmul that is affine is multiplied into its weights, in float64:

* dequantising and de-whitening into the first matmul (both are one affine map per feature);
* the expansion into the projections of attention and assignment, where that saves operations: no nonlinearity
  stands between them, (x We) Wa = x (We Wa);
* batch norms, at their moving averages, into the matmul before or after them.

Inputs are measured in bytes, u = x * 255/4, so that what an absent frame holds, a dequantised 0, stays 0.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import tensorflow as tf

from youtube8m_mod.config import SEGMENT_FRAMES, ModelConfig
from youtube8m_mod.data.records import DEQUANTIZE_OFFSET, DEQUANTIZE_SCALE, FLOAT_RANGE
from youtube8m_mod.distribution.placement import Placement
from youtube8m_mod.errors import UserError
from youtube8m_mod.inference.folded_mixtures import FoldedMixing, fold_node
from youtube8m_mod.inference.folded_nodes import Inputs, Settings
from youtube8m_mod.inference.int8 import Int8Leaves, TooCoarse
from youtube8m_mod.inference.weights import Weights, checkpoint_weights, model_weights
from youtube8m_mod.layers.feature_scaling import input_offset
from youtube8m_mod.models.size import check_memory
from youtube8m_mod.training import checkpoint_store
from youtube8m_mod.training.run import Run
from youtube8m_mod.tree import parse_path

if TYPE_CHECKING:
    from youtube8m_mod.models.mod import MOD

ZERO_BYTE = -DEQUANTIZE_OFFSET / DEQUANTIZE_SCALE  # The (fractional) byte that dequantises to 0.
PRECISIONS = {"float32": tf.float32, "bfloat16": tf.bfloat16}

Classes: TypeAlias = Sequence[int] | np.ndarray | None  # Numbers of the classes to score; None: all.
Values: TypeAlias = tf.Tensor | np.ndarray


def fold(
    model: "MOD",
    node: str = "",
    precision: str = "float32",
    classes: Classes = None,
    placement: Placement | None = None,
    kernels_right: bool = False,
) -> "FoldedModel":
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
) -> "FoldedModel":
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
) -> "Int8Model":
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
    check_memory(run.model, 1, 1, run.model.max_frames)
    segments = run.phase.segments if segments is None else segments
    return checkpoint_store.read_chosen(train_dir, checkpoint, lambda prefixes, state: make(run, segments, prefixes))


class FoldedModel(tf.Module):
    """A model folded for inference; made by `fold` and `fold_checkpoint`.

    Attributes:
        config: the `ModelConfig`.
        segments: whether the model scores 5-frame segments.
        frames: rows of a batch in training. The mixing nets average over that many, padding included, whatever the
            rows of a batch; over all frames of an example that has more.
        classes: int `(C,)`, the number of each scored class.

    Call arguments of `predict`, `logits` and `outputs`:
        features: uint8, or float and already dequantised, `(batch, frames, features)`; of more frames than
            `config.max_frames` the first count.
        num_frames: `(batch,)`, frames to attend to; None: all.
        present_frames: `(batch,)`, leading frames that exist, others are read as 0; None: all.
        padded_frames: the number that shorter examples count as padded to; None: `frames`.
    """

    def __init__(
        self,
        config: ModelConfig,
        segments: bool,
        weights: Weights,
        node: str,
        precision: str,
        classes: Classes,
        placement: Placement,
        kernels_right: bool = False,
        leaf: Callable[..., Any] | None = None,
    ):
        super().__init__()
        self.config, self.segments, self.placement = config, segments, placement
        self.frames = SEGMENT_FRAMES if segments else config.max_frames
        self.dtype = PRECISIONS[precision]
        self.classes = np.arange(config.num_classes) if classes is None else np.asarray(classes)
        scale = weights("scaling/scale", config.feature_size).astype(np.float64)
        input_map = DEQUANTIZE_SCALE * scale, -input_offset(config.feature_size, config.whitened_size) * scale
        settings = Settings(input_map, self.dtype, classes, kernels_right, leaf)

        path = parse_path(node, config.branching)
        # A number of the placement each.
        self.devices = path[:1] if path else range(config.branching[0] if config.branching else 1)
        self.subtrees, self.mixing = [], None
        for index in self.devices:
            with placement.subtree(index):
                own = weights.below(node or str(index))
                self.subtrees.append(fold_node(config, len(path) or min(1, len(config.branching)), own, settings))
        if not path and config.branching:
            with placement.root():
                self.mixing = FoldedMixing(config, len(self.subtrees), weights.below("root/mixing"), settings)

    def predict(
        self,
        features: Values,
        num_frames: Values | None = None,
        present_frames: Values | None = None,
        padded_frames: int | None = None,
    ) -> tf.Tensor:
        """Probabilities, float32 `(batch, C)`."""
        return _of_any_batch(self._probabilities, features, num_frames, present_frames, padded_frames)

    @tf.function(autograph=False, reduce_retracing=True)
    def _probabilities(self, features, num_frames, present_frames, padded_frames):
        return tf.sigmoid(self.logits(features, num_frames, present_frames, padded_frames))

    def predict_logits(
        self,
        features: Values,
        num_frames: Values | None = None,
        present_frames: Values | None = None,
        padded_frames: int | None = None,
    ) -> tf.Tensor:
        """What `logits` gives, by a graph as `predict`."""
        return _of_any_batch(self._traced_logits, features, num_frames, present_frames, padded_frames)

    @tf.function(autograph=False, reduce_retracing=True)
    def _traced_logits(self, features, num_frames, present_frames, padded_frames):
        return self.logits(features, num_frames, present_frames, padded_frames)

    def predict_outputs(
        self,
        features: Values,
        num_frames: Values | None = None,
        present_frames: Values | None = None,
        padded_frames: int | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """What `outputs` gives, by a graph as `predict`."""
        return _of_any_batch(self._traced_outputs, features, num_frames, present_frames, padded_frames)

    @tf.function(autograph=False, reduce_retracing=True)
    def _traced_outputs(self, features, num_frames, present_frames, padded_frames):
        return self.outputs(features, num_frames, present_frames, padded_frames)

    def logits(
        self,
        features: Values,
        num_frames: Values | None = None,
        present_frames: Values | None = None,
        padded_frames: int | None = None,
    ) -> tf.Tensor:
        """Logits, float32 `(batch, C)`."""
        return self._nodes(features, num_frames, present_frames, padded_frames)[0]

    def outputs(
        self,
        features: Values,
        num_frames: Values | None = None,
        present_frames: Values | None = None,
        padded_frames: int | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Logits, float32 `(batch, C)`, and the hidden vectors of the leaves, float32 `(batch, leaves, hidden_size)`.

        A leaf's hidden vector is what its classifier reads: behind the context gating, or the bag's hidden layer.
        """
        logits, hidden = self._nodes(features, num_frames, present_frames, padded_frames)
        with self.placement.root():
            return logits, tf.stack(hidden, axis=1)

    def _nodes(self, features, num_frames, present_frames, padded_frames):
        """Logits and the hidden vectors of the leaves, a list in the order of the tree."""
        inputs, outputs, hidden = {}, [], []
        for index, subtree in zip(self.devices, self.subtrees):
            device = self.placement.device_of(index)
            with self.placement.subtree(index):
                if device not in inputs:
                    inputs[device] = self._inputs(features, num_frames, present_frames, padded_frames or self.frames)
                logits, own = subtree(inputs[device])
                outputs.append(logits)
                hidden += own
        if self.mixing is None:
            return outputs[0], hidden
        with self.placement.root():
            return self.mixing(inputs[self.placement.device_of(0)], outputs), hidden

    def _inputs(self, features, num_frames, present_frames, padded_frames):
        features = features[:, : self.config.max_frames]
        batch, count = tf.shape(features)[0], tf.shape(features)[1]
        if self.segments and features.shape[1] != self.frames:
            # A segment attends to all its frames, those past the end of the video too.
            present_frames = tf.fill((batch,), count) if present_frames is None else present_frames
            features = tf.pad(features, [[0, 0], [0, tf.maximum(self.frames - count, 0)], [0, 0]])
            count = tf.shape(features)[1]

        def leading(frames):
            return None if frames is None else tf.range(count) < tf.cast(frames, tf.int32)[:, None]

        present, ends = leading(present_frames), np.cumsum((0, *self.config.feature_sizes))
        # Slices: tf.split has no kernel for bytes on a GPU.
        streams = [self._bytes(features[..., start:end], present) for start, end in zip(ends, ends[1:])]
        total = tf.concat([tf.reduce_sum(tf.cast(stream, tf.float32), axis=1) for stream in streams], axis=-1)
        # By its own length: how far other examples of the batch reach must not matter.
        own = count if present_frames is None else tf.minimum(tf.cast(present_frames, tf.int32)[:, None], count)
        rows = tf.maximum(own, padded_frames)
        mean = total / tf.cast(rows, tf.float32)
        attended = leading(num_frames)
        return Inputs(streams, attended, tf.fill((batch,), count) if num_frames is None else num_frames, mean)

    def _bytes(self, stream, present):
        """A feature in units of a byte, 0 where a frame is absent."""
        if stream.dtype == tf.uint8:
            stream = tf.cast(stream, self.dtype) - tf.cast(ZERO_BYTE, self.dtype)
        else:
            if self.config.clip_features:
                stream = tf.clip_by_value(stream, *FLOAT_RANGE)
            stream = tf.cast(stream * (1 / DEQUANTIZE_SCALE), self.dtype)
        return stream if present is None else tf.where(present[:, :, None], stream, tf.zeros((), self.dtype))


class Int8Model(FoldedModel):
    """A `FoldedModel` whose leaves have 8-bit weights; made by `fold_int8`."""

    def __init__(
        self,
        config: ModelConfig,
        segments: bool,
        prefixes: Sequence[str],
        sample: tuple[Any, Any, Any],
        node: str,
        classes: Classes,
    ):
        def sample_inputs():
            return self._inputs(*sample, self.frames)

        leaves = Int8Leaves(prefixes, config, segments, sample_inputs)
        super().__init__(
            config, segments, checkpoint_weights(*prefixes), node, "float32", classes, Placement(), leaf=leaves
        )

    def predict(
        self,
        features: Values,
        num_frames: Values | None = None,
        present_frames: Values | None = None,
        padded_frames: int | None = None,
    ) -> tf.Tensor:
        """Probabilities, float32 `(batch, C)`; not traced: the leaves are no operations of TensorFlow."""
        return tf.sigmoid(self.predict_logits(features, num_frames, present_frames, padded_frames))

    def predict_logits(
        self,
        features: Values,
        num_frames: Values | None = None,
        present_frames: Values | None = None,
        padded_frames: int | None = None,
    ) -> tf.Tensor:
        return self.logits(tf.convert_to_tensor(features), num_frames, present_frames, padded_frames)


def _of_any_batch(function, *arguments):
    """A traced method of a `FoldedModel`, traced for any number of examples: the last batch of a run is smaller."""
    *arguments, padded_frames = arguments
    given = [value if value is None else tf.convert_to_tensor(value) for value in arguments]
    specs = [value if value is None else tf.TensorSpec([None, *value.shape[1:]], value.dtype) for value in given]
    return function.get_concrete_function(*specs, padded_frames)(*given, padded_frames)


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
