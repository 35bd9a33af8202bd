"""Somebody's videos: features, labels and rated segments from files of their own, matched by id and checked."""

import ntpath
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from youtube8m_mod.data import feature_files, label_tables, records
from youtube8m_mod.data.dataset import PARTITIONS, Dataset
from youtube8m_mod.errors import UserError
from youtube8m_mod.formats.label_names import read_label_names

if TYPE_CHECKING:
    from youtube8m_mod.data.convert import ConvertOptions

FEATURE = "features"  # Name of the one feature of files that name none.
_LISTED = 5  # Of many mismatches so many are named.
# Endings that are no part of an id: of videos, sounds and features. (In "day.01" and "day.02" the numbers are.)
_ENDINGS = set(
    "mp4 m4v mkv webm avi mov mpg mpeg wmv flv ogv 3gp ts gif wav mp3 flac ogg m4a aac npy npz parquet jpg png".split()
)


class OwnVideos:
    """What a conversion reads, checked against each other.

    Args:
        options: `ConvertOptions`.
        like: the `Dataset` whose vocabulary is taken, or None.

    Attributes:
        sources: {feature, "" where files name none: {id: path}}; ids: all of them, in order.
        labels: {id: classes, ascending}; segments: {id: (start, class, score) of each rating}.
        names: {class: name}.
        parts: {partition: ids}.

    Raises:
        UserError: naming what does not fit together.
    """

    def __init__(self, options: "ConvertOptions", like: Dataset | None):
        self.options, self.like = options, like
        self.sources = _sources(options.features)
        self.ids = sorted(set().union(*self.sources.values()))
        late = []
        self.labels = label_tables.read_labels(options.labels) if options.labels else {}
        self.segments = label_tables.read_segments(options.segments, late) if options.segments else {}
        counterpart = self._match_ids()
        self._check_late(late, counterpart)
        self._number_labels()
        self.parts = _split(self.ids, options.split, options.seed)

    def read(self, video_id: str) -> dict[str, np.ndarray]:
        """{feature: uint8 or float32 (frames, size)} of a video, of the features that it has."""
        found = {}
        for name, paths in self.sources.items():
            if video_id not in paths:
                continue
            features = feature_files.read_features(paths[video_id])
            if name:
                if len(features) != 1:
                    raise UserError(f"{paths[video_id]} must hold one array, of the feature {name}.")
                features = {name: next(iter(features.values()))}
            found |= {own or FEATURE: values for own, values in features.items()}
        lengths = {name: len(values) for name, values in found.items()}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{count:,} of {name}" for name, count in lengths.items())
            raise UserError(f'The features of video "{video_id}" must have as many frames each, got {listed}.')
        return found

    def frames(self, video_id: str) -> int:
        """Seconds of a video."""
        return len(next(iter(self.read(video_id).values())))

    def _match_ids(self):
        """Gives labels and segments the ids of the features; names what has no counterpart."""
        known = {}
        for video_id in self.ids:
            known.setdefault(_stem(video_id), []).append(video_id)

        def counterpart(name):
            found = [name] if name in all_ids else known.get(_stem(name), [])
            return found[0] if len(found) == 1 else None

        all_ids, problems = set(self.ids), []
        for what in ("labels", "segments"):
            matched, unknown = {}, []
            for name, values in getattr(self, what).items():
                video_id = counterpart(name)
                if video_id is None:
                    unknown.append(name)
                else:
                    matched.setdefault(video_id, []).extend(values)
            if unknown:
                path = getattr(self.options, what)
                problems.append(f"{path} names {len(unknown):,} ids without features ({listed(unknown)})")
            setattr(self, what, matched)
        if self.options.labels and (bare := [name for name in self.ids if not self.labels.get(name)]):
            problems.append(f"{len(bare):,} videos have no label in {self.options.labels} ({listed(bare)})")
        if problems and not self.options.allow_mismatches:
            raise UserError(
                f"{'; '.join(problems)}: --allow_mismatches leaves ids without features out and keeps videos without "
                "a label."
            )
        warn(problems)
        return counterpart

    def _number_labels(self):
        """Labels as numbers of classes; names those that the vocabulary lacks, and classes that no video has."""
        given = None
        if self.like:
            given = read_label_names(self.like.path(self.like.label_names), self.like.num_classes)
        elif self.options.vocabulary:
            given = read_label_names(self.options.vocabulary)
        self.names, class_of = label_tables.vocabulary(self.labels, self.segments, given)
        texts = {label for own in self.labels.values() for label in own}
        texts |= {label for own in self.segments.values() for _, label, _ in own}
        if unknown := sorted(text for text in texts if class_of(text) is None):
            raise UserError(f"The vocabulary lacks {len(unknown):,} labels of the tables ({listed(unknown)}).")
        if given and sorted(given) != list(range(len(given))):
            raise UserError(f"{self.options.vocabulary} must name all classes, from 0 on.")
        self.labels = {name: sorted({class_of(label) for label in own}) for name, own in self.labels.items()}
        self.segments = {
            name: [(start, class_of(label), score) for start, label, score in own]
            for name, own in self.segments.items()
        }
        if texts and (idle := sorted(set(self.names) - {class_of(text) for text in texts})):
            shown = listed([self.names[number] for number in idle])
            warn([f"no video has {len(idle):,} of the {len(self.names):,} classes ({shown})"])

    def _check_late(self, late, counterpart):
        """Raises `UserError` for a rating behind what is read of a video that is not longer, naming where it is."""
        longer, lengths = [], {}
        for name, where, second in late:
            video_id = counterpart(name)
            if video_id is None:
                continue  # Said already.
            if video_id not in lengths:
                lengths[video_id] = self.frames(video_id)
            if lengths[video_id] <= records.MAX_FRAMES:
                raise UserError(
                    f"{where}: a rated segment must start between 0 and {records.LAST_SEGMENT_START} s, got {second} s."
                )
            longer.append((video_id, second))
        # Across second 300: no segment that is read, and none that a longer reading would list.
        across = {one for one in longer if one[1] < records.MAX_FRAMES}
        for video_id in {video_id for video_id, _ in across}:
            own = self.segments[video_id]
            self.segments[video_id] = [rating for rating in own if (video_id, rating[0]) not in across]
        if longer:
            shown = listed(sorted({video_id for video_id, _ in longer}))
            last = f"second {records.LAST_SEGMENT_START}, the last that is read"
            warn(
                [f"{len(longer):,} rated segments ({shown}) start after {last}: training and validation leave them out"]
            )

    def warn_of_past_end(self, frames: Mapping[str, int]) -> None:
        """Warns of ratings that start behind the end of their video, of which only zeros can be read.

        Args:
            frames: {id: seconds of the video}, of those with ratings at least.
        """
        past = {
            video_id: [start for start, *_ in own if start >= frames[video_id]]
            for video_id, own in self.segments.items()
        }
        if past := {video_id: starts for video_id, starts in past.items() if starts}:
            first = min(past)
            known = f"{first} has {frames[first]:,} frames, one a second, and a rating at {past[first][0]:,} s"
            count = sum(map(len, past.values()))
            where = "behind the end of their video, where only zeros are read"
            warn([f"{count:,} rated segments start {where} ({listed(sorted(past))}; {known})"])


def _sources(text):
    """{feature: {id: path}} of "glob" (feature "") or "name=glob,name=glob"."""
    parts = [part.partition("=") for part in text.split(",")]
    if not any(sign for _, sign, _ in parts):
        return {"": feature_files.list_files(text)}
    sources = {}
    for name, sign, pattern in parts:
        if not (name and sign and pattern) or name in sources:
            raise UserError(f'--features must be a glob, or name=glob of different names, got "{text}".')
        sources[name] = feature_files.list_files(pattern)
    return sources


def _split(ids, text, seed):
    """{partition: ids}, assigned by a seed; each partition in the order of the ids."""
    try:
        shares = [float(part) for part in text.split(",")]
        if len(shares) != 3 or not all(0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > 1e-6:
            raise ValueError
    except ValueError:
        raise UserError(f'split must be three shares that sum to 1, as in 0.8,0.1,0.1, got "{text}".') from None
    if not 0 <= seed < 2**31:
        raise UserError(f"seed must be from 0 to {2**31 - 1}, got {seed}.")
    ends = np.rint(np.cumsum([0, *shares]) * len(ids)).astype(int)
    order = np.random.default_rng(seed).permutation(len(ids))
    return {
        part: [ids[place] for place in sorted(order[start:end])] for part, start, end in zip(PARTITIONS, ends, ends[1:])
    }


def _stem(name):
    """The name of a file without folder and ending, of any system."""
    base = ntpath.basename(name)
    stem, ending = os.path.splitext(base)
    return stem if ending[1:].lower() in _ENDINGS else base


def listed(names: Sequence[str]) -> str:
    """The first of some names."""
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")


def warn(sentences: Iterable[str]) -> None:
    """Prints sentences as warnings on stderr."""
    for sentence in sentences:
        print(f"warning: {sentence}.", file=sys.stderr)
