"""The rated segments that a submission is scored against."""

import gzip
import io

import numpy as np

from youtube8m_mod import files
from youtube8m_mod.errors import UserError
from youtube8m_mod.evaluation.id_list import IdSet
from youtube8m_mod.formats.submission import read_lines


class ClassLabels:
    """The rated segments of one class.

    Attributes:
        ids: `IdSet`; positive: bool (n,), True where the rating says that the segment shows the class.
    """

    def __init__(self, ratings):
        self.ids = IdSet(list(ratings))
        self.positive = np.fromiter(ratings.values(), bool, len(ratings))

    def __len__(self):
        return len(self.positive)

    @property
    def num_positives(self):
        """N_c of Eq. (8)."""
        return int(np.count_nonzero(self.positive))


class RatedLabels:
    """All ratings, by class; of a (segment, class) rated twice the last counts.

    Args:
        ratings: {class: {id bytes `<video id>:<start>`: True where positive}}.
    """

    def __init__(self, ratings):
        self._ratings = ratings
        self.classes = sorted(ratings)
        self.num_ratings = sum(map(len, ratings.values()))
        self.num_positives = {c: sum(values.values()) for c, values in ratings.items()}

    def __getitem__(self, class_id):
        return ClassLabels(self._ratings[class_id])

    def __contains__(self, class_id):
        return class_id in self._ratings

    def items(self, class_id):
        """(id bytes, True where positive) of every rating of a class."""
        return self._ratings[class_id].items()

    @property
    def scored_classes(self):
        """Classes with a positive at least, ascending: the C of Eq. (8)."""
        return [c for c in self.classes if self.num_positives[c]]

    def write_cache(self, path):
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


def read_cache(path):
    """The `RatedLabels` of a label cache: ours or the starter code's, plain or gzip.

    The starter code under Python 3 writes ids as `b'abcd':5`; they are read as `abcd:5`.
    """
    ratings = {}
    for number, line in read_lines(path):
        try:
            segment, class_id, score = line.split(b",")
            if segment[:2] == b"b'":
                video_id, _, start = segment.rpartition(b":")
                segment = video_id[2:-1] + b":" + start
            ratings.setdefault(int(class_id), {})[segment] = float(score) > 0
        except ValueError:
            if line.strip():
                raise UserError(
                    f"{path}, line {number}: expected <video id>:<start>,<class>,<score>, got "
                    f'"{line[:60].decode(errors="backslashreplace").rstrip()}".'
                ) from None
    if not ratings:
        raise UserError(f"{path} holds no rated segments.")
    return RatedLabels(ratings)


def read_records(pattern):
    """The `RatedLabels` of TFRecords with rated segments. Loads TensorFlow."""
    from youtube8m_mod.data.ground_truth import rated_segments

    ratings = {}
    for video_id, *lists in rated_segments(pattern):
        for start, class_id, score in zip(*lists):
            ratings.setdefault(class_id, {})[b"%s:%d" % (video_id, start)] = score > 0
    if not ratings:
        raise UserError(f'The records of "{pattern}" hold no rated segments.')
    return RatedLabels(ratings)


def load_labels(pattern=None, cache=None):
    """The `RatedLabels` of `cache` where that file exists; else those of the records, which `cache` then remembers."""
    if cache and files.exists(cache):
        return read_cache(cache)
    if not pattern:
        raise UserError(
            f"The label cache {cache} does not exist, and no records are named that could give the labels."
            if cache
            else "Neither records nor a label cache are named that could give the labels."
        )
    labels = read_records(pattern)
    if cache:
        labels.write_cache(cache)
    return labels
