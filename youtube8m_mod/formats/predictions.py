"""Lines of predictions as the starter code writes them: `VideoId,LabelConfidencePairs`."""

import re

import numpy as np

from youtube8m_mod import files
from youtube8m_mod.errors import UserError
from youtube8m_mod.localization.value_model import top_classes

HEADER = "VideoId,LabelConfidencePairs"


def format_lines(ids, probabilities, top_k, classes=None):
    """One line for each id: `<id>,<class> <probability> <class> <probability> ...`, best class first.

    Where fewer than `top_k` classes are listed the original goes on with other classes at probability 0; here the
    line ends.

    Args:
        ids: str, a video's id, or `<video id>:<start>` for a segment.
        probabilities: float (B, C); a value below 0 is left out.
        classes: int (C,), the columns' classes, ascending; None: 0, 1, ...
    """
    probabilities = np.asarray(probabilities)
    lines = []
    for line_id, columns, values in zip(ids, top_classes(probabilities, top_k), probabilities):
        names = columns if classes is None else np.asarray(classes)[columns]
        pairs = " ".join(
            f"{name} {value:g}" for name, value in zip(names.tolist(), values[columns].tolist()) if value >= 0
        )
        lines.append(f"{line_id},{pairs}\n")
    return lines


def read_predictions(path):
    """Yields (id str, classes int (n,), probabilities float64 (n,)) of every line of a predictions file.

    A missing header is accepted. Raises `UserError` naming file and line for a line of another form.
    """
    with files.open_file(path, "rb") as file:
        for number, line in enumerate(file, 1):
            line = line.decode(errors="backslashreplace").rstrip("\r\n")
            if not line or (number == 1 and line == HEADER):
                continue
            line_id, comma, pairs = line.partition(",")
            values = pairs.split()
            try:
                if not (line_id and comma) or len(values) % 2:
                    raise ValueError
                classes = np.array([int(value) for value in values[::2]], np.int64)
                probabilities = np.array(values[1::2], np.float64)
                if not (
                    np.isfinite(probabilities).all() and (classes >= 0).all() and len(set(values[::2])) == len(classes)
                ):
                    raise ValueError
            except (ValueError, OverflowError):
                shown = re.sub(r"(.{60}).+", r"\1...", line)
                raise UserError(
                    f"{path}, line {number}: expected <id>,<class> <probability> ... with each class once, "
                    f'got "{shown}".'
                ) from None
            yield line_id, classes, probabilities
