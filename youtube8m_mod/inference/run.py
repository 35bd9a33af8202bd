"""Inference with trained models: which models score what, and the run over the files (section 3.1)."""

import dataclasses
import sys

import numpy as np

from youtube8m_mod import files
from youtube8m_mod.data import shards
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.data.records import MAX_FRAMES, ReaderSettings
from youtube8m_mod.errors import UserError
from youtube8m_mod.formats.class_lists import read_class_ids
from youtube8m_mod.inference.folded import FoldedModel, fold_checkpoint, fold_int8
from youtube8m_mod.inference.localizer import Localizer, Outputs
from youtube8m_mod.inference.options import InferenceOptions
from youtube8m_mod.localization.ranked_lists import LocalizationConfig
from youtube8m_mod.localization.segments import split_segments
from youtube8m_mod.overrides import part
from youtube8m_mod.training import checkpoints
from youtube8m_mod.training.run import Run

_ALIKE = ("feature_names", "feature_sizes", "num_classes", "max_frames")  # What both models must share.
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

    def run(self, pool=None):
        """Scores, ranks and writes; see `Localizer.run`."""
        return self.localizer(load=pool is None).run(pool)

    def localizer(self, load=True):
        """The `Localizer` of the run, with its models unless `load` is False."""
        if not 0 <= self.timeline_threshold <= 1:
            raise UserError(f"timeline_threshold must be from 0 to 1, got {self.timeline_threshold}.")
        for name in ("batch_size", "segment_batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not 0 < self.group_megabytes < float("inf"):
            raise UserError(f"group_megabytes must be a number above 0, got {self.group_megabytes:g}.")
        outputs = Outputs(
            self.output_file, self.video_predictions_file, self.segment_predictions_file, self.timeline_file
        )
        config = part(LocalizationConfig, self)
        run = Run.load(self.train_dir)
        class_ids = self._class_ids(run)
        # The files are read in groups, of which one may be bad as a whole: `Localizer` judges the share over all.
        # Segments are scored all along a video, also where the video-level model looks at fewer frames.
        reader = Reader(
            self.input_data_pattern,
            run.model,
            max_frames=MAX_FRAMES,
            skip_bad_records=self.skip_bad_records,
            max_bad_share=1,
            settings=self.reader,
        )
        video_train_dir = self._video_train_dir(run)
        self._check_node(video_train_dir, outputs)
        settings = {
            "train_dir": files.absolute(self.train_dir),
            "checkpoint": self._identity(self.train_dir, self.checkpoint),
            "node": self.node,
            "precision": self.precision,
        }
        video_scorer = segment_scorer = None
        if config.candidates or outputs.video_predictions:
            video_checkpoint = self._video_checkpoint(run, video_train_dir)
            settings |= {
                "video_train_dir": files.absolute(video_train_dir),
                "video_checkpoint": self._identity(video_train_dir, video_checkpoint),
            }
            # A node is a part of the segment model; the video-level model, where it is another, is whole.
            node = self.node if _same_place(video_train_dir, self.train_dir) else ""
            if load:
                video_scorer = _VideoScorer(
                    self._load(video_train_dir, video_checkpoint, segments=False, node=node, like=run.model)
                )
        if outputs.of_segments and self.segment_exponent == 0 and config.candidates and not outputs.segment_predictions:
            segment_scorer = _Ones(len(class_ids))  # P_seg^0: no segment model is needed.
        elif outputs.of_segments and load:
            segment_scorer = _SegmentScorer(
                self._load(
                    self.train_dir, self.checkpoint, segments=True, node=self.node, like=run.model, classes=class_ids
                )
            )
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
            label_names=self._label_names(),
        )

    def _label_names(self):
        if not self.label_names:
            return None
        from youtube8m_mod.formats.label_names import read_label_names

        return read_label_names(self.label_names, Run.load(self.train_dir).model.num_classes)

    def _class_ids(self, run):
        if self.segment_label_ids_file:
            return read_class_ids(self.segment_label_ids_file, run.model.num_classes)
        return run.classes or list(range(run.model.num_classes))

    def _check_node(self, video_train_dir, outputs):
        """Raises `UserError` where `node` would name a part of a model that scores nothing."""
        scores_segments = outputs.of_segments and (self.segment_exponent != 0 or not self.candidates)
        if self.node and not (
            scores_segments or outputs.segment_predictions or _same_place(video_train_dir, self.train_dir)
        ):
            raise UserError(
                f'node "{self.node}" names a part of the segment model {self.train_dir}, which scores nothing here: '
                f"the videos are scored by {video_train_dir}."
            )

    def _video_train_dir(self, run):
        if self.video_train_dir:
            Run.load(self.video_train_dir)
            return self.video_train_dir
        # A model of another vocabulary cannot give the candidates.
        chosen = None if run.new_classes else run.started_from
        if not chosen:
            return self.train_dir
        words = f"{self.train_dir} started from {chosen}, whose model gives the candidates; name its place with "
        if files.absolute(chosen) != chosen:
            raise UserError(f"{words}--video_train_dir: that path means another place in each folder.")
        try:
            Run.load(chosen)
            steps = checkpoints.steps(chosen)
            step = run.started_step if run.started_step in steps else checkpoints.chosen_steps(chosen)[0]
        except UserError as error:
            raise UserError(f"{words}--video_train_dir ({error})") from error
        found = step, checkpoints.fingerprint(chosen, step)
        if run.started_step is not None and found != (run.started_step, run.started_fingerprint):
            raise UserError(
                f"{words}--video_train_dir: it was step {run.started_step} there, the last checkpoint now is "
                f"{'another one' if step == run.started_step else 'that'} of step {step}."
            )
        return chosen

    def _video_checkpoint(self, run, video_train_dir):
        """Which checkpoint of the video-level model scores: of one that finetuning started from, that very one."""
        if self.video_checkpoint:
            return self.video_checkpoint
        if _same_place(video_train_dir, self.train_dir):
            return self.checkpoint
        if not self.video_train_dir and run.started_step in checkpoints.steps(video_train_dir):
            return str(run.started_step)
        return checkpoints.LAST

    def _identity(self, train_dir, checkpoint):
        """What distinguishes a choice of checkpoints from others: their steps and fingerprints."""
        steps = checkpoints.chosen_steps(train_dir, checkpoint)
        return [[step, checkpoints.fingerprint(train_dir, step)] for step in steps]

    def _load(self, train_dir, checkpoint, *, segments, node, like, classes=None):
        """The `FoldedModel` of a train_dir for whole videos or for segments."""
        run = Run.load(train_dir)
        for field in _ALIKE:
            if getattr(run.model, field) != getattr(like, field):
                raise UserError(
                    f"The models of {train_dir} and {self.train_dir} must have the same {field}, got "
                    f"{getattr(run.model, field)} and {getattr(like, field)}."
                )
        if self.precision == "int8":
            return fold_int8(train_dir, self._sample(segments, like), node, classes, segments, checkpoint)
        return fold_checkpoint(
            train_dir, node, self.precision, classes, self.placement, segments=segments, checkpoint=checkpoint
        )

    def _sample(self, segments, config):
        """Some examples of the input, in the form that a model's `predict` takes; none where there are none."""
        reader = Reader(self.input_data_pattern, config, max_frames=MAX_FRAMES, skip_bad_records=True, max_bad_share=1)
        paths = [path for path in reader.paths if shards.size(path)][:1]
        batch = next(iter(reader.read(_SAMPLE, paths=paths).dataset), None) if paths else None
        if batch is None:
            batch = {"features": np.zeros((0, 5, config.feature_size), np.uint8), "num_frames": np.zeros(0, np.int32)}
        if not segments:
            return batch["features"], batch["num_frames"], batch.get("present_frames")
        features, present, _, _ = split_segments(batch["features"], batch["num_frames"])
        return features[:_SAMPLE_SEGMENTS], None, present[:_SAMPLE_SEGMENTS]


@dataclasses.dataclass
class _VideoScorer:
    model: FoldedModel

    def __call__(self, features, num_frames, present_frames):
        return self.model.predict(features, num_frames, present_frames)


@dataclasses.dataclass
class _SegmentScorer:
    """Attends to all 5 frames, those past the end of the video too, as in finetuning."""

    model: FoldedModel

    def __call__(self, features, num_frames, present_frames):
        return self.model.predict(features, None, present_frames)


@dataclasses.dataclass
class _Ones:
    """Gives every segment probability 1 in every class."""

    num_classes: int

    def __call__(self, features, num_frames, present_frames):
        return np.ones((len(features), self.num_classes), np.float32)


def _same_place(first, second):
    return files.absolute(first) == files.absolute(second)


def report_counts(counts, file=sys.stderr):
    """Tells what a run did: videos, segments, seconds."""
    rate = max(counts["segments"], counts["videos"]) / max(counts["seconds"], 1e-9)
    again = f"; {counts['files_done_again']:,} files done again" if counts.get("files_done_again") else ""
    print(
        f"{counts['videos']:,} videos, {counts['segments']:,} segments in {counts['seconds']:.1f} s "
        f"({rate:,.0f} a second){again}",
        file=file,
    )
