"""What is known of videos: labels and ratings from records or a label cache, scenes of the miniature."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from youtube8m_mod import files
from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.data.video_ids import text_of
from youtube8m_mod.errors import UserError
from youtube8m_mod.explore.contents import Contents, Truth

if TYPE_CHECKING:
    from youtube8m_mod.data.records import RecordKeys
    from youtube8m_mod.evaluation.rated_labels import RatedLabels


def add_records(truths: dict[str, Truth], pattern: str, keys: "RecordKeys | None" = None) -> None:
    """Adds the labels and rated segments of TFRecords, under `RecordKeys`, to {video id: `Truth`}. Loads TensorFlow."""
    from youtube8m_mod.data.ground_truth import rated_segments, video_labels

    for video_id, labels in video_labels(pattern, keys=keys):
        truths.setdefault(text_of(video_id), Truth()).labels = labels.tolist()
    for video_id, *lists in rated_segments(pattern, keys=keys):
        truths.setdefault(text_of(video_id), Truth()).spans += [
            (class_id, start, start + SEGMENT_FRAMES, score > 0) for start, class_id, score in zip(*lists)
        ]


def add_ratings(truths: dict[str, Truth], rated: "RatedLabels") -> None:
    """Adds `RatedLabels` to {video id: `Truth`}."""
    for class_id in rated.classes:
        for segment_id, positive in rated.items(class_id):
            video_id, _, start = text_of(segment_id).rpartition(":")
            if start.isdecimal():
                span = class_id, int(start), int(start) + SEGMENT_FRAMES, positive
                truths.setdefault(video_id, Truth()).spans.append(span)


def add_scenes(truths: dict[str, Truth], path: files.Path) -> None:
    """Adds the scenes in a miniature's `truth.json` to {video id: `Truth`}, in place of the ratings of its videos."""
    content = files.read_json(path)
    try:
        for video_id, video in content["videos"].items():
            spans = [
                (label, scene["start"], scene["end"], True) for scene in video["scenes"] for label in scene["labels"]
            ]
            truths[video_id] = Truth(list(video["labels"]), spans)
    except (AttributeError, KeyError, TypeError):
        raise UserError(f"{path} does not hold the scenes of videos, as a miniature's truth.json does.") from None


def attach(contents: Contents, truths: Mapping[str, Truth]) -> None:
    """Gives the videos of a page their truth."""
    for video in contents.videos:
        video.truth = truths.get(video.id)
