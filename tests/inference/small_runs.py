"""Saved models and records small enough that every number can be worked out again, video by video."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from tests.inference.test_fold_checkpoint import save
from tests.models.trained_models import SMALL, trained_model
from youtube8m_mod.data import records
from youtube8m_mod.formats.predictions import read_predictions
from youtube8m_mod.inference.run import Inference
from youtube8m_mod.training.run import Run

LENGTHS = (23, 9, 3, 5, 12, 1)  # Frames of the videos.


def write_videos(folder, lengths=LENGTHS):
    """Writes two shards; returns ({id: bytes (frames, 32)}, the pattern of the shards)."""
    random = np.random.default_rng(3)
    ends = np.cumsum((0, *SMALL.feature_sizes))
    videos = {
        f"v{number:03d}": random.integers(0, 256, (length, ends[-1]), np.uint8) for number, length in enumerate(lengths)
    }
    shards = [
        records.frame_level_record(
            video_id,
            [1],
            {name: frames[:, start:end] for name, start, end in zip(SMALL.feature_names, ends, ends[1:])},
        )
        for video_id, frames in videos.items()
    ]
    records.write_shard(f"{folder}/x0.tfrecord", shards[:2])
    records.write_shard(f"{folder}/x1.tfrecord", shards[2:])
    return videos, f"{folder}/x*.tfrecord"


def save_model(train_dir, segments, seed, started_from=None, step=1, **fields):
    """Saves a trained model; returns it."""
    model = trained_model(segments=segments, seed=seed, **fields)
    save(train_dir, model, step)
    if started_from:
        dataclasses.replace(Run.load(str(train_dir)), started_from=str(started_from)).save(str(train_dir))
    return model


def node_output(model, frames, node=""):
    """The `NodeOutput` of a model's node for whole videos or segments, all of one length: uint8 (batch, frames, D).

    Rows up to the model's are padding, which a model of segments attends to. The model must stay as it is: of the same
    frames it is asked once.
    """
    frames = frames[:, : model.config.max_frames]
    output = _root_output(model, frames.tobytes(), frames.dtype, frames.shape)
    for index in map(int, filter(None, node.split("/"))):
        output = output.children[index]
    return output


@functools.lru_cache(maxsize=300)
def _root_output(model, content, dtype, shape):
    frames, count = np.frombuffer(content, dtype).reshape(shape), shape[1]
    padded = np.pad(frames, ((0, 0), (0, max(model.frames - count, 0)), (0, 0)))
    return model.tree(
        {
            "features": tf.constant(padded),
            "num_frames": tf.constant([5 if model.segments else count] * len(frames), tf.int32),
            "present_frames": tf.constant([count] * len(frames), tf.int32),
        }
    )


def logits(model, frames, node=""):
    """Logits, float64 (V,), of one video or segment, uint8 (frames, D)."""
    return node_output(model, frames[np.newaxis], node).logits.numpy()[0].astype(np.float64)


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def write_all(train_dir, pattern, stem, **options):
    """Writes submission, predictions of videos and of segments: "<stem>.csv", "<stem> videos.csv" and so on."""
    paths = (f"{stem}{ending}.csv" for ending in ("", " videos", " segments"))
    Inference(train_dir, pattern, *paths, top_k=SMALL.num_classes, **options).run()


def predictions(path, classes=SMALL.num_classes):
    """{id: float (classes,)} of a file with the probabilities of all classes."""
    found = {}
    for line_id, numbers, values in read_predictions(path):
        found[line_id] = np.empty(classes)
        found[line_id][numbers] = values
    return found
