"""Inference with 8-bit weights: the leaves of a folded model as TFLite models, what mixes them in float32.

A leaf becomes a TFLite model with dynamic-range quantisation, the same as an export's: 8-bit weights, and inputs of
the large products rounded to 8 bits row by row. Converting one takes some seconds, so it is kept in the folder of the
checkpoint it is made of. Leaf by leaf, because no TFLite model can be larger than 2 GB.
"""

import hashlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from youtube8m_mod import files
from youtube8m_mod.config import SEGMENT_FRAMES, ModelConfig
from youtube8m_mod.distribution.placement import Placement
from youtube8m_mod.errors import UserError
from youtube8m_mod.inference.folded_model import Classes, Examples, FoldedModel, of_examples
from youtube8m_mod.inference.folded_nodes import Inputs, Settings, fold_leaf
from youtube8m_mod.inference.weights import checkpoint_weights
from youtube8m_mod.overrides import to_dict

if TYPE_CHECKING:
    from youtube8m_mod.inference.weights import Weights

TOLERANCE = 0.1  # Largest difference of a probability from float32.
_ROWS = {True: 64, False: 8}  # Segments, and videos, that a TFLite model takes at once.
_VERSION = 1  # Of what is kept beside a checkpoint.


class TooCoarse(Exception):
    """8 bits change what a leaf says; no `UserError`, which in a checkpoint that is being read means damage."""


class Int8Model(FoldedModel):
    """A `FoldedModel` whose leaves have 8-bit weights; made by `folded.fold_int8`, where its arguments stand."""

    def __init__(
        self,
        config: ModelConfig,
        segments: bool,
        prefixes: Sequence[str],
        sample: tuple[Any, Any, Any],
        node: str,
        classes: Classes,
    ):
        leaves = Int8Leaves(prefixes, config, segments, lambda: self.inputs(Examples(*sample)))
        super().__init__(
            config, segments, checkpoint_weights(*prefixes), node, "float32", classes, Placement(), leaf=leaves
        )

    @of_examples
    def predict(self, examples: Examples) -> tf.Tensor:
        """Probabilities, float32 `(batch, C)`; not traced: the leaves are no operations of TensorFlow."""
        return tf.sigmoid(self.predict_logits(*examples))

    @of_examples
    def predict_logits(self, examples: Examples) -> tf.Tensor:
        """What `logits` gives: TFLite has no graph of TensorFlow's."""
        return self.logits(*examples)


class Int8Leaves:
    """Makes the leaves of a `FoldedModel` with 8-bit weights, or takes those that an earlier run made.

    Args:
        prefixes: of the checkpoint that the weights come from, or of the several of which they are the means.
        config: its `ModelConfig`.
        segments: whether the leaves score segments.
        sample: a function that gives `Inputs` of some examples, on which a new leaf is held against float32.
    """

    def __init__(self, prefixes: Sequence[str], config: ModelConfig, segments: bool, sample: Callable[[], Inputs]):
        self.config, self.sample = config, sample
        self.frames = SEGMENT_FRAMES if segments else config.max_frames
        self._rows = _ROWS[segments]
        self.folder = os.path.dirname(prefixes[-1])
        self.checkpoint = b""  # Its index, which holds a checksum of every weight.
        for prefix in prefixes:
            with files.open_file(f"{prefix}.index", "rb") as file:
                self.checkpoint += file.read()

    def __call__(self, config: ModelConfig, weights: "Weights", settings: Settings) -> "Int8Leaf":
        """The leaf whose `Weights` these are, an `Int8Leaf`."""
        path = self._path(weights.path, settings)
        if files.exists(path):
            with files.open_file(path, "rb") as file:
                return self._leaf(file.read())
        folded = fold_leaf(config, weights, settings._replace(kernels_right=True, leaf=None))
        content = dynamic_range(*self._function(folded))
        leaf = self._leaf(content)
        self._check(folded, leaf, weights.path)
        try:
            with files.write_file(path, "wb") as file:
                file.write(content)
        except UserError as error:
            print(f"warning: the 8-bit weights are made anew in each run: {error}", file=sys.stderr)
        return leaf

    def _path(self, leaf, settings):
        what = [_VERSION, leaf, to_dict(self.config), self.frames, self._rows, settings.classes]
        digest = hashlib.sha256(json.dumps(what).encode() + self.checkpoint).hexdigest()
        return f"{self.folder}/int8-{digest[:16]}.tflite"

    def _leaf(self, content):
        return Int8Leaf(content, self._rows, self.frames)

    def _function(self, folded):
        """(concrete function of a folded leaf, the leaf), as `dynamic_range` takes them."""

        def logits(num_frames, attended, **streams):
            ordered = [streams[f"stream_{number}"] for number in range(len(streams))]
            return {"logits": folded(Inputs(ordered, attended > 0, num_frames, None))[0]}

        specs = {
            f"stream_{number}": tf.TensorSpec([self._rows, self.frames, size], tf.float32, f"stream_{number}")
            for number, size in enumerate(self.config.feature_sizes)
        }
        specs["num_frames"] = tf.TensorSpec([self._rows], tf.int32, "num_frames")
        specs["attended"] = tf.TensorSpec([self._rows, self.frames], tf.float32, "attended")
        return tf.function(logits, autograph=False).get_concrete_function(**specs), folded

    def _check(self, folded, leaf, path):
        """Raises `TooCoarse` where 8 bits change what a leaf says of the sample more than rounding does."""
        sample = self.sample()
        difference = np.abs(tf.sigmoid(folded(sample)[0]).numpy() - tf.sigmoid(leaf(sample)[0]).numpy())
        if difference.size and not difference.max() <= TOLERANCE:
            raise TooCoarse(
                f"With 8-bit weights a probability of the leaf {path.rstrip('/')} differs by {difference.max():.2g} "
                f"from float32, expected at most {TOLERANCE:g}: use --precision=float32."
            )


class Int8Leaf:
    """A leaf as a TFLite model: a function of `Inputs` that gives float32 logits `(batch, classes)`, no hidden vector.

    Args:
        content: the bytes of the model.
        rows: examples that it takes at once; more are split, fewer filled up.
        frames: rows of an example; shorter ones are filled up with frames that nothing attends to.
    """

    def __init__(self, content: bytes, rows: int, frames: int):
        self.rows, self.frames = rows, frames
        self._content = content  # The interpreter reads it where it lies.
        self._interpreter = interpreter(content)
        # The runner of a signature would lay out the memory anew in each call, which took a third more time.
        self._interpreter.allocate_tensors()
        signature = self._interpreter.get_signature_runner("serving_default")
        self._inputs = {name: tensor["index"] for name, tensor in signature.get_input_details().items()}
        self._logits = signature.get_output_details()["logits"]["index"]

    def __call__(self, inputs: Inputs) -> tuple[tf.Tensor, list[tf.Tensor]]:
        count, given = inputs.streams[0].shape[:2]
        if given > self.frames:
            raise ValueError(f"Expected at most {self.frames} frames, got {given}.")
        arrays = {f"stream_{number}": np.asarray(stream) for number, stream in enumerate(inputs.streams)}
        arrays["attended"] = (
            np.ones((count, given), np.float32)
            if inputs.attended is None
            else np.asarray(inputs.attended).astype(np.float32)
        )
        arrays["num_frames"] = np.asarray(inputs.num_frames).astype(np.int32)
        parts = [self._call(arrays, slice(start, start + self.rows)) for start in range(0, max(count, 1), self.rows)]
        return tf.constant(np.concatenate(parts)[:count]), []

    def _call(self, arrays, rows):
        """The logits of at most `self.rows` examples, and of what fills them up."""
        for name, array in arrays.items():
            part = array[rows]
            missing = [(0, self.rows - len(part)), (0, self.frames - part.shape[1] if part.ndim > 1 else 0), (0, 0)]
            self._interpreter.set_tensor(self._inputs[name], np.pad(part, missing[: part.ndim]))
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._logits)


def dynamic_range(function: tf.types.experimental.ConcreteFunction, module: tf.Module) -> bytes:
    """The bytes of a TFLite model with 8-bit weights (dynamic range, not calibrated) of a concrete function.

    Args:
        module: the `tf.Module` that holds its variables.
    """
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter.convert()


def interpreter(content: bytes) -> "tf.lite.Interpreter":
    """An interpreter of the bytes of a TFLite model, on all cores of this process."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*tf.lite.Interpreter is deprecated")  # It works.
        return tf.lite.Interpreter(model_content=content, num_threads=threads)
