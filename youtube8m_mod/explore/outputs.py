"""The contents of a page from the files that inference writes."""

from collections.abc import Sequence

import numpy as np

from youtube8m_mod import terminal
from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.data.video_ids import text_of
from youtube8m_mod.errors import UserError
from youtube8m_mod.explore.contents import PROBABILITY, RANK, VALUE, Contents, Video, best_segments
from youtube8m_mod.files import Path
from youtube8m_mod.formats.predictions import read_predictions
from youtube8m_mod.formats.submission import read_submission
from youtube8m_mod.localization.value_model import value_model

_MAX_SEGMENTS = 10_000  # Of a video: nearly 14 hours; a start behind it is an error of the file.
_DEPTH = 1_000  # Places of a class's list in a submission that are looked at.


def read_outputs(
    segment_predictions: Path | None = None,
    video_predictions: Path | None = None,
    submission: Path | None = None,
    *,
    video_ids: Sequence[str] | None = None,
    max_videos: int = 1_000,
    best: int = 100,
    video_exponent: float = 0.05,
    segment_exponent: float = 0.95,
    title: str = "Localised videos",
) -> Contents:
    """The `Contents` of a page, without names and truth.

    Values are the segments' probabilities; with video predictions they are those of Eq. 1, of the video's candidates
    only; without segment predictions they are the ranks in the submission. The best segments of a class are those
    of the highest value, or with a submission the first of its list.

    Args:
        segment_predictions, video_predictions, submission: paths of files, None where there is none.
        video_ids: the videos to show, in order; None: the first `max_videos` of the file.
        best: segments in a class's list.
        video_exponent, segment_exponent: of Eq. 1.

    Raises:
        UserError: a file is of another form, or does not hold what is asked for.
    """
    if not (segment_predictions or submission):
        raise UserError(
            "Segment predictions or a submission must be given: predictions of whole videos do not say when."
        )
    chosen = _Chosen(video_ids, max_videos)
    if segment_predictions:
        videos = _segment_videos(segment_predictions, chosen)
        quantity, source = PROBABILITY, segment_predictions
        if video_predictions:
            quantity = VALUE
            _join_video_predictions(videos, video_predictions, (video_exponent, segment_exponent))
    else:
        videos, quantity, source = _submission_videos(submission, chosen), RANK, submission
        if video_predictions:
            _join_video_predictions(videos, video_predictions)
    chosen.check(videos, source)
    notes = chosen.notes()
    if submission:
        lists = _listed(submission, videos, best)
        if quantity == RANK:
            notes.append(f"Of every class the first {_DEPTH:,} places of the submission are looked at.")
    else:
        lists = best_segments(videos, best)
    return Contents(title, quantity, videos, lists, notes=notes)


class _Chosen:
    """Which videos are shown, as they are met."""

    def __init__(self, video_ids, max_videos):
        self.wanted = dict.fromkeys(video_ids) if video_ids else None
        self._max, self._met, self._left = max_videos, {}, set()

    def __contains__(self, video_id):
        if self.wanted is not None:
            return video_id in self.wanted
        if video_id not in self._met:
            if len(self._met) >= self._max:
                self._left.add(video_id)
                return False
            self._met[video_id] = True
        return True

    def check(self, videos, source):
        if not videos and not self.wanted:
            raise UserError(f"{source} holds no segment.")
        if missing := [video_id for video_id in self.wanted or () if video_id not in {video.id for video in videos}]:
            raise UserError(f"{source} holds no segment of video {missing[0]}.")

    def notes(self):
        if not self._left:
            return []
        shown = len(self._met)
        return [f"The first {shown:,} of {shown + len(self._left):,} videos of the file are shown."]


def _segment_videos(path, chosen):
    entries = {}
    lines = terminal.progress(read_predictions(path), unit="segment", description="reading")
    for line_id, classes, probabilities in lines:
        video_id, segment = _split(line_id, path)
        if video_id not in chosen:
            continue
        own = entries.setdefault(video_id, {})
        if segment in own:
            raise UserError(f"{path}: segment {line_id} is listed twice.")
        own[segment] = classes, probabilities
    videos = []
    for video_id in chosen.wanted or entries:
        if own := entries.get(video_id):
            segments = np.repeat([*own], [len(classes) for classes, _ in own.values()]).astype(int)
            classes, probabilities = (np.concatenate(part) for part in zip(*own.values()))
            videos.append(Video.of_entries(video_id, segments, classes, probabilities))
    return videos


def _join_video_predictions(videos, path, exponents=None):
    """Gives videos their own probabilities; with exponents, values of Eq. 1 in place of the segments'."""
    by_id = {video.id: video for video in videos}
    for video_id, classes, probabilities in read_predictions(path):
        if video_id in by_id:
            by_id[video_id].video_probabilities = dict(zip(classes.tolist(), probabilities.tolist()))
    for video in videos:
        if not video.video_probabilities:
            raise UserError(f"{path} holds no prediction of video {video.id}, whose segments are predicted.")
        if exponents:
            kept = np.isin(video.classes, [*video.video_probabilities])
            video.classes, segment = video.classes[kept], video.values[:, kept]
            own = [video.video_probabilities[class_id] for class_id in video.classes.tolist()]
            value = value_model(np.array(own), np.nan_to_num(segment, nan=-1), *exponents)
            video.values = np.where(value < 0, np.nan, value).astype(np.float32)


def _submission_videos(path, chosen):
    entries = {}
    for class_id, listed in _lists(path):
        for rank, (video_id, segment) in enumerate(listed, 1):
            if video_id in chosen:
                entries.setdefault(video_id, {}).setdefault((segment, class_id), 1 / rank)
    videos = []
    for video_id in chosen.wanted or sorted(entries):
        if own := entries.get(video_id):
            segments, classes = np.array([*own]).T
            videos.append(Video.of_entries(video_id, segments, classes, [*own.values()]))
    return videos


def _listed(path, videos, count):
    """The first `count` segments of each class's list that are of these videos, as `best_segments` gives them."""
    numbers = {video.id: number for number, video in enumerate(videos)}
    columns = [{class_id: column for column, class_id in enumerate(video.classes.tolist())} for video in videos]
    result = {}
    for class_id, listed in _lists(path):
        found = []
        for video_id, segment in listed:
            number = numbers.get(video_id)
            if number is not None and len(found) < count:
                column, values = columns[number].get(class_id), videos[number].values
                known = column is not None and segment < len(values)
                found.append((number, segment, float(values[segment, column]) if known else float("nan")))
        if found:
            result[class_id] = found
    return result


def _lists(path):
    """Yields (class, [(video id, segment), ...]) of the first places of every class."""
    for number, name, ids in read_submission(path):
        if number == 1 and name == b"Class":
            continue
        if not name.isdigit():
            raise UserError(
                f'{path}, line {number}: expected <class>,<video id>:<start> ..., got the class "{text_of(name[:40])}".'
            )
        texts = ids.split(maxsplit=_DEPTH)[:_DEPTH]
        yield int(name), [_split(text_of(text), path) for text in texts]


def _split(segment_id, path):
    """(video id, number of the segment) of `<video id>:<start>`."""
    video_id, _, start = segment_id.rpartition(":")
    whole = start.isdecimal() and len(start) < 10 and int(start) % SEGMENT_FRAMES == 0
    if not (video_id and whole and int(start) < SEGMENT_FRAMES * _MAX_SEGMENTS):
        raise UserError(
            f"{path}: expected segments <video id>:<start>, the start a multiple of {SEGMENT_FRAMES} seconds, got "
            f'"{segment_id[:60]}".'
        )
    return video_id, int(start) // SEGMENT_FRAMES
