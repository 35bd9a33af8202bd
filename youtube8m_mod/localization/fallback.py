"""Lists filled up to the cap with segments of a video-level ranking (field notes, section 1, "Localisation")."""

from collections.abc import Sequence

import numpy as np

from youtube8m_mod.config import SEGMENT_FRAMES


class Fallback:
    """Fills the lists of classes from rankings of whole videos.

    Args:
        video_ids: sorted bytes (V,), all videos.
        num_segments: int (V,), the whole 5-frame segments of each; the partial last one is never filled in.
        slots: segments that a video can have.
    """

    def __init__(self, video_ids: Sequence[bytes] | np.ndarray, num_segments: Sequence[int] | np.ndarray, slots: int):
        self._num_segments = np.asarray(num_segments, np.int64)
        self._slots = slots
        self._taken = np.zeros(len(video_ids) * slots, bool)

    def fill(
        self, videos: np.ndarray, starts: np.ndarray, ranked_videos: np.ndarray, cap: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The list with segments of `ranked_videos` that it lacks behind it, video by video, until it has `cap`.

        Args:
            videos, starts: int (n,), the list so far; videos index `video_ids`.
            ranked_videos: int (v,), best first.

        Returns:
            videos, starts: int (m,), n <= m; m is `cap` where the videos have segments enough.
        """
        codes = videos * self._slots + starts // SEGMENT_FRAMES
        counts = self._num_segments[ranked_videos]
        enough = int(np.searchsorted(np.cumsum(counts), cap)) + 1  # The first `cap` hold as many as are wanted.
        ranked_videos, counts = ranked_videos[:enough], counts[:enough]
        firsts = np.repeat(ranked_videos * self._slots - (np.cumsum(counts) - counts), counts)
        filling = firsts + np.arange(firsts.size)
        self._taken[codes] = True
        filling = filling[~self._taken[filling]]
        self._taken[codes] = False
        codes = np.concatenate([codes, filling[: max(cap - codes.size, 0)]])
        return codes // self._slots, codes % self._slots * SEGMENT_FRAMES
