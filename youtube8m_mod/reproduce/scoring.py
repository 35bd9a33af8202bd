"""Scores a trained model: MAP of its root, of a leaf, of its leaves' plain average, by the localisation itself."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from youtube8m_mod import files
from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.evaluation.mean_average_precision import average_precision, random_order_average_precision
from youtube8m_mod.evaluation.rated_labels import load_labels
from youtube8m_mod.evaluation.video_metrics import GAP_TOP_K, global_average_precision
from youtube8m_mod.formats.arrays import write_arrays
from youtube8m_mod.localization.ranked_lists import Localization, LocalizationConfig
from youtube8m_mod.localization.segments import split_segments
from youtube8m_mod.miniature.writer import SUMMARY

if TYPE_CHECKING:
    from youtube8m_mod.models.mod import MOD
    from youtube8m_mod.tree import NodeOutput

_BATCH = 512
_FRAMES = 1000  # More than a video has: place * _FRAMES + start tells segments apart.


def leaves(output: "NodeOutput") -> "list[NodeOutput]":
    """The `NodeOutput`s of all leaves below a node."""
    return [leaf for child in output.children for leaf in leaves(child)] or [output]


def predict(model: "MOD", arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Probabilities of a model's parts: {"root", "leaf": its first leaf, "average": of the mean of all leaves' logits},
    float32 (n, C) each; of a single model the root only.

    Args:
        model: a `MOD`.
        arrays: `features` (n, M, D), `num_frames` and `present_frames` (n,).
    """
    found = {}
    for start in range(0, len(arrays["features"]), _BATCH):
        batch = {
            name: tf.convert_to_tensor(arrays[name][start : start + _BATCH])
            for name in ("features", "num_frames", "present_frames")
        }
        output = model.tree(batch)
        parts = {"root": output.probabilities}
        if output.children:
            below = leaves(output)
            parts |= {
                "leaf": below[0].probabilities,
                "average": tf.sigmoid(sum(leaf.logits for leaf in below) / len(below)),
            }
        for part, values in parts.items():
            found.setdefault(part, []).append(values.numpy())
    return {part: np.concatenate(values) for part, values in found.items()}


def segments_of(videos: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All segments of videos: arrays for `predict`, `videos` (n,), the index of each one's video, and `starts` (n,)."""
    cut = split_segments(videos["features"], videos["num_frames"])
    found = dict(zip(("features", "present_frames", "videos", "starts"), (part.numpy() for part in cut)))
    return found | {"num_frames": np.full(len(found["starts"]), SEGMENT_FRAMES, np.int32)}


class Judge:
    """Scores segment probabilities of a part of a miniature dataset by the functions of inference.py and eval_map.py.

    Lists are scored as they are, not by way of a file: a part of 24,000 segments takes a second, not ten.

    Args:
        folder: of the dataset, which says what classes are rated.
        pattern: records of the partition, with ratings.
        videos: their arrays (`data.load`), whole videos.
        work_dir: for submissions and the label cache.
    """

    def __init__(self, folder: str, pattern: str, videos: dict[str, np.ndarray], work_dir: str, name: str):
        self.videos, self.work_dir, self.name = videos, work_dir, name
        self.segments = segments_of(videos)
        rated = files.read_json(f"{folder}/{SUMMARY}")["rated_classes"]
        self.class_ids = np.array(sorted({*rated["validate"], *rated["test"]}))
        self.labels = load_labels(pattern, os.path.join(work_dir, f"labels-{name}.csv"))
        numbers = {bytes(video_id): number for number, video_id in enumerate(videos["ids"])}
        self._ratings = {}  # class -> ((n, 2) number of the video and start, (n,) whether it is right)
        for class_id in self.labels.scored_classes:
            ratings = [(segment.rpartition(b":"), right) for segment, right in self.labels.items(class_id)]
            rated = [(numbers[video_id], int(start)) for (video_id, _, start), _ in ratings]
            self._ratings[class_id] = np.array(rated, np.int64), np.array([right for _, right in ratings])

    def map(self, video_probabilities: np.ndarray, segment_probabilities: np.ndarray | None) -> float:
        """MAP@100,000 (Eq. 8) of lists made by Eq. (1).

        Args:
            video_probabilities: (V or more, C), of the videos and perhaps of others after them: for candidates, P_vid
                and the fallback.
            segment_probabilities: (n, C), of `segments`; None: each segment has its video's (the dummy prediction).
        """
        localization = Localization(self.class_ids, LocalizationConfig())
        bounds = np.searchsorted(self.segments["videos"], np.arange(len(self.videos["ids"]) + 1))
        for video, (start, end) in enumerate(zip(bounds[:-1], bounds[1:])):
            own = video_probabilities[video]
            dummy = segment_probabilities is None
            segments = np.tile(own, (end - start, 1)) if dummy else segment_probabilities[start:end]
            localization.add(
                self.videos["ids"][video], int(self.videos["num_frames"][video]), own, segments[:, self.class_ids]
            )
        places = np.searchsorted(localization.video_ids(), self.videos["ids"].astype(np.bytes_))
        found = [
            self._average_precision(class_id, places, *ranked)
            for class_id, ranked in zip(self.class_ids.tolist(), localization.lists())
            if self.labels.num_positives.get(class_id)
        ]
        return float(np.mean(found))

    def _average_precision(self, class_id, places, videos, starts):
        """Eq. (8)'s term of a class from its list.

        Args:
            places: (V,), where each of `videos` stands among the localisation's ids.
            videos, starts: (n,), the list; `videos` index the localisation's ids.
        """
        rated, positive = self._ratings[class_id]
        keys = videos.astype(np.int64) * _FRAMES + starts
        wanted = places[rated[:, 0]] * _FRAMES + rated[:, 1]
        order = np.argsort(keys)
        at = np.minimum(np.searchsorted(keys, wanted, sorter=order), max(len(keys) - 1, 0))
        there = keys[order[at]] == wanted if len(keys) else np.zeros(len(wanted), bool)
        ranks = order[at[there]]
        return average_precision(positive[there][np.argsort(ranks)], self.labels.num_positives[class_id])

    def random_map(self) -> float:
        """The expected MAP of the rated segments in a random order."""
        return float(
            np.mean(
                [
                    random_order_average_precision(len(self.labels[class_id]), self.labels.num_positives[class_id])
                    for class_id in self.labels.scored_classes
                ]
            )
        )

    def write_segments(self, path: files.Path, model: "MOD") -> None:
        """Writes the root's probabilities of all segments for the rated classes, for timelines."""
        write_arrays(
            path,
            {
                "ids": self.videos["ids"][self.segments["videos"]].astype(np.bytes_),
                "starts": self.segments["starts"],
                "classes": self.class_ids,
                "probabilities": predict(model, self.segments)["root"][:, self.class_ids],
            },
        )


def gap(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """GAP of video predictions (20 a video).

    Args:
        labels: (V, C) multi-hot; probabilities: (V, C).
    """
    best = np.argpartition(-probabilities, GAP_TOP_K, axis=1)[:, :GAP_TOP_K]
    values, correct = (np.take_along_axis(array, best, axis=1).ravel() for array in (probabilities, labels))
    return global_average_precision(values, correct > 0, int(labels.sum()))
