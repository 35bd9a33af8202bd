"""What a segment's score takes in beside its own five frames: windows moved in time, its neighbours, its video."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.errors import UserError
from youtube8m_mod.localization.segments import split_segments

if TYPE_CHECKING:
    from youtube8m_mod.inference.scorers import Ones, Scorer


@dataclasses.dataclass(frozen=True)
class Context:
    r"""How the logits of a segment are made of those of windows of five frames, and of the video's.

    With z(s) the logits of the five frames from second s on, n the frames of the video, D the shifts, a and b the
    shares of neighbours and video, r the reach, and N_i the segments of the video other than i with |j - i| <= r:

        w(s, d) = max(0, min(s + d, max(s, n - 5)))
        z_i  = 1 / |D|  sum_{d in D} z(w(5 i, d))
        z'_i = (1 - a - b) z_i + a / |N_i|  sum_{j in N_i} z_j + b z_video

    So a window that would begin before the video begins with it, and one that would reach past its end is moved back
    until it fits, but not before the segment that it is of; each shift counts alike. Where a video has no other
    segment within reach, a counts for the segment itself.

    Attributes:
        shifts: seconds, different integers.
        neighbours, video: the shares a and b.
        reach: r, in segments.
    """

    shifts: tuple[int, ...] = (0,)
    neighbours: float = 0.0
    video: float = 0.0
    reach: int = 1

    @classmethod
    def parse(cls, shifts: str, shares: str | None, reach: int) -> "Context":
        """The context that the texts of flags name: "-1,0,1" and "0.2,0.1" (neighbours, video).

        Raises:
            UserError: where they are no such numbers.
        """
        try:
            seconds = tuple(int(part) for part in shifts.split(","))
        except ValueError:
            raise UserError(f'--segment_shifts: expected seconds as in -1,0,1, got "{shifts}".') from None
        if len(set(seconds)) < len(seconds):
            raise UserError(f"--segment_shifts: expected different seconds, got {shifts}.")
        try:
            numbers = [0.0, 0.0] if shares is None else [float(part) for part in shares.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) != 2 or not all(number >= 0 for number in numbers) or not sum(numbers) <= 1:
            raise UserError(
                "--context: expected the shares of the neighbours and of the video, as in 0.2,0.1, at least 0 and "
                f'together at most 1, got "{shares}".'
            )
        if reach < 1:
            raise UserError(f"context_reach must be at least 1, got {reach}.")
        return cls(seconds, *numbers, reach)

    @property
    def is_plain(self) -> bool:
        """Whether a segment's score is that of its own five frames alone."""
        return self.shifts == (0,) and not self.neighbours and not self.video

    def windows(self, num_frames: int) -> np.ndarray:
        """Where the windows of a video's segments begin, int (segments, shifts)."""
        starts = np.arange(0, num_frames, SEGMENT_FRAMES)[:, np.newaxis]
        latest = np.maximum(starts, num_frames - SEGMENT_FRAMES)
        return np.maximum(0, np.minimum(starts + np.array(self.shifts), latest))

    def mix(self, own: np.ndarray, video: np.ndarray | None) -> np.ndarray:
        """The logits z' of a video's segments, float32 (n, C), from z, (n, C), and z_video, (C,)."""
        mixed = own
        if self.neighbours:
            total, count = np.zeros_like(own), np.zeros((len(own), 1), own.dtype)
            for distance in range(1, min(self.reach, len(own) - 1) + 1):
                total[:-distance] += own[distance:]
                total[distance:] += own[:-distance]
                count[:-distance] += 1
                count[distance:] += 1
            around = np.where(count > 0, total / np.maximum(count, 1), own)
            mixed = mixed + np.float32(self.neighbours) * (around - own)
        if self.video:
            mixed = mixed + np.float32(self.video) * (video - own)
        return mixed


class SegmentScores:
    """The probabilities of the segments of a batch of videos.

    Args:
        scorer: (features (N, 5, D), num_frames (N,), present_frames (N,)) -> probabilities (N, C); with a context also
            its method `logits`.
        batch_size: segments that are scored at once.
        context: `Context`.
        join: how the leaves of the scorer are joined to embeddings; None: without these. Not with a context.
    """

    def __init__(self, scorer: "Scorer | Ones | None", batch_size: int, context: Context, join: str | None = None):
        self.scorer, self.batch_size, self.context, self.join = scorer, batch_size, context, join

    def __call__(self, batch: dict[str, tf.Tensor], video_logits: np.ndarray | None = None) -> tuple[list, list]:
        """The probabilities of each video's segments, float32 (n, C), and their embeddings, float32 (n, size) or None.

        Args:
            batch: of a `Reader` of whole videos.
            video_logits: (B, C), of the segment classes, where the context has a share of the video.
        """
        if self.context.is_plain:
            return self._plain(batch)
        return self._with_context(batch, video_logits), [None] * len(batch["ids"])

    def _with_context(self, batch, video_logits):
        features = batch["features"].numpy()
        lengths = np.minimum(batch["num_frames"].numpy(), features.shape[1])
        windows = [self.context.windows(length) for length in lengths.tolist()]
        # Windows of several segments that begin alike are scored once.
        distinct = [np.unique(own, return_inverse=True) for own in windows]
        videos = np.repeat(np.arange(len(windows)), [len(starts) for starts, _ in distinct])
        starts = np.concatenate([starts for starts, _ in distinct])
        logits = np.split(
            self._logits(features, lengths, videos, starts), np.searchsorted(videos, range(1, len(windows)))
        )
        results = []
        for number, (own, window, (_, places)) in enumerate(zip(logits, windows, distinct)):
            means = own[places.reshape(window.shape)].mean(axis=1)
            video = None if video_logits is None else video_logits[number]
            results.append(tf.sigmoid(self.context.mix(means, video)).numpy())
        return results

    def _logits(self, features, lengths, videos, starts):
        """Logits (W, C) of the windows of five frames in `features` (B, M, D), by their videos and starts, (W,)."""
        scores = []
        for first in range(0, len(videos), self.batch_size):
            rows = slice(first, first + self.batch_size)
            frames = starts[rows, np.newaxis] + np.arange(SEGMENT_FRAMES)
            present = np.minimum(lengths[videos[rows]] - starts[rows], SEGMENT_FRAMES).astype(np.int32)
            window = features[videos[rows, np.newaxis], np.minimum(frames, features.shape[1] - 1)]
            scores.append(np.asarray(self.scorer.logits(tf.constant(window), _all_frames(present), present)))
        return np.concatenate(scores)

    def _plain(self, batch):
        features, present, videos, _ = split_segments(batch["features"], batch["num_frames"])
        scores, vectors = [], []
        for first in range(0, len(videos), self.batch_size):
            rows = slice(first, first + self.batch_size)
            arguments = features[rows], _all_frames(present[rows]), present[rows]
            if self.join:
                logits, own = self.scorer.outputs(*arguments, self.join)
                scores.append(tf.sigmoid(logits).numpy())
                vectors.append(own)
            else:
                scores.append(np.asarray(self.scorer(*arguments)))
        ends = np.searchsorted(videos.numpy(), np.arange(len(batch["ids"])), side="right")[:-1]
        embeddings = np.split(np.concatenate(vectors), ends) if vectors else [None] * len(batch["ids"])
        return np.split(np.concatenate(scores), ends), embeddings


def _all_frames(present: Sequence[int]) -> np.ndarray:
    """As in finetuning: nothing is masked."""
    return np.full(len(present), SEGMENT_FRAMES, np.int32)
