"""TFLite models with 8-bit weights (dynamic range), for CPUs and phones, and what the 8 bits cost in MAP."""

import collections
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from youtube8m_mod.data import records
from youtube8m_mod.evaluation.mean_average_precision import average_precision
from youtube8m_mod.inference import int8

if TYPE_CHECKING:
    from youtube8m_mod.data.reader import Reader
    from youtube8m_mod.serving.signatures import Signatures

Predictor = Callable[[np.ndarray, np.ndarray], np.ndarray]  # Of features and present frames.

_BATCH = 64


def convert(signatures: "Signatures") -> bytes:
    """The bytes of a TFLite model with the signature `serving_default`.

    It takes any number of examples, of as many frames as the model was trained on; `num_frames` is how many exist.

    Args:
        signatures: `Signatures` of a model that was folded with `kernels_right`.
    """
    model = signatures.model
    function = tf.function(signatures.videos, autograph=False).get_concrete_function(
        tf.TensorSpec([None, model.frames, model.config.feature_size], tf.float32, "rgb_and_audio"),
        tf.TensorSpec([None, 1], tf.int32, "num_frames"),
    )
    return int8.dynamic_range(function, signatures)


def predictor(content: bytes) -> Predictor:
    """A function (features uint8 or float, num_frames) -> probabilities that runs the bytes of a TFLite model."""
    runner = int8.interpreter(content).get_signature_runner("serving_default")

    def predict(features, num_frames):
        if features.dtype == np.uint8:
            features = records.dequantize(features)
        return runner(rgb_and_audio=features, num_frames=num_frames[:, np.newaxis])["predictions"]

    return predict


def mean_average_precisions(
    predictors: Sequence[Predictor], reader: "Reader", classes: np.ndarray
) -> tuple[list[float], int]:
    """MAP of several models over the data of a reader: rated segments, or videos with all their classes rated.

    Args:
        predictors: functions (features, present frames) -> probabilities `(batch, C)`.
        reader: a `Reader`.
        classes: int `(C,)`, the class of each column.

    Returns:
        (a list of MAPs (Eq. 8), number of ratings).
    """
    scores = [collections.defaultdict(list) for _ in predictors]
    truth = collections.defaultdict(list)
    for batch in reader.read(_BATCH):
        labels = batch["labels"].numpy()[:, classes]
        rated = batch["label_weights"].numpy()[:, classes] > 0 if "label_weights" in batch else labels >= 0
        features, present = batch["features"].numpy(), batch["present_frames"].numpy()
        answers = [predict(features, present) for predict in predictors]
        for column in np.flatnonzero(rated.any(axis=0)):
            rows = rated[:, column]
            truth[column].append(labels[rows, column])
            for score, answer in zip(scores, answers):
                score[column].append(answer[rows, column])
    truth = {column: np.concatenate(parts) for column, parts in truth.items()}
    scored = [column for column, relevance in truth.items() if relevance.any()]
    maps = []
    for score in scores:
        precisions = []
        for column in scored:
            order = np.argsort(-np.concatenate(score[column]), kind="stable")
            precisions.append(average_precision(truth[column][order], np.count_nonzero(truth[column])))
        maps.append(float(np.mean(precisions)) if scored else 0.0)
    return maps, sum(map(len, truth.values()))
