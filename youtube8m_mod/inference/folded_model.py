"""A model folded for inference: what it is called with, and what of it computes where."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

from youtube8m_mod.config import SEGMENT_FRAMES, ModelConfig
from youtube8m_mod.data.records import DEQUANTIZE_OFFSET, DEQUANTIZE_SCALE, FLOAT_RANGE
from youtube8m_mod.distribution.placement import Placement
from youtube8m_mod.inference.folded_mixtures import FoldedMixing, fold_node
from youtube8m_mod.inference.folded_nodes import Inputs, Settings
from youtube8m_mod.inference.weights import Weights
from youtube8m_mod.layers.feature_scaling import input_offset
from youtube8m_mod.tree import parse_path

ZERO_BYTE = -DEQUANTIZE_OFFSET / DEQUANTIZE_SCALE  # The (fractional) byte that dequantises to 0.
PRECISIONS = {"float32": tf.float32, "bfloat16": tf.bfloat16}

Classes: TypeAlias = Sequence[int] | np.ndarray | None  # Numbers of the classes to score; None: all.
Values: TypeAlias = tf.Tensor | np.ndarray


class Examples(NamedTuple):
    """What a folded model scores.

    Attributes:
        features: uint8, or float and already dequantised, `(batch, frames, features)`; of more frames than
            `config.max_frames` the first count.
        num_frames: `(batch,)`, frames to attend to; None: all.
        present_frames: `(batch,)`, leading frames that exist, others are read as 0; None: all.
        padded_frames: the number that shorter examples count as padded to; None: `frames` of the model.
    """

    features: Values
    num_frames: Values | None = None
    present_frames: Values | None = None
    padded_frames: int | None = None


def of_examples(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of `Examples` that is called with their fields, as `predict(features, num_frames)`."""

    @functools.wraps(method)
    def called(self, *fields, **named_fields):
        return method(self, Examples(*fields, **named_fields))

    own, fields = inspect.signature(method), inspect.signature(Examples).parameters
    called.__signature__ = own.replace(parameters=[own.parameters["self"], *fields.values()])
    return called


class FoldedModel(tf.Module):
    """A model folded for inference; made by `fold` and `fold_checkpoint`.

    Attributes:
        config: the `ModelConfig`.
        segments: whether the model scores 5-frame segments.
        frames: rows of a batch in training. The mixing nets average over that many, padding included, whatever the
            rows of a batch; over all frames of an example that has more.
        classes: int `(C,)`, the number of each scored class.

    `predict`, `logits` and `outputs`, which are called with the fields of `Examples`, score some.
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

    @of_examples
    def predict(self, examples: Examples) -> tf.Tensor:
        """Probabilities, float32 `(batch, C)`."""
        return _of_any_batch(self._probabilities, examples)

    @of_examples
    def predict_logits(self, examples: Examples) -> tf.Tensor:
        """What `logits` gives, by a graph as `predict`."""
        return _of_any_batch(self._traced_logits, examples)

    @of_examples
    def predict_outputs(self, examples: Examples) -> tuple[tf.Tensor, tf.Tensor]:
        """What `outputs` gives, by a graph as `predict`."""
        return _of_any_batch(self._traced_outputs, examples)

    @of_examples
    def logits(self, examples: Examples) -> tf.Tensor:
        """Logits, float32 `(batch, C)`."""
        return self._nodes(examples)[0]

    @of_examples
    def outputs(self, examples: Examples) -> tuple[tf.Tensor, tf.Tensor]:
        """Logits, float32 `(batch, C)`, and the hidden vectors of the leaves, float32 `(batch, leaves, hidden_size)`.

        A leaf's hidden vector is what its classifier reads: behind the context gating, or the bag's hidden layer.
        """
        logits, hidden = self._nodes(examples)
        with self.placement.root():
            return logits, tf.stack(hidden, axis=1)

    @tf.function(autograph=False, reduce_retracing=True)
    def _probabilities(self, *examples):
        return tf.sigmoid(self.logits(*examples))

    @tf.function(autograph=False, reduce_retracing=True)
    def _traced_logits(self, *examples):
        return self.logits(*examples)

    @tf.function(autograph=False, reduce_retracing=True)
    def _traced_outputs(self, *examples):
        return self.outputs(*examples)

    def _nodes(self, examples):
        """Logits and the hidden vectors of the leaves, a list in the order of the tree."""
        inputs, outputs, hidden = self.placement.once_a_device(lambda: self.inputs(examples)), [], []
        for index, subtree in zip(self.devices, self.subtrees):
            with self.placement.subtree(index):
                logits, own = subtree(inputs(index))
                outputs.append(logits)
                hidden += own
        if self.mixing is None:
            return outputs[0], hidden
        with self.placement.root():
            return self.mixing(inputs(0), outputs), hidden

    def inputs(self, examples: Examples) -> Inputs:
        """What the nodes read of some examples."""
        features, num_frames, present_frames, padded_frames = examples
        shape, width = tuple(features.shape), self.config.feature_size
        if len(shape) != 3 or shape[2] not in (None, width):
            raise ValueError(f"Expected features of shape (batch, frames, {width}), got shape {shape}.")
        features = tf.convert_to_tensor(features)[:, : self.config.max_frames]
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
        rows = tf.maximum(own, padded_frames or self.frames)
        mean = total / tf.cast(rows, tf.float32)
        attended = leading(num_frames)
        return Inputs(streams, attended, tf.fill((batch,), count) if num_frames is None else num_frames, mean)

    def _bytes(self, stream, present):
        """A feature in units of a byte, 0 where a frame is absent."""
        if stream.dtype == tf.uint8:
            stream = tf.cast(stream, self.dtype) - tf.cast(ZERO_BYTE, self.dtype)
        elif not stream.dtype.is_floating:
            raise ValueError(f"Expected stored features, uint8, or dequantised ones, float; got {stream.dtype.name}.")
        else:
            if self.config.clip_features:
                stream = tf.clip_by_value(stream, *FLOAT_RANGE)
            stream = tf.cast(stream * (1 / DEQUANTIZE_SCALE), self.dtype)
        return stream if present is None else tf.where(present[:, :, None], stream, tf.zeros((), self.dtype))


def _of_any_batch(function, examples):
    """A traced method of a `FoldedModel`, traced for any number of examples: the last batch of a run is smaller."""
    *values, padded_frames = examples
    given = [value if value is None else tf.convert_to_tensor(value) for value in values]
    specs = [value if value is None else tf.TensorSpec([None, *value.shape[1:]], value.dtype) for value in given]
    return function.get_concrete_function(*specs, padded_frames)(*given, padded_frames)
