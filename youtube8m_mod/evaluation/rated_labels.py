"""The rated segments that a submission is scored against."""

import collections
import gzip
import io
import math
import re
import sys
from collections.abc import ItemsView, Mapping
from typing import TYPE_CHECKING

import numpy as np

from youtube8m_mod import files
from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.data import shards
from youtube8m_mod.data.records import LAST_SEGMENT_START
from youtube8m_mod.data.video_ids import text_of
from youtube8m_mod.errors import UserError
from youtube8m_mod.evaluation.id_list import IdSet
from youtube8m_mod.formats.lines import read_lines, shown, split_cells

if TYPE_CHECKING:
    from youtube8m_mod.data.records import RecordKeys

# A line as `write_cache` writes it. Nearly all are, and one search takes less time than all that else is looked for.
_PLAIN = re.compile(rb"([^\s,:\"']+:(?:0|[1-9][0-9]{0,8})),([0-9]{1,9}),([01])\.0\r?\n?")
_RATED = {None: "not rated", True: "rated as positive", False: "rated as negative"}


class ClassLabels:
    """The rated segments of one class.

    Attributes:
        ids: `IdSet`; positive: bool (n,), True where the rating says that the segment shows the class.
    """

    def __init__(self, ratings: Mapping[bytes, bool]):
        self.ids = IdSet(list(ratings))
        self.positive = np.fromiter(ratings.values(), bool, len(ratings))

    def __len__(self) -> int:
        return len(self.positive)

    @property
    def num_positives(self) -> int:
        """N_c of Eq. (8)."""
        return int(np.count_nonzero(self.positive))


class RatedLabels:
    """All ratings, by class; of a (segment, class) rated twice the last counts.

    Args:
        ratings: {class: {id bytes `<video id>:<start>`: True where positive}}.
        contradicted: how many ratings another one of the same segment and class took the place of.
    """

    def __init__(self, ratings: dict[int, dict[bytes, bool]], contradicted: int = 0):
        self._ratings, self.contradicted = ratings, contradicted
        self.classes = sorted(ratings)
        self.num_ratings = sum(map(len, ratings.values()))
        self.num_positives = {c: sum(values.values()) for c, values in ratings.items()}

    def __getitem__(self, class_id: int) -> ClassLabels:
        return ClassLabels(self._ratings[class_id])

    def ratings(self, class_id: int) -> dict[bytes, bool]:
        """{id bytes: True where positive} of a class, {} where none of its segments is rated."""
        return self._ratings.get(class_id, {})

    def __contains__(self, class_id: int) -> bool:
        return class_id in self._ratings

    def items(self, class_id: int) -> ItemsView[bytes, bool]:
        """(id bytes, True where positive) of every rating of a class."""
        return self._ratings[class_id].items()

    @property
    def scored_classes(self) -> list[int]:
        """Classes with a positive at least, ascending: the C of Eq. (8)."""
        return [c for c in self.classes if self.num_positives[c]]

    def count_unlisted(self) -> int:
        """Ratings of segments that inference does not list: off the grid of 5 s, or behind the 300 s that are read."""
        starts = collections.Counter()
        for own in self._ratings.values():
            starts.update([segment.rpartition(b":")[2] for segment in own])
        return sum(
            count for start, count in starts.items() if int(start) % SEGMENT_FRAMES or int(start) > LAST_SEGMENT_START
        )

    def write_cache(self, path: files.Path) -> None:
        """Writes lines `<id>,<class>,<score>`, sorted, as the starter code's label cache; gzip if the name ends in .gz.

        The same ratings give the same bytes.
        """
        text = io.BytesIO()
        for class_id in self.classes:
            for segment, positive in sorted(self._ratings[class_id].items()):
                text.write(b"%s,%d,%s\n" % (segment, class_id, b"1.0" if positive else b"0.0"))
        content = gzip.compress(text.getvalue(), mtime=0) if str(path).endswith(".gz") else text.getvalue()
        with files.write_file(path, "wb") as file:
            file.write(content)


def read_cache(path: files.Path, num_classes: int | None = None) -> RatedLabels:
    """The `RatedLabels` of a label cache: ours or the starter code's, plain or gzip.

    The starter code under Python 3 writes ids as `b'abcd':5`; they are read as `abcd:5`.

    Args:
        num_classes: size of the vocabulary; None: any.
    """
    ratings, contradicted, is_plain = {}, 0, _PLAIN.fullmatch
    for number, line in read_lines(path):
        if found := is_plain(line):
            segment, class_id, score = found.groups()
            class_id, positive = int(class_id), score == b"1"
        elif (rating := _rating_of(line, f"{path}, line {number}")) is None:
            continue
        else:
            segment, class_id, positive = rating
        if num_classes is not None and class_id >= num_classes:
            raise UserError(
                f"{path}, line {number}: expected a class from 0 to {num_classes - 1}, got {class_id}; "
                "--num_classes gives the size of another vocabulary."
            )
        contradicted += _rate(ratings, class_id, segment, positive)
    if not ratings:
        raise UserError(f"{path} holds no rated segments.")
    return RatedLabels(ratings, contradicted)


def _rating_of(line, place):
    """(segment, class, True where positive) of any line of a label cache; None: it is empty."""
    cells = split_cells(line)
    if not any(cells):
        return None
    while len(cells) > 3 and not cells[-1]:  # Empty columns, as spreadsheets add them.
        cells.pop()
    try:
        segment, class_id, score = cells
        video_id, _, start = segment.rpartition(b":")
        if segment[:2] == b"b'":
            video_id = video_id[2:-1]
        score = float(score)
        if not (video_id and start.isdigit() and class_id.isdigit() and math.isfinite(score)):
            raise ValueError
        return b"%s:%d" % (video_id, int(start)), int(class_id), score > 0
    except ValueError:
        raise UserError(f'{place}: expected <video id>:<start>,<class>,<score>, got "{shown(cells)}".') from None


def read_records(
    pattern: str,
    repeated: list[str] | None = None,
    keys: "RecordKeys | None" = None,
    num_classes: int | None = None,
) -> RatedLabels:
    """The `RatedLabels` of TFRecords with rated segments. Loads TensorFlow.

    Args:
        repeated, keys, num_classes: see `rated_segments`.
    """
    from youtube8m_mod.data.ground_truth import rated_segments

    ratings, contradicted = {}, 0
    for video_id, *lists in rated_segments(pattern, repeated, keys, num_classes):
        for start, class_id, score in zip(*lists):
            contradicted += _rate(ratings, class_id, b"%s:%d" % (video_id, start), score > 0)
    if not ratings:
        raise UserError(f'The records of "{pattern}" hold no rated segments.')
    return RatedLabels(ratings, contradicted)


def _rate(ratings, class_id, segment, positive):
    """Adds a rating, the last of which counts; returns whether it contradicts an earlier one."""
    own = ratings.setdefault(class_id, {})
    contradicts = own.get(segment, positive) != positive
    own[segment] = positive
    return contradicts


def load_labels(
    pattern: str | None = None,
    cache: files.Path | None = None,
    repeated: list[str] | None = None,
    keys: "RecordKeys | None" = None,
    num_classes: int | None = None,
) -> RatedLabels:
    """The `RatedLabels` of records, or of a cache of them, or of both where they agree.

    Beside a cache `<cache>.source.json` says of which files it was made. Where `pattern` names others, or they have
    changed since, the cache is made anew, and stderr says so. A cache that does not say what it was made of, for
    instance the starter code's, is compared with the records.

    Args:
        pattern: glob of TFRecords, which must match some; None: the cache is all there is.
        cache: path of the cache; one that does not exist is written.
        repeated, keys, num_classes: see `rated_segments`.

    Raises:
        UserError: where there is neither, or the two hold different ratings.
    """
    there = bool(cache) and files.exists(cache)
    if not pattern:
        if there:
            return read_cache(cache, num_classes)
        raise UserError(
            f"The label cache {cache} does not exist, and no records are named that could give the labels."
            if cache
            else "Neither records nor a label cache are named that could give the labels."
        )
    source = files.identities(shards.list_shards(pattern)) if cache else None
    known = _source(cache) if there else None
    if known is not None and known == source:
        return read_cache(cache, num_classes)
    labels = read_records(pattern, repeated, keys, num_classes)
    if there and known is None and (difference := _difference(read_cache(cache, num_classes), labels)):
        raise UserError(
            f'The label cache {cache} and the records of "{pattern}" disagree: {difference}; leave one of the two out, '
            "or remove the cache."
        )
    if there and known is not None:
        print(
            f'warning: the label cache {cache} was made of other files than those of "{pattern}", or they have changed '
            "since: it is made anew.",
            file=sys.stderr,
        )
    if cache:
        if not there or known is not None:
            labels.write_cache(cache)
        if not repeated:  # What is wrong in the records shall be seen again.
            files.write_json(_source_path(cache), {"sha256": files.digest(cache), "files": source})
    return labels


def _source_path(cache):
    return f"{cache}.source.json"


def _source(cache):
    """The identities of the files that a cache was made of; None where it is not known."""
    if not files.exists(_source_path(cache)):
        return None
    source = files.read_json(_source_path(cache))
    return source.get("files") if isinstance(source, dict) and source.get("sha256") == files.digest(cache) else None


def _difference(cached, labels):
    """The first difference between two `RatedLabels` in words, "" where there is none."""
    for class_id in sorted({*cached.classes, *labels.classes}):
        pair = [own.ratings(class_id) for own in (cached, labels)]
        for segment in sorted({*pair[0], *pair[1]}):
            first, second = (_RATED[own.get(segment)] for own in pair)
            if first != second:
                name = text_of(segment)
                return f"class {class_id} of segment {name} is {first} in the cache and {second} in the records"
    return ""
