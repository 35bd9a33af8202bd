"""Tables of labels and rated segments that a person made, perhaps in a spreadsheet."""

import csv
import io
import sys
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.data.records import LAST_SEGMENT_START
from youtube8m_mod.errors import UserError
from youtube8m_mod.files import Path
from youtube8m_mod.formats.label_names import read_text

_MOST_PIECES = 10_000  # Of a segment: 14 hours.
_LARGEST_VOCABULARY = 1_000_000
_ALIASES = {"video_id": "id", "video": "id", "label_name": "label", "labels": "label", "class": "label"}


def read_labels(path: Path) -> dict[str, list[str]]:
    """{id: list of label texts} of a table with the columns `id` and `label`: a row a label, or several in a cell.

    Several labels in one cell are separated by `;` or `|`. An id without a label has an empty cell.
    """
    table = _read(path, ("id", "label"))
    labels = {}
    for _, row in table:
        own = labels.setdefault(row["id"], [])
        own += [label for label in _split(row["label"]) if label not in own]
    return labels


def read_segments(
    path: Path, late: list[tuple[str, str, int]] | None = None
) -> dict[str, list[tuple[int, str, float]]]:
    """{id: list of (start second, label text, score)} of a table `id, start, label[, end][, score]`.

    A segment of more than 5 s counts for each 5 s therein; a row without score is a positive rating, and of scores
    between 0 and 1 those from 0.5 on are.

    Args:
        late: a list that takes (id, where it stands, second) of each segment that starts after the last second that is
            read of a video; None: such a one is an error.

    Raises:
        UserError: naming the file, line and what is wrong with it.
    """
    table = _read(path, ("id", "start", "label"), ("end", "score"))
    segments = {}
    for number, row in table:
        where = f"{path}, line {number}"
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
        if pieces > _MOST_PIECES:
            raise UserError(
                f"{where}: a segment of {end - start:g} s is longer than a video can be: are these seconds?"
            )
        for piece in range(pieces):
            second = int(start + 0.5) + SEGMENT_FRAMES * piece
            if start < -0.5 or second > LAST_SEGMENT_START and late is None:
                raise UserError(
                    f"{where}: a rated segment must start between 0 and {LAST_SEGMENT_START} s, got "
                    f"{second if start >= 0 else start:g} s."
                )
            if second > LAST_SEGMENT_START:
                late.append((row["id"], where, second))
            segments.setdefault(row["id"], []).append((second, row["label"], float(score >= 0.5)))
    return segments


def vocabulary(
    labels: Mapping[str, Sequence[str]],
    segments: Mapping[str, Sequence[tuple[int, str, float]]],
    names: dict[int, str] | None = None,
) -> tuple[dict[int, str], Callable[[str], int | None]]:
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
            largest = max(texts, key=lambda text: (len(text), text))
            if len(largest) > 9 or int(largest) >= _LARGEST_VOCABULARY:
                raise UserError(
                    f"The labels are numbers of classes up to {largest[:40]}: a vocabulary has at most "
                    f"{_LARGEST_VOCABULARY:,} classes; --vocabulary names the classes where these are names."
                )
            names = {number: str(number) for number in range(max(map(int, texts)) + 1)}
        else:
            names = dict(enumerate(sorted(texts)))
    numbers = {}
    for number, name in names.items():
        numbers.setdefault(name, []).append(number)

    def class_of(text):
        if len(own := numbers.get(text, ())) > 1:
            raise UserError(f'The label "{text}" is the name of the classes {own[0]} and {own[1]}: give its number.')
        if own:
            return own[0]
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 and int(text) in names else None

    return names, class_of


def _read(path, needed, optional=()):
    """[(number of the line, {column: text})] of the rows of a table that are not empty."""
    text = read_text(path)
    if text[:4].lower() == "sep=" and "\n" in text:  # What Excel is told the separator by.
        text = "\n" + text.split("\n", 1)[1]
    first = text.lstrip("\r\n").split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), skipinitialspace=True)
    wanted = f"a table with the columns {', '.join(needed)}"
    header, rows = None, []
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if header is None:
                header = _header(path, cells, needed, optional)
                continue
            lacking = [name for name in header[len(cells) :] if name in needed]
            if lacking or any(cells[len(header) :]):
                raise UserError(
                    f"{path}, line {reader.line_num}: expected {len(header)} cells, as the header has, got "
                    f'{len(cells)}: "{",".join(cells)[:60]}".'
                )
            rows.append((reader.line_num, dict(zip(header, cells))))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}, is not {wanted}: {error}") from error
    if header is None:
        raise UserError(f"{path} is not {wanted}: it is empty.")
    if not rows:
        raise UserError(f"{path} holds no row.")
    if empty := next((number for number, row in rows if not row["id"]), None):
        raise UserError(f"{path}, line {empty}: the id is empty.")
    return rows


def _header(path, cells, needed, optional):
    """The names of the columns, by which those that are used are known."""
    names = [cell.lower() for cell in cells]
    names = [_ALIASES.get(name, name) if _ALIASES.get(name) not in names else name for name in names]
    if twice := next((name for name in names if name and names.count(name) > 1), None):
        raise UserError(f'{path}: the column "{twice}" occurs {names.count(twice)} times, expected each once.')
    if missing := [name for name in needed if name not in names]:
        raise UserError(
            f"{path} must have the columns {', '.join(needed)}; {', '.join(missing)} is missing, it has "
            f"{', '.join(names) or 'none'}."
        )
    if unused := [name for name in names if name and name not in (*needed, *optional)]:
        print(f"warning: {path}: nothing is read from the columns {', '.join(unused)}.", file=sys.stderr)
    return names


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
