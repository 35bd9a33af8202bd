"""Lines and rows of text files that other programs, spreadsheets among them, may have written or saved again.

One reader for submissions, predictions, label caches and lists of classes, so that all take the same liberties: gzip or
not (recognised by the content), a byte-order mark, any line ends, quoted cells, blanks around them, blank lines.
"""

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator

from youtube8m_mod import files
from youtube8m_mod.errors import UserError

Seen = Callable[[int], None]  # Called with the bytes of a file that have been read, before each of its lines.

_BUFFER = 1 << 16
_QUOTED = re.compile(rb'[ \t]*"([^"]*(?:""[^"]*)*)"[ \t\r\n]*(?=,|\Z)')


def read_lines(path: files.Path, seen: Seen | None = None) -> Iterator[tuple[int, bytes]]:
    r"""Yields (line number, line with its end) as bytes, without a byte-order mark.

    Memory is bounded by the longest line, unless the lines end in `\r` alone or the text is UTF-16.

    Args:
        seen: called with how far the file has been read, in its bytes as they are, packed ones too.
    """
    with files.open_file(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        # GzipFile gives lines through Python's functions, a buffer around it in C.
        stream = io.BufferedReader(gzip.GzipFile(fileobj=file), _BUFFER) if packed else file
        try:
            head = stream.peek(_BUFFER)
            if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                stream = io.BytesIO(stream.read().decode("utf-16").encode())
                head = stream.getvalue()
            if b"\r" in head and b"\n" not in head:
                stream = io.BytesIO(stream.read().replace(b"\r", b"\n"))
            if head.startswith(codecs.BOM_UTF8):
                stream.seek(len(codecs.BOM_UTF8))
            for number, line in enumerate(stream, 1):
                if seen:
                    seen(file.tell())
                yield number, line
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError(f"Cannot read {path}, a damaged gzip file: {error}.") from error
        except UnicodeError as error:
            raise UserError(f"{path} is not UTF-16 text, as its first bytes say: {error}.") from error


def read_text(path: files.Path) -> str:
    """The text of a file that is read as `read_lines` reads it; raises `UserError` where it is not UTF-8."""
    content = b"".join(line for _, line in read_lines(path))
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error}.") from error


def split_cells(line: bytes) -> list[bytes]:
    """The cells of a line, bytes: separated by commas; in a cell in quotes `,` and `""` stand for `,` and `"`."""
    if b'"' not in line:
        return [cell.strip() for cell in line.split(b",")]
    cells, place = [], 0
    while True:
        if found := _QUOTED.match(line, place):
            cells.append(found[1].replace(b'""', b'"').strip())
            place = found.end()
        else:
            end = line.find(b",", place)
            end = len(line) if end < 0 else end
            cells.append(line[place:end].strip())
            place = end
        if place >= len(line):
            return cells
        place += 1


def read_rows(path: files.Path, seen: Seen | None = None) -> Iterator[tuple[int, list[bytes]]]:
    """Yields (line number, cells as bytes, without blanks around them) of every line in which a cell is not empty."""
    for number, line in read_lines(path, seen):
        cells = split_cells(line)
        if any(cells):
            yield number, cells


def shown(line: bytes | list[bytes]) -> str:
    """A line as text for a message, cut short."""
    text = (b",".join(line) if isinstance(line, list) else line).decode(errors="backslashreplace").strip()
    return text if len(text) <= 60 else f"{text[:60]}..."
