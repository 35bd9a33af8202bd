"""Lines of predictions as the starter code writes them: `VideoId,LabelConfidencePairs`."""

from collections.abc import Iterable, Iterator

import numpy as np

from youtube8m_mod.data.video_ids import text_of
from youtube8m_mod.errors import UserError
from youtube8m_mod.files import Path
from youtube8m_mod.formats.lines import Seen, read_rows, shown
from youtube8m_mod.localization.value_model import top_classes

HEADER = "VideoId,LabelConfidencePairs"


def format_lines(
    ids: Iterable[str], probabilities: np.ndarray, top_k: int, classes: np.ndarray | None = None
) -> list[str]:
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


def read_predictions(
    path: Path, repeated: list[str] | None = None, seen: Seen | None = None
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yields (id str, classes int (n,), probabilities float64 (n,)) of every line of a predictions file.

    A missing header is accepted.

    Args:
        repeated: a list that takes a sentence for each line whose id stands in an earlier one, which counts; None:
            such a line is an error.
        seen: see `read_lines`.

    Raises:
        UserError: naming file and line, for a line of another form or an id that is listed twice.
    """
    lines = {}
    for number, cells in read_rows(path, seen):
        if number == 1 and b",".join(cells) == HEADER.encode():
            continue
        line_id, *rest = cells
        values = rest[0].split() if rest else ()
        try:
            if not line_id or len(rest) != 1 or len(values) % 2:
                raise ValueError
            classes = np.array([int(value) for value in values[::2]], np.int64)
            probabilities = np.array(values[1::2], np.float64)
            if not (
                np.isfinite(probabilities).all() and (classes >= 0).all() and len(set(values[::2])) == len(classes)
            ):
                raise ValueError
        except (ValueError, OverflowError):
            raise UserError(
                f"{path}, line {number}: expected <id>,<class> <probability> ... with each class once, "
                f'got "{shown(cells)}".'
            ) from None
        if line_id in lines:
            sentence = f'{path}: the id "{shown(line_id)}" is listed twice, in lines {lines[line_id]} and {number}.'
            if repeated is None:
                raise UserError(sentence)
            repeated.append(sentence)
            continue
        lines[line_id] = number
        yield text_of(line_id), classes, probabilities
