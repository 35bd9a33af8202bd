"""What some input files give, as video after video is scored."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.data import shards
from youtube8m_mod.data.video_ids import text_of
from youtube8m_mod.formats.predictions import format_lines
from youtube8m_mod.formats.timelines import format_spans
from youtube8m_mod.inference.embeddings import Blocks
from youtube8m_mod.inference.input_files import twice
from youtube8m_mod.inference.pieces import COUNTS, SEGMENT_LINES, TIMELINES, VIDEO_LINES, Piece
from youtube8m_mod.localization.timelines import join_segments, segment_values
from youtube8m_mod.localization.value_model import candidate_columns

if TYPE_CHECKING:
    from youtube8m_mod.data.pass_monitor import Counts
    from youtube8m_mod.inference.localizer import Localizer


class GrowingPiece:
    """A `Piece` in the making: ranked lists, lines of the outputs, and embeddings.

    Args:
        localizer: the `Localizer`, which says what is kept of a video.
        paths: the input files.

    Attributes:
        counts: {name of `COUNTS`: int} so far.
    """

    def __init__(self, localizer: "Localizer", paths: Sequence[str]):
        self._localizer, self._outputs, self._config = localizer, localizer.outputs, localizer.config
        self._paths, self._ids, self.counts = paths, set(), dict.fromkeys(COUNTS, 0)
        self._lists = localizer.localization()
        paths_of_lines = {
            VIDEO_LINES: self._outputs.video_predictions,
            SEGMENT_LINES: self._outputs.segment_predictions,
            TIMELINES: self._outputs.timeline,
        }
        self._lines = {kind: {} for kind, path in paths_of_lines.items() if path}
        self._blocks = None
        if self._outputs.embeddings:
            self._blocks = Blocks(self._outputs.parts_folder, localizer.reader.paths.index(paths[0]))

    def add_videos(self, ids: Sequence[bytes], videos: Sequence[np.ndarray], vectors: Iterable[np.ndarray]) -> None:
        """Adds videos.

        Args:
            ids: of the videos.
            videos: their probabilities, float32 (B, V); not looked at where no output is of videos.
            vectors: their embeddings, float32 (B, size), or none.

        Raises:
            UserError: naming a video that is there already.
        """
        for video_id in ids:
            if video_id in self._ids:
                raise twice(video_id, filter(shards.size, self._paths))
            self._ids.add(video_id)
        for video_id, vector in zip(ids, vectors):
            self._blocks.add(video_id, [0], vector[np.newaxis])
        if VIDEO_LINES in self._lines:
            self._lines[VIDEO_LINES] |= zip(ids, format_lines(map(text_of, ids), videos, self._config.top_k))
        self.counts["videos"] += len(ids)

    def add_segments(
        self, video_id: bytes, frames: int, video: np.ndarray | None, segments: np.ndarray, vectors: np.ndarray | None
    ) -> None:
        """Adds the segments of a video.

        Args:
            frames: of the video.
            video: its probabilities, float32 (V,); None: it was not scored.
            segments: float32 (n, C), the probabilities of its segments for the segment classes.
            vectors: their embeddings, float32 (n, size); None: not asked for.
        """
        config, class_ids = self._config, self._localizer.class_ids
        if vectors is not None:
            self._blocks.add(video_id, SEGMENT_FRAMES * np.arange(len(segments)), vectors)
        if self._outputs.submission:
            self._lists.add(video_id, frames, video, segments)
        if SEGMENT_LINES in self._lines:
            names = [f"{text_of(video_id)}:{SEGMENT_FRAMES * row}" for row in range(len(segments))]
            listed = slice(None)
            if config.segment_candidates:
                listed = candidate_columns(video, class_ids, config.top_k)
            lines = format_lines(names, segments[:, listed], config.top_k, class_ids[listed])
            self._lines[SEGMENT_LINES][video_id] = "".join(lines)
        if TIMELINES in self._lines:
            classes, values = segment_values(video, segments, class_ids, config)
            spans = join_segments(classes, values, frames, self._localizer.timeline_threshold)
            self._lines[TIMELINES][video_id] = format_spans(spans)
        self.counts["segments"] += len(segments)

    def finished(self, read: "Counts | None") -> Piece:
        """The piece.

        Args:
            read: the counts of records of the pass over the files; None: they hold nothing.
        """
        warning = ""
        if read is not None:
            self.counts |= {"records": read.records, "bad_records": sum(read.bad.values()), "lost_records": read.lost}
            warning = read.summary()
        if self._blocks:
            self._blocks.flush()
        rows = self._blocks.rows if self._blocks else []
        return Piece(self._lists.state(), self._lines, self.counts, sorted(self._ids), warning, rows)
