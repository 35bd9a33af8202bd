"""Inference over files of videos: candidates, segment scores, ranking, and the outputs (section 3.1).

The models come as functions from a batch (features, num_frames, present_frames) to probabilities, so that nothing here
knows them.
"""

import dataclasses
import sys
import time

import numpy as np

from youtube8m_mod import files, terminal
from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.data import records, shards
from youtube8m_mod.data.ground_truth import places
from youtube8m_mod.errors import UserError
from youtube8m_mod.formats.predictions import format_lines
from youtube8m_mod.formats.submission import write_submission
from youtube8m_mod.formats.timelines import check_timeline_path, format_spans, parse_spans, write_timeline
from youtube8m_mod.inference.pieces import COUNTS, SEGMENT_LINES, TIMELINES, VIDEO_LINES, Parts, Piece
from youtube8m_mod.localization.ranked_lists import Localization
from youtube8m_mod.localization.segments import split_segments
from youtube8m_mod.localization.timelines import join_segments, segment_values
from youtube8m_mod.localization.value_model import candidate_columns
from youtube8m_mod.lock import FolderLock

_MAX_BAD_SHARE = 0.01  # More bad records than this share are no accident.
_GROUP_BYTES = 64 << 20  # Input files are done in groups of about so many bytes: small ones would not fill a batch.


@dataclasses.dataclass(frozen=True)
class Outputs:
    """Paths of what is written; None leaves it out.

    Attributes:
        submission: `Class,Segments`.
        video_predictions, segment_predictions: `VideoId,LabelConfidencePairs`, in the order of the video ids.
        timeline: where classes are in the videos, in the form that the ending names (`formats.timelines`).
    """

    submission: str | None = None
    video_predictions: str | None = None
    segment_predictions: str | None = None
    timeline: str | None = None

    def __post_init__(self):
        if not any(dataclasses.astuple(self)):
            raise UserError(
                "At least one output must be named: --output_file, --video_predictions_file, "
                "--segment_predictions_file or --timeline_file."
            )
        if self.timeline:
            check_timeline_path(self.timeline)
        paths = [files.absolute(path) for path in dataclasses.astuple(self) if path]
        if repeated := next((path for path in paths if paths.count(path) > 1), None):
            raise UserError(f"Each output needs a path of its own, got {repeated} for two of them.")

    @property
    def of_segments(self):
        """Whether segments are looked at."""
        return bool(self.submission or self.segment_predictions or self.timeline)

    @property
    def parts_folder(self):
        """Where the finished pieces of the run lie, until the outputs are written."""
        return next(filter(None, dataclasses.astuple(self))).rstrip("/") + ".parts"


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
            Neither is needed to `run` on a pool.
        model_settings: a JSON-able dict that identifies the models.
        batch_size: videos a batch.
        segment_batch_size: segments a batch.
        group_bytes: input files are done in groups of about so many bytes.
        timeline_threshold: the value from which on segments are part of a timeline.
        label_names: {class: name} for the timeline.
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
        group_bytes=None,
        timeline_threshold=0.5,
        label_names=None,
    ):
        self.reader, self.class_ids, self.config, self.outputs = reader, np.asarray(class_ids), config, outputs
        self.video_scorer, self.segment_scorer = video_scorer, segment_scorer
        self.batch_size, self.segment_batch_size = batch_size, segment_batch_size
        self.model_settings, self.group_bytes = model_settings, group_bytes
        self.timeline_threshold, self.label_names = timeline_threshold, label_names
        self._slots = -(-reader.max_frames // SEGMENT_FRAMES)
        if reader.spec.kind == records.VIDEO_LEVEL and outputs.of_segments:
            raise UserError(
                "Segments need frame-level records: of video-level ones only --video_predictions_file can be written."
            )

    def run(self, pool=None):
        """Does the input files that are not done yet, group by group, and writes the outputs.

        Args:
            pool: who localises: `pool.localize(groups)` yields (group, `Piece`) in any order, for groups that are lists
                of paths; None: this process, one group after the other.

        Returns:
            {"videos", "segments", "records", "bad_records", "lost_records": int, "seconds": float}, of this call; on a
            pool also "files_done_again".

        Raises:
            UserError: where another process does the same run, an id occurs twice, a file changes meanwhile, or too
                many records are bad or lost behind bad ones, in all files together.
        """
        with FolderLock(self.outputs.parts_folder):
            return self._run(pool)

    def _run(self, pool):
        paths = self.reader.paths
        numbers = {path: number for number, path in enumerate(paths)}
        parts = Parts(self.outputs.parts_folder, self._settings(), self.reader.skip_bad_records)
        sizes = [size for _, size, _ in parts.identities]
        for sentence in parts.outdated:
            print(f"warning: {sentence}", file=sys.stderr)
        merged = self._localization() if self.outputs.submission else None
        done = parts.merge_into(merged)
        owners = _Owners(paths)
        for group, ids in parts.ids():
            owners.add(group, ids)
        groups = [
            [paths[number] for number in group if number not in done]
            for group in _groups(sizes, self.group_bytes or _GROUP_BYTES)
        ]
        counts, start = dict.fromkeys(COUNTS, 0), time.perf_counter()
        with terminal.progress(
            total=sum(sizes), unit="B", description="inference", initial=sum(sizes[number] for number in done)
        ) as bar:
            bar.unit_scale = True
            here = _Here(self, bar, counts, start)
            for group, piece in (pool or here).localize([group for group in groups if group]):
                group = [numbers[path] for path in group]
                owners.add(group, piece.ids)
                if merged:
                    merged.merge(piece.state)
                parts.write(group, piece)
                for name, count in piece.counts.items():
                    counts[name] += count
                if piece.warning:
                    bar.write(f"warning: {piece.warning}", file=sys.stderr)
                here.show(sum(sizes[number] for number in group))
        _judge([*parts.counts()], parts.folder)
        write_outputs(parts, self.outputs, merged, self.label_names)
        again = {"files_done_again": pool.files_done_again} if pool else {}
        return counts | again | {"seconds": time.perf_counter() - start}

    def localize(self, paths, on_batch=lambda counts, size: None):
        """The `Piece` of some input files.

        Args:
            on_batch: called after each batch with the counts so far and the bytes of the batch's frames.
        """
        localization = self._localization()
        lines = {
            kind: {}
            for kind, path in (
                (VIDEO_LINES, self.outputs.video_predictions),
                (SEGMENT_LINES, self.outputs.segment_predictions),
                (TIMELINES, self.outputs.timeline),
            )
            if path
        }
        counts, warning, seen = dict.fromkeys(COUNTS, 0), "", set()
        paths = [path for path in paths if shards.size(path)]
        batches = self.reader.read(self.batch_size, paths=paths) if paths else ()
        for batch in batches:
            ids = batch["ids"].numpy().tolist()
            for video_id in ids:
                if video_id in seen:
                    raise _twice(video_id, paths)
                seen.add(video_id)
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
                        listed = slice(None)
                        if self.config.segment_candidates:
                            listed = candidate_columns(video, self.class_ids, self.config.top_k)
                        lines[SEGMENT_LINES][video_id] = "".join(
                            format_lines(names, own[:, listed], self.config.top_k, self.class_ids[listed])
                        )
                    if TIMELINES in lines:
                        classes, values = segment_values(video, own, self.class_ids, self.config)
                        spans = join_segments(classes, values, int(count), self.timeline_threshold)
                        lines[TIMELINES][video_id] = format_spans(spans)
                    counts["segments"] += len(own)
            counts["videos"] += len(ids)
            on_batch(counts, int(frames.sum()) * batch["features"].shape[2] * batch["features"].dtype.size)
        if paths:
            counts["records"] = batches.counts.records
            counts["bad_records"] = sum(batches.counts.bad.values())
            counts["lost_records"] = batches.counts.lost
            warning = batches.counts.summary()
        return Piece(localization.state(), lines, counts, sorted(seen), warning)

    def _localization(self):
        return Localization(self.class_ids, self.config, self._slots)

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
        timeline = {"timeline_threshold": self.timeline_threshold} if self.outputs.timeline else {}
        return (
            self.model_settings
            | timeline
            | {
                "localization": dataclasses.asdict(self.config),
                "input_files": [*map(files.absolute, self.reader.paths)],
                "class_ids": self.class_ids.tolist(),
                "slots": self._slots,
                "outputs": [field for field, path in dataclasses.asdict(self.outputs).items() if path],
            }
        )


class _Here:
    """Localises in this process, and shows how far it is.

    Args:
        localizer: a `Localizer` with its scorers.
        bar: the progress line of the run, in bytes.
        counts: of the groups that are done.
        start: `time.perf_counter()` at the beginning.
    """

    def __init__(self, localizer, bar, counts, start):
        self._localizer, self._bar, self._counts, self._start = localizer, bar, counts, start
        self._before = bar.n

    def localize(self, groups):
        for group in groups:
            yield group, self._localizer.localize(group, self._batch_done)

    def _batch_done(self, counts, size):
        self._bar.update(size)
        self._tell({name: self._counts[name] + counts[name] for name in counts})

    def show(self, size):
        """Shows that a group of so many bytes is done."""
        self._before += size
        self._bar.update(self._before - self._bar.n)
        self._tell(self._counts)

    def _tell(self, counts):
        rate = max(counts["segments"], counts["videos"]) / (time.perf_counter() - self._start)
        self._bar.set_postfix_str(
            f"{counts['videos']:,} videos, {counts['segments']:,} segments, {rate:,.0f}/s", refresh=False
        )


class _Owners:
    """Which input files each video is of: an id that occurs twice is an error."""

    def __init__(self, paths):
        self._paths, self._groups, self._owner = paths, [], {}

    def add(self, group, ids):
        for video_id in ids:
            if video_id in self._owner:
                earlier = self._groups[self._owner[video_id]]
                raise _twice(video_id, [self._paths[number] for number in sorted({*earlier, *group})])
        self._owner |= dict.fromkeys(ids, len(self._groups))
        self._groups.append(group)


def _twice(video_id, paths):
    """The error for an id that occurs twice in some files; they are looked through for the places."""
    found = places(paths, video_id)[:2]
    named = f": {' and '.join(found)}" if len(found) == 2 else ""
    return UserError(f"Video {_texts([video_id])[0]} occurs twice in the input{named}.")


def _judge(counts, folder):
    """Raises `UserError` where too many records of all pieces were bad, or lost behind bad ones."""
    records, bad, lost = (sum(own[name] for own, _ in counts) for name in ("records", "bad_records", "lost_records"))
    if bad + lost > _MAX_BAD_SHARE * (records + lost):
        behind = f" and about {lost:,} lost behind them" if lost else ""
        warning = next((warning for _, warning in counts if warning), "")
        raise UserError(
            f"{bad:,} of {records:,} records were bad{behind}, more than the share {_MAX_BAD_SHARE:g} that may be "
            f"skipped; {folder} keeps what was done, and files that are mended are read again. {warning}"
        )


def write_outputs(parts, outputs, localization, label_names=None):
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
    if outputs.timeline:
        texts = parts.texts(TIMELINES)
        videos = zip(_texts(texts), map(parse_spans, map(bytes.decode, texts.values())))
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


def _groups(sizes, limit):
    """Lists of consecutive numbers of files, each of about `limit` bytes by their `sizes`.

    All files count, also those that are done: the same files give the same groups, in whatever order they are done.
    """
    group, total = [], 0
    for number, size in enumerate(sizes):
        if group and total + size > limit:
            yield group
            group, total = [], 0
        group.append(number)
        total += size
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
