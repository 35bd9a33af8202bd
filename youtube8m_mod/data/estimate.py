"""How many examples a set of files will give, before they are read."""

import itertools
from collections.abc import Sequence

import numpy as np

from youtube8m_mod.data import shards
from youtube8m_mod.data.ground_truth import rated_segments
from youtube8m_mod.errors import UserError

_LOOKED_AT = 64  # Records whose rated segments are counted.


def estimated_examples(paths: Sequence[str], segments: bool) -> float | None:
    """Examples of the files, by the records of the first of them and the bytes of all; None where it is not known.

    Args:
        paths: TFRecord files.
        segments: an example is a rated segment; else a record.
    """
    try:
        sizes = [shards.size(path) for path in paths]
        first = next(index for index, size in enumerate(sizes) if size)
        records = shards.layout(paths[first]).count
        if records < 1:
            return None
        per_record = 1.0
        if segments:
            looked_at = itertools.islice(rated_segments(paths[first]), _LOOKED_AT)
            per_record = float(np.mean([len(set(starts)) for _, starts, *_ in looked_at]))
        return records * sum(sizes) / sizes[first] * per_record
    except (UserError, StopIteration, OSError):
        return None
