"""Inference over files of videos: candidates, segment scores, ranking, and the outputs (section 3.1).

The models come as functions from a batch (features, num_frames, present_frames) to probabilities, so that nothing here
knows them.
"""

import dataclasses
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from youtube8m_mod import files, terminal
from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.data import records, shards
from youtube8m_mod.data.video_ids import text_of
from youtube8m_mod.errors import UserError
from youtube8m_mod.inference.context import Context, SegmentScores
from youtube8m_mod.inference.embeddings import SEGMENTS, VIDEOS
from youtube8m_mod.inference.growing_piece import GrowingPiece
from youtube8m_mod.inference.input_files import Owners, consecutive, groups_of
from youtube8m_mod.inference.outputs import Outputs, write_outputs
from youtube8m_mod.inference.pieces import COUNTS, Parts, Piece
from youtube8m_mod.localization.ranked_lists import Localization, LocalizationConfig
from youtube8m_mod.lock import FolderLock
from youtube8m_mod.overrides import to_dict

if TYPE_CHECKING:
    from youtube8m_mod.data.reader import Reader
    from youtube8m_mod.inference.ray_pool import RayPool
    from youtube8m_mod.inference.scorers import Ones, Scorer

_MAX_BAD_SHARE = 0.01  # More bad records than this share are no accident.
_GROUP_BYTES = 64 << 20  # Input files are done in groups of about so many bytes: small ones would not fill a batch.


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
        context: `Context` of the segments.
    """

    def __init__(
        self,
        reader: "Reader",
        class_ids: Sequence[int] | np.ndarray,
        config: LocalizationConfig,
        outputs: Outputs,
        video_scorer: "Scorer | None",
        segment_scorer: "Scorer | Ones | None",
        model_settings: dict[str, Any],
        batch_size: int = 16,
        segment_batch_size: int = 512,
        group_bytes: int | None = None,
        timeline_threshold: float = 0.5,
        label_names: Mapping[int, str] | None = None,
        context: Context = Context(),
    ):
        self.reader, self.class_ids, self.config, self.outputs = reader, np.asarray(class_ids), config, outputs
        self.video_scorer, self.segment_scorer = video_scorer, segment_scorer
        self.batch_size, self.segment_batch_size = batch_size, segment_batch_size
        self.model_settings, self.group_bytes = model_settings, group_bytes
        self.timeline_threshold, self.label_names = timeline_threshold, label_names
        self.context = context
        self._slots = -(-reader.max_frames // SEGMENT_FRAMES)
        if reader.spec.kind == records.VIDEO_LEVEL and outputs.need_segments:
            raise UserError(
                "Segments need frame-level records: of video-level ones only --video_predictions_file and an "
                "--embeddings_file of videos can be written."
            )

    def run(self, pool: "RayPool | None" = None) -> dict[str, float]:
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
        merged = self.localization() if self.outputs.submission else None
        done = parts.merge_into(merged)
        owners = Owners(paths)
        for group, ids in parts.ids():
            owners.add(group, ids)
        groups = [
            [paths[number] for number in group]
            for whole in groups_of(sizes, self.group_bytes or _GROUP_BYTES)
            for group in consecutive([number for number in whole if number not in done])
        ]
        counts, start = dict.fromkeys(COUNTS, 0), time.perf_counter()
        with terminal.progress(
            total=sum(sizes), unit="B", description="inference", initial=sum(sizes[number] for number in done)
        ) as bar:
            bar.unit_scale = True
            here = _Here(self, bar, counts, start)
            for group, piece in (pool or here).localize(groups):
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

    def localize(
        self, paths: Sequence[str], on_batch: Callable[[dict[str, int], int], None] = lambda counts, size: None
    ) -> Piece:
        """The `Piece` of some input files.

        Args:
            on_batch: called after each batch with the counts so far and the bytes of the batch's frames.
        """
        piece, paths = GrowingPiece(self, paths), [path for path in paths if shards.size(path)]
        join = self.outputs.embeddings.join if self.outputs.embeds(SEGMENTS) else None
        segments = SegmentScores(self.segment_scorer, self.segment_batch_size, self.context, join)
        batches = self.reader.read(self.batch_size, paths=paths) if paths else ()
        for batch in batches:
            ids, frames = batch["ids"].numpy().tolist(), batch["num_frames"].numpy()
            videos, video_logits, vectors = [None] * len(ids), None, ()
            if self.outputs.need_videos(self.config, self.context):
                videos, video_logits, vectors = self._score_videos(batch, ids)
            piece.add_videos(ids, videos, vectors)
            if self.segment_scorer:
                for video_id, count, video, *scores in zip(ids, frames, videos, *segments(batch, video_logits)):
                    own, vectors = (each if each is None else _numbers(each, [video_id] * len(each)) for each in scores)
                    piece.add_segments(video_id, int(count), video, own, vectors)
            on_batch(piece.counts, int(frames.sum()) * batch["features"].shape[2] * batch["features"].dtype.size)
        return piece.finished(batches.counts if paths else None)

    def localization(self) -> Localization:
        """Ranked lists of the segments, empty yet."""
        return Localization(self.class_ids, self.config, self._slots)

    def _score_videos(self, batch, ids):
        """Of each video the probabilities, logits of the segment classes (None without context), and embeddings."""
        arguments = batch["features"], batch["num_frames"], batch["present_frames"]
        vectors = ()
        if self.outputs.embeds(VIDEOS):
            logits, vectors = self.video_scorer.outputs(*arguments, self.outputs.embeddings.join)
            vectors = _numbers(vectors, ids)
        elif self.context.video:
            logits = self.video_scorer.logits(*arguments)
        else:
            return _numbers(self.video_scorer(*arguments), ids), None, vectors
        of_segments = np.asarray(logits)[:, self.class_ids] if self.context.video else None
        return _numbers(tf.sigmoid(logits), ids), of_segments, vectors

    def _settings(self):
        timeline = {"timeline_threshold": self.timeline_threshold} if self.outputs.timeline else {}
        context = {} if self.context.is_plain else {"context": to_dict(self.context)}
        embeddings = self.outputs.embeddings
        if embeddings:
            context |= {"embeddings": {"of": embeddings.of, "join": embeddings.join}}
        return (
            self.model_settings
            | timeline
            | context
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


def _numbers(values, ids):
    """`values`, a row an id, as numpy; raises `UserError` naming the video where one is not a number."""
    values = np.asarray(values)
    if values.size and np.isnan(values.min()):
        row = int(np.flatnonzero(np.isnan(values).any(axis=1))[0])
        raise UserError(f"The model gives no number for video {text_of(ids[row])}.")
    return values
