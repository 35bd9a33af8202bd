"""One training of the miniature, from its data to its scores. Runs in a process of its own (`schedule.py`)."""

import functools
import os
import time
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from youtube8m_mod import overrides
from youtube8m_mod.formats.arrays import read_arrays, write_arrays
from youtube8m_mod.reproduce import data, scoring
from youtube8m_mod.reproduce.rows import TRAININGS, VARIATIONS
from youtube8m_mod.training.callbacks import RunCallback
from youtube8m_mod.training.history import read_history
from youtube8m_mod.training.run import Run
from youtube8m_mod.training.trainer import Trainer, TrainingOptions

if TYPE_CHECKING:
    from youtube8m_mod.reproduce.place import Place

_PARTITIONS = ("validation", "test")
_VIDEOS = "videos.npz"  # In the train_dir of a pretraining: its probabilities of the videos of each partition.
SEGMENTS = "segments.npz"  # In the train_dir of a finetuning: the root's probabilities of the first test videos.


def limit_threads(threads: int) -> None:
    """Settings of TensorFlow for small models, once a process: before anything runs."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    # Grappler takes longer over a graph of 12 leaves than it ever saves in a few hundred steps.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def run(place: "Place", name: str, seed: int) -> dict[str, Any]:
    """Trains and scores one training of `TRAININGS`; what is there already is not trained again.

    Returns:
        a JSON-able entry of the results: "scores" {partition: {part: score}}, "curve" (a list of the same with "step"),
        "history" (the training's log), "model", "phase", "parameters", "seconds".
    """
    keras.backend.clear_session()
    started = time.monotonic()
    training = TRAININGS[name]
    return (_gap if training.phase == "gap" else _localization)(place, training, seed) | {
        "seconds": time.monotonic() - started
    }


class _Curve(RunCallback):
    """Scores the model with every checkpoint: `points` is [{"step", "scores"}]."""

    def __init__(self, score):
        super().__init__()
        self.points, self.score = [], score

    def on_checkpoint(self, step):
        self.points.append({"step": step, "scores": self.score(self.model)})


def _train(place, training, seed, model, phase, arrays, score, curve_points, final_score=None):
    """Trains and returns the entry of the results.

    Args:
        score: a function from the `MOD` to its scores, for the curve.
        final_score: such a function for the end; None: the last of the curve.
    """
    options = TrainingOptions(
        checkpoint_steps=-(-phase.max_steps // curve_points),
        keep_checkpoints=1,
        log_steps=max(phase.max_steps // place.scale.log_points, 1),
        start_new_model=True,
    )
    pretrained = place.folder(TRAININGS[training.pretraining], seed) if training.pretraining else None
    curve = _Curve(score)
    trainer = Trainer(
        Run(model, phase, seed, started_from=pretrained),
        place.folder(training, seed),
        data.MemoryReader(arrays),
        options,
        callbacks=[curve],
    )
    trainer.train()
    return {
        "scores": final_score(trainer.model) if final_score else curve.points[-1]["scores"],
        "curve": curve.points,
        "history": read_history(trainer.train_dir),
        "examples": len(arrays["ids"]),
        "model": overrides.to_dict(model),
        "phase": overrides.to_dict(phase),
        "parameters": int(sum(np.prod(v.shape) for v in trainer.model.trainable_variables)),
    }


def _localization(place, training, seed):
    scale, folder = place.scale, place.dataset(training, seed)
    partition = data.Partition(folder, scale, VARIATIONS[training.variation].finetuning_shards)
    model, finetuning = scale.model(training), training.phase == "finetune"
    arrays = data.load_for(model, partition.finetuning if finetuning else partition.pretraining, finetuning)
    train_dir = place.folder(training, seed)

    def judge(name):
        videos = data.load_for(model, getattr(partition, name), False)
        return scoring.Judge(folder, getattr(partition, name), videos, train_dir, name)

    judges = {name: judge(name) for name in _PARTITIONS}

    def videos(pretraining):
        return read_arrays(os.path.join(place.folder(TRAININGS[pretraining], seed), _VIDEOS), _PARTITIONS)

    def score_finetuned(model, judges=judges):
        own, shared = (videos(pretraining) for pretraining in (training.candidates, training.shared_candidates))
        same = training.candidates == training.shared_candidates
        return _segment_scores(model, judges, own, own if same else shared)

    def score_pretrained(model):
        own = {name: scoring.predict(model, judge.videos)["root"] for name, judge in judges.items()}
        write_arrays(os.path.join(train_dir, _VIDEOS), own)
        return {
            name: found | {"video": judges[name].map(own[name], None), "random": judges[name].random_map()}
            for name, found in _segment_scores(model, judges, own, own).items()
        }

    phase = scale.phase(training, len(arrays["ids"]))
    if not finetuning:
        return _train(place, training, seed, model, phase, arrays, score_pretrained, 1)
    during = {"validation": judges["validation"], "test": judge("curve_test")}

    def finish(model):
        during["test"].write_segments(os.path.join(train_dir, SEGMENTS), model)
        return score_finetuned(model)

    curve = functools.partial(score_finetuned, judges=during)
    return _train(place, training, seed, model, phase, arrays, curve, scale.curve_points, finish)


def _segment_scores(model, judges, videos, shared_videos):
    """{partition: {part: MAP}}; "shared root" and "shared average" have the video-level probabilities all rows share.

    Args:
        judges: {partition: `scoring.Judge`}, of all videos of the partition or of the first of them.
        videos, shared_videos: {partition: (V, C)}, the model's own video-level probabilities and those of a single
            model, which a leaf alone takes, too.
    """
    scores = {}
    for name, judge in judges.items():
        found = scores[name] = {}
        for part, values in scoring.predict(model, judge.segments).items():
            own = shared_videos if part == "leaf" else videos
            found[part] = judge.map(own[name], values)
            if own is not shared_videos:
                found[f"shared {part}"] = judge.map(shared_videos[name], values)
    return scores


def _gap(place, training, seed):
    scale, model = place.scale, place.scale.model(training)
    train, test = data.gap_patterns(place.bank, place.bank_test, scale.gap_records, seed)
    arrays = {name: data.load_for(model, pattern, False) for name, pattern in (("train", train), ("test", test))}

    def score(model):
        return {
            name: {
                part: scoring.gap(videos["labels"], values) for part, values in scoring.predict(model, videos).items()
            }
            for name, videos in arrays.items()
        }

    return _train(place, training, seed, model, scale.phase(training), arrays["train"], score, scale.curve_points)
