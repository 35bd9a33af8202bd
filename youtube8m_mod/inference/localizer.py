"""Inference over files of videos: candidates, segment scores, ranking, and the three outputs (section 3.1).

The models come as functions from a batch (features, num_frames, present_frames) to probabilities, so that nothing here
knows them.
"""

import dataclasses
import os
import sys
import time

import numpy as np

from youtube8m_mod import terminal
from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.data import records, shards
from youtube8m_mod.errors import UserError
from youtube8m_mod.formats.predictions import format_lines
from youtube8m_mod.formats.submission import write_submission
from youtube8m_mod.inference.pieces import SEGMENT_LINES, VIDEO_LINES, Parts
from youtube8m_mod.localization.ranked_lists import Localization, LocalizationConfig
from youtube8m_mod.localization.segments import split_segments

_MAX_BAD_SHARE = 0.01  # More bad records than this share are no accident.
_GROUP_BYTES = 64 << 20  # Input files are done in groups of about so many bytes: small ones would not fill a batch.


@dataclasses.dataclass(frozen=True)
class Outputs:
    """Paths of what is written; None leaves it out.

    Attributes:
        submission: `Class,Segments`.
        video_predictions, segment_predictions: `VideoId,LabelConfidencePairs`, in the order of the video ids.
    """

    submission: str | None = None
    video_predictions: str | None = None
    segment_predictions: str | None = None

    def __post_init__(self):
        if not any(dataclasses.astuple(self)):
            raise UserError(
                "At least one output must be named: --output_file, --video_predictions_file or "
                "--segment_predictions_file."
            )

    @property
    def parts_folder(self):
        """Where the finished pieces of the run lie, until the outputs are written."""
        return next(filter(None, dataclasses.astuple(self))) + ".parts"


class Localizer:
    """Scores videos and their segments, and ranks the segments.

    Args:
        reader: a `data.reader.Reader` of whole videos.
        class_ids: int (C,), the segment classes, ascending.
        config: `LocalizationConfig`.
        outputs: `Outputs`.
        video_scorer: (features (B, M, D), num_frames (B,), present_frames (B,)) -> float32 (B, V), all classes of the
            vocabulary.
        segment_scorer: the same for (N, 5, D) -> float32 (N, C), the segment classes; None: segments are not looked at.
        model_settings: a JSON-able dict that identifies the models.
        batch_size: videos a batch.
        segment_batch_size: segments a batch.
    """

    def __init__(
        self,
        reader,
        class_ids,
        config,
        outputs,
        video_scorer,
        segment_scorer,
        model_settings,
        batch_size=16,
        segment_batch_size=512,
    ):
        self.reader, self.class_ids, self.config, self.outputs = reader, np.asarray(class_ids), config, outputs
        self.video_scorer, self.segment_scorer = video_scorer, segment_scorer
        self.batch_size, self.segment_batch_size = batch_size, segment_batch_size
        self.model_settings = model_settings
        self._slots = -(-reader.max_frames // SEGMENT_FRAMES)
        if reader.spec.kind == records.VIDEO_LEVEL and (outputs.submission or outputs.segment_predictions):
            raise UserError(
                "Segments need frame-level records: of video-level ones only --video_predictions_file can be written."
            )

    def run(self, num_shards=1, shard_index=0):
        """Does the input files of one shard that are not done yet; with a single shard, writes the outputs.

        Returns:
            {"videos", "segments", "records", "bad_records": int, "seconds": float}, of this call.
        """
        if not 0 <= shard_index < num_shards:
            raise UserError(f"shard_index must be from 0 to {num_shards - 1} (num_shards - 1), got {shard_index}.")
        paths = self.reader.paths
        parts = Parts(self.outputs.parts_folder, self._settings())
        done = {number for numbers in parts.done().values() for number in numbers}
        mine = range(shard_index, len(paths), num_shards)
        sizes = {number: shards.size(paths[number]) for number in mine}
        counts, start = {"videos": 0, "segments": 0, "records": 0, "bad_records": 0}, time.perf_counter()
        with terminal.progress(
            total=sum(sizes.values()),
            unit="B",
            description="inference",
            initial=sum(size for number, size in sizes.items() if number in done),
        ) as bar:
            bar.unit_scale = True
            for group in _groups([number for number in mine if number not in done], sizes):
                before = bar.n
                parts.write(group, *self._localize([paths[number] for number in group], counts, bar, start))
                bar.update(before + sum(sizes[number] for number in group) - bar.n)
        if counts["bad_records"] > _MAX_BAD_SHARE * counts["records"]:
            raise UserError(
                f"{counts['bad_records']:,} of {counts['records']:,} records were bad, more than the share "
                f"{_MAX_BAD_SHARE:g} that may be skipped; {parts.folder} keeps what was done."
            )
        if num_shards == 1:
            write_outputs(parts, self.outputs)
        return counts | {"seconds": time.perf_counter() - start}

    def _localize(self, paths, counts, bar, start):
        """(state of the `Localization`, lines) of some input files."""
        localization = Localization(self.class_ids, self.config, self._slots)
        lines = {
            kind: {}
            for kind, path in (
                (VIDEO_LINES, self.outputs.video_predictions),
                (SEGMENT_LINES, self.outputs.segment_predictions),
            )
            if path
        }
        paths = [path for path in paths if shards.size(path)]
        batches = self.reader.read(self.batch_size, paths=paths) if paths else ()
        for batch in batches:
            ids = batch["ids"].numpy().tolist()
            frames = batch["num_frames"].numpy()
            videos = [None] * len(ids)
            if self.config.candidates or VIDEO_LINES in lines:
                videos = _probabilities(
                    self.video_scorer(batch["features"], batch["num_frames"], batch["present_frames"]), ids
                )
            if VIDEO_LINES in lines:
                lines[VIDEO_LINES] |= zip(ids, format_lines(_texts(ids), videos, self.config.top_k))
            if self.segment_scorer:
                for video_id, count, video, own in zip(ids, frames, videos, self._segments(batch, ids)):
                    if self.outputs.submission:
                        localization.add(video_id, int(count), video, own)
                    if SEGMENT_LINES in lines:
                        names = [f"{_texts([video_id])[0]}:{SEGMENT_FRAMES * row}" for row in range(len(own))]
                        lines[SEGMENT_LINES][video_id] = "".join(
                            format_lines(names, own, self.config.top_k, self.class_ids)
                        )
                    counts["segments"] += len(own)
            counts["videos"] += len(ids)
            bar.update(int(frames.sum()) * batch["features"].shape[2] * batch["features"].dtype.size)
            seconds = time.perf_counter() - start
            bar.set_postfix_str(
                f"{counts['videos']:,} videos, {counts['segments']:,} segments, "
                f"{max(counts['segments'], counts['videos']) / seconds:,.0f}/s",
                refresh=False,
            )
        if paths:
            counts["records"] += batches.counts.records
            counts["bad_records"] += sum(batches.counts.bad.values())
            if told := batches.counts.summary():
                bar.write(f"warning: {told}", file=sys.stderr)
        return localization.state(), lines

    def _segments(self, batch, ids):
        """The probabilities of each video's segments: a list of float32 (n, C)."""
        features, present, videos, _ = split_segments(batch["features"], batch["num_frames"])
        scores = []
        for first in range(0, len(videos), self.segment_batch_size):
            rows = slice(first, first + self.segment_batch_size)
            num_frames = np.full(len(present[rows]), SEGMENT_FRAMES, np.int32)  # As in finetuning: nothing is masked.
            scores.append(np.asarray(self.segment_scorer(features[rows], num_frames, present[rows])))
        owners = videos.numpy()
        ends = np.searchsorted(owners, np.arange(len(ids)), side="right")
        return np.split(_probabilities(np.concatenate(scores), [ids[owner] for owner in owners]), ends[:-1])

    def _settings(self):
        return self.model_settings | {
            "localization": dataclasses.asdict(self.config),
            "class_ids": self.class_ids.tolist(),
            "slots": self._slots,
            "input_files": [os.path.basename(path) for path in self.reader.paths],
            "outputs": [field for field, path in dataclasses.asdict(self.outputs).items() if path],
        }


def write_outputs(parts, outputs):
    """Writes the outputs from the pieces of a run, and removes these: what `--merge` does."""
    settings = parts.settings
    named = [name for name, path in dataclasses.asdict(outputs).items() if path]
    if missing := [name for name in named if name not in settings["outputs"]]:
        raise UserError(
            f"{parts.folder} lacks what is needed for {', '.join(missing)}: every shard must name the same outputs."
        )
    parts.check_complete()
    if outputs.video_predictions:
        parts.write_lines(VIDEO_LINES, outputs.video_predictions)
    if outputs.segment_predictions:
        parts.write_lines(SEGMENT_LINES, outputs.segment_predictions)
    if outputs.submission:
        localization = Localization(
            settings["class_ids"], LocalizationConfig(**settings["localization"]), settings["slots"]
        )
        parts.merge_into(localization)
        write_submission(
            outputs.submission,
            localization.class_ids,
            localization.lists(),
            localization.video_ids(),
            localization.slots,
        )
    parts.remove()


def _groups(numbers, sizes):
    """Lists of consecutive `numbers`, each of about `_GROUP_BYTES`."""
    group, total = [], 0
    for number in numbers:
        if group and total + sizes[number] > _GROUP_BYTES:
            yield group
            group, total = [], 0
        group.append(number)
        total += sizes[number]
    if group:
        yield group


def _probabilities(values, ids):
    """`values` as numpy; raises `UserError` naming the video where one is not a number."""
    values = np.asarray(values)
    if values.size and np.isnan(values.min()):
        row = int(np.flatnonzero(np.isnan(values).any(axis=1))[0])
        raise UserError(f"The model gives no number for video {_texts([ids[row]])[0]}.")
    return values


def _texts(ids):
    return [video_id.decode(errors="backslashreplace") for video_id in ids]
