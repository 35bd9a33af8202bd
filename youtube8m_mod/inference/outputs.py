"""The files that a run of inference writes, out of its finished pieces."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from youtube8m_mod import files
from youtube8m_mod.data.video_ids import text_of
from youtube8m_mod.errors import UserError
from youtube8m_mod.formats.submission import write_submission
from youtube8m_mod.formats.timelines import check_timeline_path, parse_spans, write_timeline
from youtube8m_mod.inference.embeddings import SEGMENTS, VIDEOS, Embeddings, write_embeddings
from youtube8m_mod.inference.pieces import SEGMENT_LINES, TIMELINES, VIDEO_LINES
from youtube8m_mod.overwriting import Paths, check_outputs
from youtube8m_mod.training.train_dir import check_no_part_of_run

if TYPE_CHECKING:
    from youtube8m_mod.inference.context import Context
    from youtube8m_mod.inference.pieces import Parts
    from youtube8m_mod.localization.ranked_lists import Localization, LocalizationConfig


@dataclasses.dataclass(frozen=True)
class Outputs:
    """Paths of what is written; None leaves it out.

    Attributes:
        submission: `Class,Segments`.
        video_predictions, segment_predictions: `VideoId,LabelConfidencePairs`, in the order of the video ids.
        timeline: where classes are in the videos, in the form that the ending names (`formats.timelines`).
        embeddings: `Embeddings`; no field, as it is more than a path.
    """

    submission: str | None = None
    video_predictions: str | None = None
    segment_predictions: str | None = None
    timeline: str | None = None
    embeddings: dataclasses.InitVar[Embeddings | None] = None

    def __post_init__(self, embeddings):
        object.__setattr__(self, "embeddings", embeddings)
        if not self._paths:
            *first, last = (f"--{flag}" for flag in self._by_flag)
            raise UserError(f"At least one output must be named: {', '.join(first)} or {last}.")
        if self.timeline:
            check_timeline_path(self.timeline)
        check_outputs(self._by_flag)
        if folder := next((path for path in self._paths if path != self.timeline and files.is_dir(path)), None):
            raise UserError(f"{folder} is a folder: an output needs the name of a file.")

    def check_inputs(self, inputs: Mapping[str, Paths]) -> None:
        """Raises `UserError` where an output would take the place of an input, {flag: its path or paths}."""
        check_outputs(self._by_flag, inputs)

    def check_models(self, train_dirs: Iterable[str]) -> None:
        """Raises `UserError` where an output would take the place of a part of a trained model."""
        for path in self._paths:
            check_no_part_of_run(path, train_dirs)

    @property
    def of_segments(self) -> bool:
        """Whether scores of segments are looked at."""
        return bool(self.submission or self.segment_predictions or self.timeline)

    @property
    def need_segments(self) -> bool:
        """Whether segments are looked at."""
        return self.of_segments or self.embeds(SEGMENTS)

    def need_videos(self, config: "LocalizationConfig", context: "Context") -> bool:
        """Whether the video-level model runs, with a `LocalizationConfig` and a `Context`."""
        ranked = self.of_segments and (config.candidates or context.video)
        return bool(ranked or self.video_predictions or self.embeds(VIDEOS))

    def embeds(self, what: str) -> bool:
        """Whether embeddings of `VIDEOS`, or of `SEGMENTS`, are written."""
        return self.embeddings is not None and self.embeddings.of == what

    @property
    def parts_folder(self) -> str:
        """Where the finished pieces of the run lie, until the outputs are written."""
        return self._paths[0].rstrip("/") + ".parts"

    @property
    def _by_flag(self):
        return {
            "output_file": self.submission,
            "video_predictions_file": self.video_predictions,
            "segment_predictions_file": self.segment_predictions,
            "timeline_file": self.timeline,
            "embeddings_file": self.embeddings and self.embeddings.path,
        }

    @property
    def _paths(self):
        return [path for path in self._by_flag.values() if path]


def write_outputs(
    parts: "Parts", outputs: Outputs, localization: "Localization | None", label_names: Mapping[int, str] | None = None
) -> None:
    """Writes the outputs of a run whose pieces are all there, and removes these.

    Args:
        localization: the `Localization` of all pieces, where there is a submission.
        label_names: {class: name} for the timeline.
    """
    parts.check_complete()
    if outputs.video_predictions:
        parts.write_lines(VIDEO_LINES, outputs.video_predictions)
    if outputs.segment_predictions:
        parts.write_lines(SEGMENT_LINES, outputs.segment_predictions)
    if outputs.embeddings:
        write_embeddings(outputs.embeddings, parts.folder, parts.embedding_blocks())
    if outputs.timeline:
        texts = parts.texts(TIMELINES)
        videos = zip(map(text_of, texts), map(parse_spans, map(bytes.decode, texts.values())))
        write_timeline(outputs.timeline, videos, label_names)
    if outputs.submission:
        write_submission(
            outputs.submission,
            localization.class_ids,
            localization.lists(),
            localization.video_ids(),
            localization.slots,
        )
    parts.remove()
