"""From the probabilities of videos and of their segments to the ranked lists of every class (section 3.1)."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.errors import UserError
from youtube8m_mod.localization.fallback import Fallback
from youtube8m_mod.localization.ranking import SLOTS, TopK
from youtube8m_mod.localization.value_model import candidate_columns, top_classes, value_model
from youtube8m_mod.overrides import check_positive, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalizationConfig:
    """How segments are ranked.

    With `candidates`, a segment is ranked in the classes that are among the `top_k` of its video, by Eq. (1), and only
    whole 5-frame segments are; without, as by the original's inference script: in its own `top_k` classes, by the
    segment's probability.
    """

    # "Only the top 20 topics are considered to be existed in the video" (section 3.1).
    top_k: int = setting("Candidates of a video; classes in a line of predictions.", 20)
    # The tables are MAP@100,000 (the text says top 10K).
    segment_max_pred: int = setting("Segments in a class's list.", 100_000)
    video_exponent: float = setting("Exponent of the video's probability in Eq. 1.", 0.05)
    segment_exponent: float = setting("Exponent of the segment's probability in Eq. 1.", 0.95)
    cutoff: float = 0.0  # Segments of a lower value are left to the fallback.
    candidates: bool = setting(
        "Rank segments in their video's candidates by Eq. 1; --nocandidates ranks them in their own top_k classes by "
        "their probability, as the original's inference script.",
        True,
    )
    segment_candidates: bool = setting(
        "Predictions of segments are of their video's candidates, in place of the segment's own top_k classes.", False
    )
    fill: bool = setting("Fill lists up to the cap with segments of the video-level ranking.", True)
    # The original leaves these empty.
    fill_empty: bool = setting("Fill also lists of classes that are no video's candidate.", False)

    def __post_init__(self):
        check_positive(self, "top_k", "segment_max_pred")
        if self.segment_candidates and not self.candidates:
            raise UserError("segment_candidates asks for candidates, which candidates=False does without.")
        for field in ("video_exponent", "segment_exponent", "cutoff"):
            if not 0 <= getattr(self, field) < np.inf:
                raise UserError(f"{field} must be finite and not negative, got {getattr(self, field)}.")


class Localization:
    """The lists of all segment classes, video by video.

    Args:
        class_ids: int (C,), the segment classes, ascending.
        config: `LocalizationConfig`.
        slots: whole segments that a video can have: 60 in 300 frames. (The original's fallback also lists segments
            behind the 300th frame, which no model sees.)
    """

    def __init__(self, class_ids: Sequence[int] | np.ndarray, config: LocalizationConfig, slots: int = SLOTS):
        self.class_ids = np.asarray(class_ids, np.int64)
        self.config, self.slots = config, slots
        self._segments = TopK(len(self.class_ids), config.segment_max_pred, slots)
        # Every video has a segment at least, so the cap bounds the videos that are of use, too.
        self._videos = TopK(len(self.class_ids), config.segment_max_pred, slots=1)
        self._num_segments = {}

    def add(
        self,
        video_id: bytes,
        num_frames: int,
        video_probabilities: np.ndarray | None,
        segment_probabilities: np.ndarray,
        fallback_probabilities: np.ndarray | None = None,
        num_considered: np.ndarray | None = None,
    ) -> None:
        """Adds one video.

        Args:
            video_id: bytes.
            num_frames: int, at least 1.
            video_probabilities: float (V,), of the whole vocabulary; None without candidates.
            segment_probabilities: float (n, C), of all its segments, starts 0, 5, ..., for `class_ids`.
            fallback_probabilities: float (V,), for the fallback; default: `video_probabilities`.
            num_considered: int (C,), only so many of its first segments have a value; see `first_segments`.
        """
        segment_probabilities = np.asarray(segment_probabilities)
        whole = min(num_frames // SEGMENT_FRAMES, self.slots)
        starts = SEGMENT_FRAMES * np.arange(len(segment_probabilities))
        if not self.config.candidates:
            self._segments.add(video_id, starts, _own_top(segment_probabilities, self.config.top_k))
            return
        # The original values the segments of the video-level ranking only, which are whole ones.
        starts, segment_probabilities = starts[:whole], segment_probabilities[:whole]
        columns = candidate_columns(video_probabilities, self.class_ids, self.config.top_k)
        values = value_model(
            video_probabilities[self.class_ids[columns]],
            segment_probabilities[:, columns],
            self.config.video_exponent,
            self.config.segment_exponent,
        )
        values[values < self.config.cutoff] = -1
        if num_considered is not None:
            values[np.arange(len(values))[:, np.newaxis] >= num_considered[columns]] = -1
        self._segments.add(video_id, starts, values, columns)
        self._num_segments[video_id] = whole
        if self.config.fill and whole:
            probabilities = video_probabilities if fallback_probabilities is None else fallback_probabilities
            self._videos.add(video_id, [0], probabilities[np.newaxis, self.class_ids])

    def lists(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields, class by class, the list: (videos int (n,), starts int (n,)); videos index `video_ids()`."""
        if not (self.config.candidates and self.config.fill):
            yield from ((videos, starts) for _, videos, starts in self._segments.lists())
            return
        ids, ranked_ids = self.video_ids(), self._videos.video_ids()
        places = np.searchsorted(ids, ranked_ids)
        fallback = Fallback(ids, [self._num_segments[video_id] for video_id in ids.tolist()], self.slots)
        for (_, videos, starts), (_, ranked, _) in zip(self._segments.lists(), self._videos.lists()):
            if videos.size or self.config.fill_empty:
                videos, starts = fallback.fill(videos, starts, places[ranked], self.config.segment_max_pred)
            yield videos, starts

    def video_ids(self) -> np.ndarray:
        """All videos that were added, as a sorted array of bytes (dtype S)."""
        return self._segments.video_ids()

    def state(self) -> dict[str, np.ndarray]:
        """Everything that was added, as a dict of arrays; the same for the same videos in any order."""
        state = {f"segments/{key}": value for key, value in self._segments.state().items()}
        state |= {f"videos/{key}": value for key, value in self._videos.state().items()}
        lengths = [self._num_segments.get(video_id, 0) for video_id in self.video_ids().tolist()]
        return state | {"num_segments": np.array(lengths, np.int32)}

    def merge(self, state: dict[str, np.ndarray]) -> None:
        """Adds the videos of another's `state()`."""

        def part(prefix):
            return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}

        self._segments.merge(part("segments/"))
        self._videos.merge(part("videos/"))
        self._num_segments |= zip(state["segments/video_ids"].tolist(), state["num_segments"].tolist())


def _own_top(probabilities, k):
    """`probabilities` with -1 at all but each row's k best classes."""
    result = np.full(probabilities.shape, -1, np.float32)
    if len(probabilities):
        best = top_classes(probabilities, k)
        np.put_along_axis(result, best, np.take_along_axis(probabilities, best, axis=1), axis=1)
    return result
