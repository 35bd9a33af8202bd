"""A miniature video: scenes one after another, noisy frames, a machine's video labels, ratings of segments."""

import dataclasses

import numpy as np

from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.data import records
from youtube8m_mod.errors import UserError
from youtube8m_mod.miniature.bank import PARTITIONS, RecordBank, Scene, SyntheticBank
from youtube8m_mod.overrides import check_positive, check_types


@dataclasses.dataclass(frozen=True)
class Settings:
    """What fixes a miniature dataset, byte for byte, together with its bank."""

    seed: int = 0
    train_videos: int = 2000
    validate_videos: int = 600
    test_videos: int = 400
    min_frames: int = 30  # A video's length is uniform between the two.
    max_frames: int = 60
    min_scenes: int = 2
    max_scenes: int = 4
    feature_names: tuple[str, ...] = ("rgb", "audio")
    feature_sizes: tuple[int, ...] = (1024, 128)
    num_classes: int | None = None  # 300 with synthetic scenes, 3862 with --bank.
    num_segment_classes: int = 100  # The commonest so many classes are rated (1000 in the challenge).
    rated_share: float = 0.9  # Share of the validate and test videos that carry ratings.
    ratings_per_video: int = 6
    positive_share: float = 0.6  # Chance that a rating goes where the rated class is right, if it is right somewhere.
    real_shares: bool = False  # Each rated class has a share of its own in place of positive_share, as real ones have.
    missed_rate: float = 0.15  # Chance that the machine annotation misses a label of the video.
    spurious_rate: float = 0.3  # Wrong labels that it adds to a video, on average.
    videos_per_shard: int = 250

    def __post_init__(self):
        check_types(self)
        check_positive(
            self,
            "train_videos",
            "validate_videos",
            "test_videos",
            "min_scenes",
            "num_segment_classes",
            "ratings_per_video",
            "videos_per_shard",
        )
        if self.seed < 0:
            raise UserError(f"seed must not be negative, got {self.seed}.")
        if not self.min_scenes * SEGMENT_FRAMES <= self.min_frames <= self.max_frames <= records.MAX_FRAMES:
            raise UserError(
                f"{self.min_scenes * SEGMENT_FRAMES} (min_scenes x {SEGMENT_FRAMES}) <= min_frames <= "
                f"max_frames <= {records.MAX_FRAMES} must hold, got min_frames {self.min_frames} and "
                f"max_frames {self.max_frames}."
            )
        if self.max_scenes < self.min_scenes:
            raise UserError(f"max_scenes must be at least min_scenes {self.min_scenes}, got {self.max_scenes}.")
        if len(self.feature_names) != len(self.feature_sizes) or not self.feature_names or min(self.feature_sizes) < 1:
            raise UserError(
                f"feature_sizes must have one size of at least 1 for each of feature_names "
                f"{self.feature_names}, got {self.feature_sizes}."
            )
        if len(set(self.feature_names)) != len(self.feature_names):
            raise UserError(f"feature_names must differ from each other, got {self.feature_names}.")
        check_positive(self, "num_classes")
        for field in ("rated_share", "positive_share", "missed_rate"):
            if not 0 <= getattr(self, field) <= 1:
                raise UserError(f"{field} must be in [0, 1], got {getattr(self, field)}.")
        if not 0 <= self.spurious_rate <= 100:
            raise UserError(f"spurious_rate must be in [0, 100], got {self.spurious_rate}.")

    def num_videos(self, partition: str) -> int:
        return getattr(self, f"{partition}_videos")


@dataclasses.dataclass(frozen=True)
class Video:
    """A video of the miniature.

    Attributes:
        spans: (start, end, `Scene`) of each scene, in frames, end exclusive.
        labels: the machine's labels: the union of the scenes' labels with some missed and some wrong.
        features: dict name -> uint8 (frames, size).
        segments: (start, class, score) of each rating; None where the video was not rated.
    """

    id: str
    spans: tuple[tuple[int, int, Scene], ...]
    labels: tuple[int, ...]
    features: dict
    segments: tuple[tuple[int, int, int], ...] | None

    @property
    def num_frames(self) -> int:
        return self.spans[-1][1]


# Share of positives among the ratings of a class: percentiles over the 1000 classes of the challenge, whose 237,788
# ratings are published by class.
REAL_SHARES = {0: 0.104, 5: 0.258, 10: 0.321, 25: 0.431, 50: 0.576, 75: 0.692, 90: 0.757, 95: 0.787, 100: 0.821}
# A place where a class is right is missing a tenth more often than one where it is wrong (measured in videos of 20 to
# 40 frames with 15% missed and 0.3 wrong labels): odds times this give the shares that are wanted.
_PLACES_WRONG_TO_RIGHT = 1.12


def real_shares(count: int) -> np.ndarray:
    """Shares of positives of `count` classes, ascending, spread as the real ones."""
    return np.interp((np.arange(count) + 0.5) / count * 100, list(REAL_SHARES), list(REAL_SHARES.values()))


@dataclasses.dataclass(frozen=True)
class FrameNoise:
    """How the frames of one feature vary around their scene's mean, as measured on a real video.

    Before clipping to [-2, 2] the noise is normal with standard deviation `std` and autocorrelation
    `slow * slow_decay^lag + (1 - slow) * fast_decay^lag`: two AR(1) processes added. Clipping leaves 0.97 (rgb) and
    0.92 (audio) of it, the figures measured.
    """

    std: float
    slow: float
    slow_decay: float
    fast_decay: float

    def unclipped(self) -> tuple[np.ndarray, np.ndarray]:
        """(clipped means, means): what mean the noise needs for the clipped frames to have a given one on average."""
        means, noise = np.linspace(-4, 4, 401), np.linspace(-4, 4, 401)
        weights = np.exp(-(noise**2) / 2)
        return np.clip(means[:, None] + self.std * noise, -2, 2) @ weights / weights.sum(), means


RGB_NOISE = FrameNoise(std=1.05, slow=0.41, slow_decay=0.81, fast_decay=0.135)
AUDIO_NOISE = FrameNoise(std=1.03, slow=0.54, slow_decay=0.85, fast_decay=0.06)


class Composer:
    """Composes the videos of a miniature.

    Args:
        settings: a `Settings`.
        bank: a `SyntheticBank` or `RecordBank`.
    """

    def __init__(self, settings: Settings, bank: SyntheticBank | RecordBank):
        self.settings, self.bank = settings, bank
        commonest = np.argsort(-bank.frequencies, kind="stable")[: settings.num_segment_classes]
        self.segment_classes = frozenset(commonest[bank.frequencies[commonest] > 0].tolist())
        self._shares = self._class_shares()
        self._commonness = bank.frequencies / bank.frequencies.sum()
        noises = [RGB_NOISE if i == 0 else AUDIO_NOISE for i in range(len(settings.feature_sizes))]
        self._unclipped = [noise.unclipped() for noise in noises]
        # The two processes of all features side by side: (2, D).
        self._decay = self._columns([(noise.slow_decay, noise.fast_decay) for noise in noises])
        self._innovation = np.sqrt(1 - self._decay**2)
        self._amplitude = self._columns(
            [(noise.std * noise.slow**0.5, noise.std * (1 - noise.slow) ** 0.5) for noise in noises]
        )

    def _class_shares(self):
        """{rated class: chance that a rating of it goes where it is right}."""
        classes, settings = sorted(self.segment_classes), self.settings
        if not settings.real_shares:
            return dict.fromkeys(classes, settings.positive_share)
        shares = np.random.default_rng([settings.seed, 0, 1]).permutation(real_shares(len(classes)))
        odds = _PLACES_WRONG_TO_RIGHT * shares / (1 - shares)
        return dict(zip(classes, (odds / (1 + odds)).tolist()))

    def _columns(self, values):
        return np.repeat(np.array(values, np.float32).T, self.settings.feature_sizes, axis=1)

    def video(self, partition: str, index: int) -> Video:
        """Video `index` of `partition`. A bank of records hands out its scenes in the order of these calls."""
        settings = self.settings
        rng = np.random.default_rng([settings.seed, 1 + PARTITIONS.index(partition), index])
        frames = int(rng.integers(settings.min_frames, settings.max_frames + 1))
        most = min(settings.max_scenes, frames // SEGMENT_FRAMES)
        scenes = self.bank.draw(partition, int(rng.integers(settings.min_scenes, most + 1)), rng)
        # No scene is shorter than a segment, so that a segment meets one cut at most.
        slack = frames - len(scenes) * SEGMENT_FRAMES
        cuts = np.sort(rng.integers(0, slack + 1, len(scenes) - 1)) + SEGMENT_FRAMES * np.arange(1, len(scenes))
        bounds = [0, *cuts.tolist(), frames]
        spans = tuple(zip(bounds[:-1], bounds[1:], scenes))
        labels = self._machine_labels(spans, rng)
        rated = partition != "train" and rng.random() < settings.rated_share
        segments = self._rate(spans, labels, rng) if rated else None
        return Video(f"{partition}{index:05d}", spans, labels, self._frames(spans, rng), segments or None)

    def _machine_labels(self, spans, rng):
        true = sorted({label for _, _, scene in spans for label in scene.labels})
        seen = {label for label in true if rng.random() >= self.settings.missed_rate}
        seen = seen or {true[rng.integers(len(true))]}  # The dataset has no video without a label.
        wrong = rng.choice(len(self._commonness), rng.poisson(self.settings.spurious_rate), p=self._commonness)
        return tuple(sorted(seen | set(wrong.tolist())))

    def _rate(self, spans, labels, rng):
        """Ratings of machine-labelled classes at whole segments: 1 where the middle frame's scene has the class."""
        middles = np.arange(0, spans[-1][1] - SEGMENT_FRAMES + 1, SEGMENT_FRAMES) + SEGMENT_FRAMES // 2
        scene_at = np.searchsorted([end for _, end, _ in spans], middles, side="right")
        waiting = {}  # (class, score) -> starts not rated yet, in random order.
        for label in sorted(self.segment_classes.intersection(labels)):
            scores = np.array([label in scene.labels for _, _, scene in spans], int)[scene_at]
            for score in (0, 1):
                starts = SEGMENT_FRAMES * rng.permutation(np.flatnonzero(scores == score))
                waiting[label, score] = starts.tolist()
        ratings = []
        while waiting and len(ratings) < self.settings.ratings_per_video:
            classes = sorted({label for label, _ in waiting})
            label = classes[rng.integers(len(classes))]
            score = int(rng.random() < self._shares[label])
            if not waiting[label, score] and not self.settings.real_shares:
                score = 1 - score  # With real shares the class is passed over: this would shift its share.
            if waiting[label, score]:
                ratings.append((waiting[label, score].pop(), label, score))
            else:
                del waiting[label, 0], waiting[label, 1]
        return tuple(sorted(ratings))

    def _frames(self, spans, rng):
        values = self._noise(spans, rng)
        features, first = {}, 0
        for name, size, (clipped, means) in zip(
            self.settings.feature_names, self.settings.feature_sizes, self._unclipped
        ):
            columns = slice(first, first + size)
            for start, end, scene in spans:
                values[start:end, columns] += np.interp(scene.means[columns], clipped, means).astype(np.float32)
            features[name] = records.quantize(values[:, columns])
            first += size
        return features

    def _noise(self, spans, rng):
        """Noise of all frames, (frames, D), which starts anew with each scene."""
        processes = rng.standard_normal((spans[-1][1], *self._decay.shape), np.float32)
        for start, end, _ in spans:
            for frame in range(start + 1, end):
                processes[frame] *= self._innovation
                processes[frame] += self._decay * processes[frame - 1]
        processes *= self._amplitude
        return processes[:, 0] + processes[:, 1]
