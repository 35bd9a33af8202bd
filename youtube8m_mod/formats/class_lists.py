"""Lists of classes, as the challenge's `segment_label_ids.csv`."""

from youtube8m_mod.errors import UserError
from youtube8m_mod.formats.lines import read_rows


def read_class_ids(path, num_classes):
    """The classes of a `segment_label_ids.csv`: a header `Index`, then one class a line; ascending."""
    classes = set()
    for number, cells in read_rows(path):
        text = b",".join(cells).rstrip(b",").decode(errors="backslashreplace")
        if text.isdecimal() and text.isascii() and int(text) < num_classes:
            classes.add(int(text))
        elif not (number == 1 and text[0].isalpha()):
            raise UserError(f'{path}, line {number}: expected a class from 0 to {num_classes - 1}, got "{text[:40]}".')
    if not classes:
        raise UserError(f"{path} holds no class.")
    return sorted(classes)
