"""Trained models that teach another one while it trains: offline distillation."""

from typing import Any

import tensorflow as tf

from youtube8m_mod import files
from youtube8m_mod.errors import UserError
from youtube8m_mod.inference.folded import fold_checkpoint
from youtube8m_mod.inference.members import Member, check_alike
from youtube8m_mod.inference.scorers import weighted_mean
from youtube8m_mod.training.run import Run


class Teacher:
    """Models that do not change, folded, whose logits are averaged.

    Args:
        members: the models, as `teachers` gives them.
        segments: whether they score 5-frame segments or whole videos, whatever they were trained on.

    Call arguments:
        batch: as a `Reader` gives it.

    Returns:
        logits, float32 `(batch, classes)`.
    """

    def __init__(self, members: list[Member], segments: bool):
        self._models = [
            fold_checkpoint(member.train_dir, segments=segments, checkpoint=member.checkpoint) for member in members
        ]
        self._weights, self._segments = [member.weight for member in members], segments

    def __call__(self, batch: dict[str, Any]) -> tf.Tensor:
        features, attended = batch["features"], None if self._segments else batch["num_frames"]
        # Padded as in training: a video-level record has one row there, whatever the frames of the model.
        logits = [
            model.predict_logits(features, attended, batch.get("present_frames"), features.shape[1])
            for model in self._models
        ]
        return weighted_mean(logits, self._weights)


def teachers(train_dirs: str, checkpoint: str, run: Run) -> list[Member]:
    """The models that teach the model of a run, which then notes who they are.

    Args:
        train_dirs: one or several separated by commas; a folder without a run stands for the train_dirs in it.
        checkpoint: which of their checkpoints; see `checkpoint_store.chosen_steps`.
        run: the `Run`, whose `teachers` are set.

    Raises:
        UserError: where a train_dir is missing, named twice or without that checkpoint, or a model has another
            vocabulary or other features than that of the run.
    """
    paths = [path for text in train_dirs.split(",") for path in _train_dirs(text.strip())]
    members = [Member(path, Run.load(path), checkpoint, weight=1 / len(paths)) for path in paths]
    check_alike([Member("this run", run), *members])
    for number, member in enumerate(members):
        if any(member.place == other.place for other in members[:number]):
            raise UserError(f"--teacher names {member.train_dir} twice.")
    run.teachers = [[member.place, member.identity()] for member in members]
    return members


def _train_dirs(path):
    """The path of a run, or those of the runs in a folder."""
    if not path:
        raise UserError("--teacher must be train_dirs separated by commas, got an empty one.")
    if files.exists(f"{path}/run.json") or not files.is_dir(path):
        return [path]
    inside = [f"{path.rstrip('/')}/{name.rstrip('/')}" for name in sorted(files.list_dir(path))]
    found = [folder for folder in inside if files.exists(f"{folder}/run.json")]
    if not found:
        raise UserError(f"--teacher: {path} is no train_dir, and holds none.")
    return found
