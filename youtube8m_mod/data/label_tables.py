"""Tables of labels and rated segments that a person made, read by pandas."""

import io

import numpy as np

from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.data.records import LAST_SEGMENT_START
from youtube8m_mod.errors import UserError, first_line
from youtube8m_mod.formats.label_names import read_text


def read_labels(path):
    """{id: list of label texts} of a table with the columns `id` and `label`: a row a label, or several in a cell.

    Several labels in one cell are separated by `;` or `|`. An id without a label has an empty cell.
    """
    table = _read(path, ("id", "label"))
    labels = {}
    for video_id, cell in zip(table["id"], table["label"]):
        own = labels.setdefault(video_id, [])
        own += [label for label in _split(cell) if label not in own]
    return labels


def read_segments(path):
    """{id: list of (start second, label text, score)} of a table `id, start, label[, end][, score]`.

    A segment of more than 5 s counts for each 5 s therein; a row without score is a positive rating, and of scores
    between 0 and 1 those from 0.5 on are.

    Raises:
        UserError: naming the file, line and what is wrong with it.
    """
    table = _read(path, ("id", "start", "label"), ("end", "score"))
    segments = {}
    for place, row in enumerate(table.to_dict("records")):
        where = f"{path}, line {place + 2}"
        start = _number(row["start"], f"{where}: start")
        end = _number(row["end"], f"{where}: end") if row.get("end") else start + SEGMENT_FRAMES
        score = _number(row["score"], f"{where}: score") if row.get("score") else 1.0
        if not 0 <= score <= 1:
            raise UserError(f"{where}: score must be from 0 to 1, got {score:g}.")
        if not end > start:
            raise UserError(f"{where}: a segment must end after its start of {start:g} s, got {end:g} s.")
        if not row["label"]:
            raise UserError(f"{where}: a segment must have a label.")
        pieces = max(1, int((end - start + SEGMENT_FRAMES / 2) // SEGMENT_FRAMES))
        for piece in range(pieces):
            second = round(start) + SEGMENT_FRAMES * piece
            if not 0 <= second <= LAST_SEGMENT_START:
                raise UserError(
                    f"{where}: a rated segment must start between 0 and {LAST_SEGMENT_START} s, got {second} s."
                )
            segments.setdefault(row["id"], []).append((second, row["label"], float(score >= 0.5)))
    return segments


def vocabulary(labels, segments, names=None):
    """Names of the classes, in order.

    Args:
        labels, segments: as read above.
        names: of a vocabulary that exists, {class: name}; None: all labels that occur, as numbers where all are, else
            in the order of the alphabet.

    Returns:
        ({class: name}, function from a label's text to its class, None where there is no such class)
    """
    texts = {label for own in labels.values() for label in own}
    texts |= {label for own in segments.values() for _, label, _ in own}
    if names is None:
        if texts and all(text.isascii() and text.isdigit() for text in texts):
            names = {number: str(number) for number in range(max(map(int, texts)) + 1)}
        else:
            names = dict(enumerate(sorted(texts)))
    numbers = {name: number for number, name in names.items()}

    def class_of(text):
        if text in numbers:
            return numbers[text]
        return int(text) if text.isascii() and text.isdigit() and int(text) in names else None

    return names, class_of


def _read(path, needed, optional=()):
    import pandas

    text = read_text(path)
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    try:
        table = pandas.read_csv(
            io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, skipinitialspace=True
        )
    except Exception as error:  # pandas raises what its parser happens to meet.
        raise UserError(f"{path} is not a table with the columns {', '.join(needed)}: {first_line(error)}") from error
    table.columns = [str(name).strip().lower() for name in table.columns]
    aliases = {"video_id": "id", "video": "id", "label_name": "label", "labels": "label", "class": "label"}
    table = table.rename(columns={old: new for old, new in aliases.items() if new not in table.columns})
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise UserError(
            f"{path} must have the columns {', '.join(needed)}; {', '.join(missing)} is missing, it has "
            f"{', '.join(table.columns) or 'none'}."
        )
    table = table[[name for name in (*needed, *optional) if name in table.columns]].map(str.strip)
    if not len(table):
        raise UserError(f"{path} holds no row.")
    empty = np.flatnonzero((table["id"] == "").to_numpy())
    if len(empty):
        raise UserError(f"{path}, line {empty[0] + 2}: the id is empty.")
    return table


def _split(cell):
    separator = next((sign for sign in ";|" if sign in cell), None)
    return [label for label in (part.strip() for part in (cell.split(separator) if separator else [cell])) if label]


def _number(text, what):
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not abs(value) < 1e9:
        raise UserError(f'{what} must be a number, got "{text[:40]}".')
    return value
