"""The challenge's submission: `Class,Segments`, a line of segment ids `<video id>:<start>` per class, best first."""

from collections.abc import Iterable, Iterator

import numpy as np

from youtube8m_mod import files
from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.errors import UserError
from youtube8m_mod.formats.lines import Seen, read_lines, split_cells

HEADER = "Class,Segments"
_LONGEST_CELL = 32_767  # Characters of a spreadsheet's cell.


class SegmentIds:
    """Turns arrays of segments into text.

    Args:
        video_ids: bytes (V,), a numpy array of dtype S.
        slots: segments that a video can have.
    """

    def __init__(self, video_ids: np.ndarray, slots: int):
        starts = np.array([b":%d " % (SEGMENT_FRAMES * slot) for slot in range(slots)])
        self._ids, self._starts = _bytes_table(video_ids), _bytes_table(starts)

    def join(self, videos: np.ndarray, starts: np.ndarray) -> bytes:
        """`<video id>:<start> <video id>:<start> ...` as bytes.

        Args:
            videos: int (n,), indexes into `video_ids`.
            starts: int (n,), multiples of 5.
        """
        text = np.concatenate([self._ids[videos], self._starts[starts // SEGMENT_FRAMES]], axis=1).ravel()
        return text[text != 0].tobytes()[:-1]  # Shorter texts are padded with zero bytes.


def write_submission(
    path: files.Path,
    class_ids: Iterable[int],
    lists: Iterable[tuple[np.ndarray, np.ndarray]],
    video_ids: np.ndarray,
    slots: int,
) -> None:
    """Writes the lists of all classes, whole or not at all, class after class.

    Args:
        class_ids: int (C,), the classes' numbers in the vocabulary.
        lists: iterable of (videos int (n,), starts int (n,)), one a class.
        video_ids: bytes (V,), dtype S.
    """
    ids = SegmentIds(video_ids, slots)
    with files.write_file(path, "wb") as file:
        file.write(HEADER.encode() + b"\n")
        for class_id, (videos, starts) in zip(class_ids, lists, strict=True):
            file.write(b"%d,%s\n" % (class_id, ids.join(videos, starts)))


def read_submission(path: files.Path, seen: Seen | None = None) -> Iterator[tuple[int, bytes, bytes]]:
    """Yields (line number, class text, text of the ids with the line's end) of every line, as bytes.

    Memory is bounded by the longest line. The header, if there is one, is the first: (1, b"Class", b"Segments\\n").
    Blank lines are passed over.

    Args:
        seen: see `read_lines`.

    Raises:
        UserError: at the end, where a spreadsheet has cut lists off.
    """
    longest, cut = 0, None
    for number, line in read_lines(path, seen):
        name, _, ids = line.partition(b",")
        if b'"' in line:
            end = line[len(line.rstrip(b"\r\n")) :]
            name, *cells = split_cells(line)
            ids = b",".join(cells).rstrip(b",") + end
        length = len(ids.strip())
        longest, cut = max(longest, length), cut or (number if length == _LONGEST_CELL else None)
        if ids.strip() or name.strip():
            yield number, name.strip(), ids
    if cut and longest == _LONGEST_CELL:
        raise UserError(
            f"{path}, line {cut}: the list ends after {_LONGEST_CELL:,} characters, where spreadsheets cut cells off, "
            "and no list is longer: take the file as it was before one saved it."
        )


def _bytes_table(texts):
    texts = np.ascontiguousarray(texts, np.bytes_)
    return texts.view(np.uint8).reshape(len(texts), texts.itemsize)
