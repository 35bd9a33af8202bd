"""Names of classes, from whatever file holds them: one reader for all commands.

* one name a line, as `label_map.txt`: line n, from 0, is class n;
* a table with a header, as the dataset's `vocabulary.csv` and its segment vocabulary: the columns `Index` and `Name`
  (or `display_name`, `label`), in any order, among any others; without `Index` row n is class n.

A byte-order mark, the line ends of any system, quotes, and the semicolons or tabs that some spreadsheets write are no
part of a name.
"""

import csv
import io
from collections.abc import Iterator

from youtube8m_mod.errors import UserError
from youtube8m_mod.files import Path
from youtube8m_mod.formats.lines import read_text

_NAME_COLUMNS = ("name", "display_name", "displayname", "label", "label_name")
_INDEX_COLUMNS = ("index", "class", "id")


def read_label_names(path: Path, num_classes: int | None = None) -> dict[int, str]:
    """{class: name} from a file of names.

    Args:
        num_classes: size of the vocabulary. A list must have so many names; a table may leave classes out where its
            `Index` says which (the segment vocabulary does), but not just the last ones. None: any.

    Raises:
        UserError: naming the file, and the line where one is to blame.
    """
    text = read_text(path)
    rows, header = read_table(text, path)
    if header is None or not (name_column := _column(header, _NAME_COLUMNS)):
        names = _lines(text)
        if num_classes is not None and len(names) != num_classes:
            raise UserError(
                f"{path} must hold {num_classes:,} names, one for each class of the vocabulary, got {len(names):,}."
            )
        return dict(enumerate(names))
    index_column = _column(header, _INDEX_COLUMNS)
    place, names = header.index(name_column), {}
    for number, row in rows:
        if len(row) <= place:
            raise UserError(f'{path}, line {number}: expected a name in the column "{name_column}", got none.')
        label = len(names) if index_column is None else _class(row, header.index(index_column))
        if label is None or (num_classes is not None and label >= num_classes):
            got = ",".join(row)[:60]
            raise UserError(f'{path}, line {number}: expected the number of a class of the vocabulary, got "{got}".')
        if label in names:
            raise UserError(f"{path}, line {number}: class {label} has a name already.")
        names[label] = row[place].strip()
    if num_classes not in (None, len(names)) and max(names, default=-1) < len(names):
        raise UserError(f"{path} must name the {num_classes:,} classes of the vocabulary, got {len(names):,} names.")
    return names


def read_table(text: str, path: Path) -> tuple[Iterator[tuple[int, list[str]]], list[str] | None]:
    """(iterator of (line number, cells) of the rows, the header's cells in lower case); (empty, None) without a header.

    A header is a first line of several cells, or of one that is a known column's name.
    """
    if text[:4].lower() == "sep=" and "\n" in text:  # What Excel is told the separator by.
        text = "\n" + text.split("\n", 1)[1]
    first = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = [cell.strip().lower() for cell in next((row for row in reader if any(row)), [])]
    except csv.Error:
        return iter(()), None
    if not set(header) & {*_NAME_COLUMNS, *_INDEX_COLUMNS}:
        return iter(()), None
    return _rows(reader, path), header


def _rows(reader, path):
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}, is no line of a table: {error}.") from error


def _lines(text):
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    return [_unquoted(line.strip()) for line in lines]


def _unquoted(line):
    return line[1:-1].replace('""', '"') if len(line) > 1 and line[0] == line[-1] == '"' else line


def _column(header, names):
    return next((name for name in names if name in header), None)


def _class(row, place):
    text = row[place].strip() if len(row) > place else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
