"""Lists of classes, as the challenge's `segment_label_ids.csv`."""

from youtube8m_mod import files
from youtube8m_mod.errors import UserError


def read_class_ids(path, num_classes):
    """The classes of a `segment_label_ids.csv`: a header `Index`, then one class a line; ascending."""
    lines = files.read_text(path).splitlines()
    classes = set()
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text.isdigit() and int(text) < num_classes:
            classes.add(int(text))
        elif text and not (number == 1 and text[0].isalpha()):
            raise UserError(f'{path}, line {number}: expected a class from 0 to {num_classes - 1}, got "{text[:40]}".')
    if not classes:
        raise UserError(f"{path} holds no class.")
    return sorted(classes)
