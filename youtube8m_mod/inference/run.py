"""Inference with trained models: which models score what, and the run over the files (section 3.1)."""

import dataclasses
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from youtube8m_mod.data import shards
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.data.records import MAX_FRAMES, VIDEO_LEVEL, ReaderSettings
from youtube8m_mod.errors import UserError
from youtube8m_mod.inference.context import Context
from youtube8m_mod.inference.embeddings import MEAN, SEGMENTS, Embeddings
from youtube8m_mod.inference.folded import fold_checkpoint, fold_int8
from youtube8m_mod.inference.folded_model import PRECISIONS
from youtube8m_mod.inference.localizer import Localizer, Outputs
from youtube8m_mod.inference.members import (
    check_alike,
    segment_classes,
    segment_members,
    settings_of,
    video_members,
)
from youtube8m_mod.inference.options import InferenceOptions
from youtube8m_mod.inference.scorers import Ones, Scorer
from youtube8m_mod.localization.ranked_lists import LocalizationConfig
from youtube8m_mod.localization.segments import split_segments
from youtube8m_mod.models.size import below, check_memory_together
from youtube8m_mod.overrides import check_positive, part

if TYPE_CHECKING:
    from youtube8m_mod.inference.ray_pool import RayPool

_SAMPLE, _SAMPLE_SEGMENTS = 8, 64  # Videos and segments on which 8-bit weights are checked.


@dataclasses.dataclass(frozen=True)
class Inference(InferenceOptions):
    """A run of inference.py.

    Attributes:
        placement: a `Placement`; None leaves it to TensorFlow.
        reader: `data.records.ReaderSettings` of the videos' records.
    """

    placement: object = None
    reader: ReaderSettings = ReaderSettings()

    def run(self, pool: "RayPool | None" = None) -> dict[str, float]:
        """Scores, ranks and writes; see `Localizer.run`."""
        return self.localizer(load=pool is None).run(pool)

    def localizer(self, load: bool = True) -> Localizer:
        """The `Localizer` of the run, with its models unless `load` is False."""
        if not 0 <= self.timeline_threshold <= 1:
            raise UserError(f"timeline_threshold must be from 0 to 1, got {self.timeline_threshold}.")
        check_positive(self, "batch_size", "segment_batch_size")
        if not 0 < self.group_megabytes < float("inf"):
            raise UserError(f"group_megabytes must be a number above 0, got {self.group_megabytes:g}.")
        outputs = Outputs(
            self.output_file,
            self.video_predictions_file,
            self.segment_predictions_file,
            self.timeline_file,
            Embeddings(self.embeddings_file, self.embeddings_of, self.embeddings_join)
            if self.embeddings_file
            else None,
        )
        config = part(LocalizationConfig, self)
        members = segment_members(self.train_dir, self.checkpoint, self.node, self.model_weights)
        like = members[0].run.model
        class_ids = segment_classes(members, self.segment_label_ids_file)
        # The files are read in groups, of which one may be bad as a whole: `Localizer` judges the share over all.
        # Segments are scored all along a video, also where the video-level model looks at fewer frames.
        reader = Reader(
            self.input_data_pattern,
            like,
            max_frames=MAX_FRAMES,
            skip_bad_records=self.skip_bad_records,
            max_bad_share=1,
            settings=self.reader,
        )
        inputs = {name: getattr(self, name) for name in ("segment_label_ids_file", "label_names")}
        outputs.check_inputs(inputs | {"input_data_pattern": reader.paths})
        of_videos = video_members(members, self.video_train_dir, self.video_checkpoint, self.video_model_weights)
        outputs.check_models({member.train_dir for member in [*members, *of_videos]})
        needs_scores = self.segment_exponent != 0 or not config.candidates or outputs.segment_predictions
        scores_segments = bool(outputs.of_segments and needs_scores) or outputs.embeds(SEGMENTS)
        _check_nodes(members, of_videos, scores_segments)
        context = self._context(outputs, scores_segments)
        self._check_embeddings(members, of_videos)
        settings = settings_of(members) | {"precision": self.precision, "reader": dataclasses.asdict(self.reader)}
        scores_videos = outputs.need_videos(config, context)
        if scores_videos:
            check_alike([members[0], *of_videos])
            settings |= settings_of(of_videos, "video_")
        if load and self.precision != "int8":
            loaded = [*(of_videos if scores_videos else ()), *(members if scores_segments else ())]
            models = [below(member.run.model, member.node) for member in loaded]
            check_memory_together(models, weight_bytes=PRECISIONS[self.precision].size)
        video_scorer = segment_scorer = None
        # Reading and folding is work of one core a model.
        with ThreadPoolExecutor(1 if self.precision == "int8" else 2) as threads:
            if scores_videos and load:
                # A video-level record is one row in training, whatever the frames of the model.
                padded = 1 if reader.spec.kind == VIDEO_LEVEL else None
                video_scorer = threads.submit(self._scorer, of_videos, segments=False, padded_frames=padded)
            if outputs.need_segments and load and scores_segments:
                segment_scorer = threads.submit(self._scorer, members, segments=True, classes=class_ids)
        video_scorer, segment_scorer = (scorer and scorer.result() for scorer in (video_scorer, segment_scorer))
        if outputs.need_segments and not scores_segments:
            segment_scorer = Ones(len(class_ids))
        return Localizer(
            reader,
            class_ids,
            config,
            outputs,
            video_scorer,
            segment_scorer,
            settings,
            self.batch_size,
            self.segment_batch_size,
            group_bytes=int(self.group_megabytes * 2**20),
            timeline_threshold=self.timeline_threshold,
            label_names=self._label_names(like.num_classes),
            context=context,
        )

    def _context(self, outputs, scores_segments):
        context = Context.parse(self.segment_shifts, self.context, self.context_reach)
        if not context.is_plain and not scores_segments:
            raise UserError("--segment_shifts and --context are for models that score segments: here none does.")
        if not context.is_plain and outputs.embeds(SEGMENTS):
            raise UserError(
                "--embeddings_file holds vectors of the segments' own frames: --segment_shifts and --context do not go "
                "with --embeddings_of=segments."
            )
        if context.reach != 1 and not context.neighbours:
            raise UserError("--context_reach belongs to --context with a share of the neighbours, which is not given.")
        return context

    def _check_embeddings(self, members, of_videos):
        """Raises `UserError` where the models cannot give the embeddings that are asked for."""
        if not self.embeddings_file:
            return
        if self.precision == "int8":
            raise UserError("--embeddings_file takes float32 or bfloat16: models with 8-bit weights give scores only.")
        first, *others = members if self.embeddings_of == SEGMENTS else of_videos
        size = first.run.model.hidden_size
        for other in others if self.embeddings_join == MEAN else ():
            if other.run.model.hidden_size != size:
                raise UserError(
                    f"--embeddings_join=mean: the models of {other.train_dir} and {first.train_dir} must have the same "
                    f"hidden_size, got {other.run.model.hidden_size} and {size}."
                )

    def _label_names(self, num_classes):
        if not self.label_names:
            return None
        from youtube8m_mod.formats.label_names import read_label_names

        return read_label_names(self.label_names, num_classes)

    def _scorer(self, members, *, segments, classes=None, padded_frames=None):
        """The `Scorer` of some members for whole videos or for segments."""
        models = [
            self._load(member, number, segments=segments, classes=classes) for number, member in enumerate(members)
        ]
        return Scorer(models, [member.weight for member in members], segments, padded_frames)

    def _load(self, member, number, *, segments, classes):
        """The `FoldedModel` of a member; models are dealt to devices as subtrees are."""
        chosen = {"node": member.node, "classes": classes, "segments": segments, "checkpoint": member.checkpoint}
        if self.precision == "int8":
            return fold_int8(member.train_dir, self._sample(segments, member.run.model), **chosen)
        placement = self.placement and self.placement.shifted(number)
        return fold_checkpoint(member.train_dir, precision=self.precision, placement=placement, **chosen)

    def _sample(self, segments, config):
        """Some examples of the input, in the form that a model's `predict` takes; none where there are none."""
        reader = Reader(
            self.input_data_pattern,
            config,
            max_frames=MAX_FRAMES,
            skip_bad_records=True,
            max_bad_share=1,
            settings=self.reader,
        )
        paths = [path for path in reader.paths if shards.size(path)][:1]
        batch = next(iter(reader.read(_SAMPLE, paths=paths).dataset), None) if paths else None
        if batch is None:
            batch = {"features": np.zeros((0, 5, config.feature_size), np.uint8), "num_frames": np.zeros(0, np.int32)}
        if not segments:
            return batch["features"], batch["num_frames"], batch.get("present_frames")
        features, present, _, _ = split_segments(batch["features"], batch["num_frames"])
        return features[:_SAMPLE_SEGMENTS], None, present[:_SAMPLE_SEGMENTS]


def _check_nodes(members, of_videos, scores_segments):
    """Raises `UserError` where a model lacks its node, or where that is a part of a model that scores nothing."""
    for member in members:
        if member.node and not scores_segments and member.place not in [other.place for other in of_videos]:
            raise UserError(
                f'node "{member.node}" names a part of the segment model {member.train_dir}, which scores nothing '
                f"here: the videos are scored by {', '.join(other.train_dir for other in of_videos)}."
            )
        member.check_node()


def report_counts(counts: Mapping[str, float]) -> None:
    """Prints what a run did: videos, segments, seconds."""
    rate = max(counts["segments"], counts["videos"]) / max(counts["seconds"], 1e-9)
    again = f"; {counts['files_done_again']:,} files done again" if counts.get("files_done_again") else ""
    print(
        f"{counts['videos']:,} videos, {counts['segments']:,} segments in {counts['seconds']:.1f} s "
        f"({rate:,.0f} a second){again}",
        file=sys.stderr,
    )
