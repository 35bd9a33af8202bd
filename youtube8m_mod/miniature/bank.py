"""Scenes for the miniature dataset: the mean features and the labels of a stretch of video.

A bank is synthetic, with the statistics measured on 14,547 real video-level records (docs/miniature.md), or it holds
real video-level records. Both have `frequencies` (share of the scenes with each class), `draw(partition, count, rng)`
and `label_names()`.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from youtube8m_mod.config import ModelConfig
from youtube8m_mod.data import records
from youtube8m_mod.errors import UserError

if TYPE_CHECKING:
    from youtube8m_mod.miniature.composition import Settings

PARTITIONS = ("train", "validate", "test")


@dataclasses.dataclass(frozen=True)
class Scene:
    """`means` of all features, float32 (D,); `labels`, sorted class indices; `source`, the id of its record."""

    means: np.ndarray
    labels: tuple[int, ...]
    source: str = ""


@dataclasses.dataclass(frozen=True)
class StreamStatistics:
    """What real scene means look like in one feature, by dimension (interpolated) and by scene."""

    dimensions: tuple[int, ...]
    std: tuple[float, ...]  # Over videos, at `dimensions`.
    label_share: tuple[float, ...]  # Share of the variance that the labels explain, at `dimensions`.
    scale_std: float  # Of the logarithm of a scene's distance from the mean: some are far off, others grey.

    def profile(self, values: Sequence[float], size: int) -> np.ndarray:
        return np.interp(np.arange(size), self.dimensions, values).astype(np.float32)


RGB = StreamStatistics(
    dimensions=(0, 5, 10, 20, 50, 100, 200, 400, 1000),
    std=(0.73, 0.73, 0.68, 0.63, 0.57, 0.52, 0.47, 0.44, 0.405),
    label_share=(0.6, 0.55, 0.45, 0.38, 0.29, 0.2, 0.12, 0.07, 0.03),
    scale_std=0.33,
)
AUDIO = StreamStatistics(
    dimensions=(0, 4, 8, 16, 32, 64, 127),
    std=(0.90, 0.86, 0.83, 0.77, 0.72, 0.66, 0.62),
    label_share=(0.50, 0.45, 0.35, 0.25, 0.17, 0.1, 0.04),
    scale_std=0.2,
)

LABELS_PER_SCENE = 3.0
COMMONEST_LABEL = 0.20  # Share of the scenes that have it.
FEWEST_CLASSES = 30  # With fewer, all would have to be as common as the commonest to give 3 labels a scene.
CHAINS = (0.75, 0.2, 0.05)  # Chance of 1, 2, 3 chains of labels in a scene.
OVERLAP = 1.07  # Chains meet: a label in two of them counts once, so that more are drawn.
SAME_FAMILY = 0.7  # Chance that a further chain belongs to the first one's family.
IMPLIED = (0.7, 1.0)  # P(parent | class) is uniform in it.
PROMINENCE_SHAPE = 2.0  # Of the gamma distribution, of mean 1, of how strongly a label shows in a scene.
SHARED_DIRECTION = 0.4  # Correlation of a class's direction with its parent's.


def label_frequencies(num_classes: int) -> np.ndarray:
    """Share of the scenes that have each class, commonest first: Zipf-Mandelbrot, `0.2 (3 / (rank + 2))^s`.

    s gives 3.0 labels a scene: 1.1 at YouTube-8M's 3862 classes, as measured there, and a flatter tail with fewer.
    """
    if num_classes < FEWEST_CLASSES:
        raise UserError(f"num_classes must be at least {FEWEST_CLASSES} with synthetic scenes, got {num_classes}.")
    base = 3 / (np.arange(num_classes) + 3)
    low, high = 0.0, 4.0
    for _ in range(60):
        s = (low + high) / 2
        low, high = (s, high) if COMMONEST_LABEL * np.sum(base**s) > LABELS_PER_SCENE else (low, s)
    return COMMONEST_LABEL * base**s


class SyntheticBank:
    """Endless synthetic scenes: no two are the same, in whatever partition.

    Classes form families: a class implies its parent with a probability of its own, as "video game" implies "game" in
    the real labels. A scene's labels are one to three chains from a class up towards the root of its family. Its mean
    is `scale * std * (sqrt(share) * sum of its labels' directions + sqrt(1 - share) * noise)`, dimension by dimension.

    Args:
        num_classes: size of the vocabulary; class 0 is the commonest.
        feature_sizes: width of each feature; the first is like rgb, the others like audio.
        seed: fixes the vocabulary: families and directions.
    """

    def __init__(self, num_classes: int, feature_sizes: Sequence[int], seed: int):
        self.num_classes, self.feature_sizes = num_classes, tuple(feature_sizes)
        rng = np.random.default_rng([seed, 0])
        self.frequencies = label_frequencies(num_classes)
        self._grow_families(rng)
        streams = [(RGB if i == 0 else AUDIO, size) for i, size in enumerate(feature_sizes)]
        std = np.concatenate([stream.profile(stream.std, size) for stream, size in streams])
        share = np.concatenate([stream.profile(stream.label_share, size) for stream, size in streams])
        self._scale_std = np.array([stream.scale_std for stream, _ in streams], np.float32)
        self._noise_weight = std * np.sqrt(1 - share)
        directions = rng.standard_normal((num_classes, len(std)), np.float32)
        for label, parent in enumerate(self.parents):
            if parent >= 0:
                own = np.float32(np.sqrt(1 - SHARED_DIRECTION**2))
                directions[label] = SHARED_DIRECTION * directions[parent] + own * directions[label]
        directions /= 1 + 10 * self.frequencies[:, None]  # Common classes are broad ones.
        self._directions, self._center = directions, np.float32(0)
        sums = self._label_part([self._draw_labels(rng) for _ in range(2000)], rng)
        weight = (std * np.sqrt(share) / sums.std(0).mean()).astype(np.float32)
        self._directions, self._center = directions * weight, sums.mean(0) * weight

    def _grow_families(self, rng):
        """Gives every class a commoner parent or makes it a root, such that chains reproduce the frequencies.

        A class's frequency is its own chains' plus what its children imply: `own` is what is left of it.
        """
        frequencies, own = OVERLAP * self.frequencies, OVERLAP * self.frequencies
        self.parents = np.full(self.num_classes, -1)
        self.implied = rng.uniform(*IMPLIED, self.num_classes)
        chains = np.dot(CHAINS, [1, 2, 3])
        total, kept = frequencies.sum(), np.mean(IMPLIED)
        root_share = (chains - (1 - kept) * total) / kept / total
        roots = 0.0
        for label in range(self.num_classes):
            needed = self.implied[label] * frequencies[label]
            possible = np.flatnonzero(own[:label] > needed)
            if len(possible) and roots >= root_share * frequencies[: label + 1].sum():
                weights = own[possible] - needed
                self.parents[label] = parent = rng.choice(possible, p=weights / weights.sum())
                own[parent] -= needed
            else:
                roots += frequencies[label]
        self.roots = np.arange(self.num_classes)
        for label, parent in enumerate(self.parents):
            if parent >= 0:
                self.roots[label] = self.roots[parent]
        self._chain_ends = own / own.sum()
        self._families = {}
        for root in np.unique(self.roots):
            members = np.flatnonzero(self.roots == root)
            self._families[root] = members, own[members] / own[members].sum()

    def _draw_labels(self, rng):
        labels, root = set(), None
        for _ in range(1 + rng.choice(len(CHAINS), p=CHAINS)):
            if root is None or rng.random() >= SAME_FAMILY:
                label = int(rng.choice(self.num_classes, p=self._chain_ends))
            else:
                members, chances = self._families[root]
                label = int(rng.choice(members, p=chances))
            root = self.roots[label] if root is None else root
            labels.add(label)
            while self.parents[label] >= 0 and rng.random() < self.implied[label]:
                label = int(self.parents[label])
                labels.add(label)
        return tuple(sorted(labels))

    def _label_part(self, labels, rng):
        """Sum of the directions of each scene's labels, each as prominent as it happens to be: (scenes, D)."""
        sums = np.empty((len(labels), self._directions.shape[1]), np.float32)
        for row, each in zip(sums, labels):
            prominence = rng.gamma(PROMINENCE_SHAPE, 1 / PROMINENCE_SHAPE, (len(each), 1)).astype(np.float32)
            np.sum(prominence * self._directions[list(each)], axis=0, out=row)
        return sums - self._center

    def draw(self, partition: str, count: int, rng: np.random.Generator) -> list[Scene]:
        """`count` new scenes; `partition` does not matter."""
        labels = [self._draw_labels(rng) for _ in range(count)]
        means = rng.standard_normal((count, len(self._noise_weight)), np.float32) * self._noise_weight
        means += self._label_part(labels, rng)
        spread = rng.standard_normal((count, len(self._scale_std)), np.float32) * self._scale_std
        means *= np.repeat(np.exp(spread - self._scale_std**2), self.feature_sizes, axis=1)
        return [Scene(*scene) for scene in zip(means, labels)]

    def label_names(self) -> list[str]:
        """A name for each class that shows its family: `topic 3`, its child `topic 3.1`, ..."""
        names, children = [], {}
        for parent in self.parents:
            children[parent] = children.get(parent, 0) + 1
            names.append(f"topic {children[parent]}" if parent < 0 else f"{names[parent]}.{children[parent]}")
        return names


class RecordBank:
    """Scenes of real video-level records; a scene belongs to one partition only.

    The records are shuffled, split in proportion to `scenes`, and drawn without repetition as long as they last; after
    that a partition's scenes come again in another order.

    Args:
        pattern: glob, or comma-separated globs, of video-level TFRecords with `mean_<name>` for each feature.
        settings: what gives `feature_names`, `feature_sizes`, `num_classes`, `max_frames`, and `seed`, which fixes
            split and order. Labels keep their numbers.
        scenes: dict partition -> number of scenes that will be drawn; reading stops when there is one for each.

    Raises:
        UserError: no file, an unreadable file, a record that does not fit, or too few records for a split.
    """

    def __init__(self, pattern: str, settings: "Settings", scenes: Mapping[str, int]):
        self._scenes = list(itertools.islice(_read_scenes(pattern, settings), sum(scenes.values())))
        rng = np.random.default_rng([settings.seed, 0])
        bounds = np.cumsum([0, *scenes.values()]) * len(self._scenes) // sum(scenes.values())
        order = rng.permutation(len(self._scenes))
        self.split = {partition: order[start:end] for partition, start, end in zip(scenes, bounds[:-1], bounds[1:])}
        if short := [partition for partition, indices in self.split.items() if len(indices) == 0]:
            raise UserError(
                f'--bank: "{pattern}" holds {len(self._scenes)} records, too few to give the partition '
                f"{short[0]} scenes of its own."
            )
        self._orders = dict(zip(scenes, rng.spawn(len(scenes))))
        self._waiting = {partition: list(indices) for partition, indices in self.split.items()}
        labels = np.concatenate([scene.labels for scene in self._scenes])
        self.frequencies = np.bincount(labels, minlength=settings.num_classes) / len(self._scenes)

    def draw(self, partition: str, count: int, rng: np.random.Generator) -> list[Scene]:
        """The next `count` scenes of `partition`; their order is the bank's, whatever `rng`."""
        waiting = self._waiting[partition]
        while len(waiting) < count:
            waiting.extend(self._orders[partition].permutation(self.split[partition]))
        drawn, waiting[:count] = waiting[:count], []
        return [self._scenes[index] for index in drawn]

    def label_names(self) -> None:
        """None: the records do not name their classes."""
        return None


def _read_scenes(pattern, settings):
    from youtube8m_mod.data.reader import Reader  # Loads TensorFlow.

    fields = {name: getattr(settings, name) for name in ("feature_names", "feature_sizes", "num_classes")}
    reader = Reader(pattern, ModelConfig("bank", pooling="dbof", clip_features=False, **fields))
    if reader.spec.kind != records.VIDEO_LEVEL:
        raise UserError(f'--bank: "{pattern}" must match video-level records, got {reader.spec.kind} ones.')
    for batch in reader.read(256):
        batch = {key: value.numpy() for key, value in batch.items()}
        for video_id, means, labels in zip(batch["ids"], batch["features"][:, 0], batch["labels"]):
            if not labels.any():
                raise UserError(
                    f'--bank: the record "{video_id.decode()}" in "{pattern}" has no labels; '
                    "a scene needs at least one."
                )
            yield Scene(means, tuple(np.flatnonzero(labels).tolist()), video_id.decode())
