"""Lists of classes, as the challenge's `segment_label_ids.csv`."""

from youtube8m_mod.errors import UserError
from youtube8m_mod.files import Path
from youtube8m_mod.formats.label_names import read_table
from youtube8m_mod.formats.lines import read_text


def read_class_ids(path: Path, num_classes: int) -> list[int]:
    """The classes of a `segment_label_ids.csv`, ascending: a header `Index`, then one class a line.

    The header may be missing, and a table may have further columns, as the segment vocabulary has. A byte-order mark,
    quotes and the line ends of any system are passed over.
    """
    text = read_text(path)
    rows, header = read_table(text, path)
    if header is not None and "index" in header:
        place = header.index("index")
        cells = [(number, row[place] if len(row) > place else "") for number, row in rows]
    else:
        cells = [(number, line.strip().strip('"')) for number, line in enumerate(text.splitlines(), 1)]
        cells = cells[1:] if cells and cells[0][1][:1].isalpha() else cells
    classes = set()
    for number, cell in cells:
        cell = cell.strip()
        if cell.isascii() and cell.isdigit() and len(cell) < 10 and int(cell) < num_classes:
            classes.add(int(cell))
        elif cell:
            raise UserError(f'{path}, line {number}: expected a class from 0 to {num_classes - 1}, got "{cell[:40]}".')
    if not classes:
        raise UserError(f"{path} holds no class.")
    return sorted(classes)
