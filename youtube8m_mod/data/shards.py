"""TFRecord files: which there are, how one is stored, and where it is damaged."""

import contextlib
import functools
import os
import struct
import sys
import zlib
from typing import NamedTuple

from youtube8m_mod import files
from youtube8m_mod.errors import UserError

LENGTH_BYTES = 8
FRAME_BYTES = 16  # Around a record: its length, a checksum of that, and a checksum of the record.


def list_shards(pattern: str, num_shards: int = 1, shard_index: int = 0) -> list[str]:
    """Sorted files that match `pattern`; with `num_shards` every num_shards-th of them, from `shard_index` on.

    Raises:
        UserError: where nothing matches, or nothing one of several globs, where there are fewer files than shards, and
            for local files that cannot be read (remote ones are opened when they are read).

    A warning on stderr names files of no bytes: they hold nothing to be read, but may be what an interrupted copy left.
    """
    parts = files.glob_parts(pattern)
    for part, found in parts.items():
        if not found:
            raise UserError(f'No file matches "{part}"{f", a part of {pattern}" if len(parts) > 1 else ""}.')
    paths = _each_once(sorted({path for found in parts.values() for path in found}))
    if not paths:
        raise UserError(f'No file matches "{pattern}".')
    if not 0 <= shard_index < num_shards:
        raise UserError(f"shard_index must be from 0 to {num_shards - 1} (num_shards - 1), got {shard_index}.")
    if num_shards > len(paths):
        raise UserError(
            f'num_shards must be at most {len(paths)}, the number of files that match "{pattern}", got {num_shards}.'
        )
    paths = paths[shard_index::num_shards]
    for path in paths:
        if not files.is_remote(path):
            check_readable(path)
    if empty := [path for path, size in zip(paths, files.sizes(paths)) if not size]:
        print(
            f'warning: of {len(paths):,} files that match "{pattern}" {len(empty):,} hold no bytes: '
            f"{', '.join(empty[:5])}{', ...' * (len(empty) > 5)}.",
            file=sys.stderr,
        )
    return paths


def _each_once(paths):
    """The paths without those of a file that another one means too; a warning names other names of a file."""
    found, aliases = {}, []
    for path in paths:
        local = path.removeprefix("file://")
        first = found.setdefault(files.place(path), path)
        if first != path and os.path.abspath(first.removeprefix("file://")) != os.path.abspath(local):
            aliases.append(f"{path} is {first}")
    if aliases:
        print(
            f"warning: {len(aliases):,} files have a second name and are read once: {aliases[0]}"
            f"{', ...' * (len(aliases) > 1)}.",
            file=sys.stderr,
        )
    return [*found.values()]


def check_readable(path: files.Path) -> None:
    """Raises `UserError` where `path` is missing, a directory, or not readable."""
    if files.is_dir(path):
        raise UserError(f"Cannot read {path}: it is a directory, a TFRecord file was expected.")
    with files.open_file(path, "rb") as file:
        file.read(1)


def size(path: files.Path) -> int:
    """Bytes of the file."""
    return files.size(path)


PLAIN, GZIP, ZLIB, BARE = range(4)  # BARE: one serialized record, without the frame of a TFRecord.
COMPRESSION = ("", "GZIP", "ZLIB", "")  # TensorFlow's name of each.


class Layout(NamedTuple):
    """How the records of a file are stored.

    Attributes:
        count: records before the first whose announced length exceeds the file; -1: not counted.
        size: bytes of all records with their frames, decompressed; -1 where the compressed data are damaged.
        form: PLAIN, GZIP, ZLIB or BARE.
        expected: about so many bytes `size` would be without the damage.
    """

    count: int
    size: int
    form: int = PLAIN
    expected: int = 0


def layout(path: files.Path) -> Layout:
    """The `Layout` of a file.

    TensorFlow allocates what a record's header announces, and dies of it: it is given only `count` records to read.
    """
    total = size(path)
    with files.open_file(path, "rb") as file:
        head = file.read(_HEADER_BYTES)
        if _is_header(head) or len(head) < _HEADER_BYTES:
            return Layout(-1 if files.is_remote(path) else _count_whole(file, total), total)
    if form := _compression(head):
        if (found := _compressed_layout(path, total, form)).count or form == GZIP:
            return found
    if is_bare_record(path):
        return Layout(0, total + FRAME_BYTES, BARE)
    return Layout(-1, total) if files.is_remote(path) else Layout(0, total)


def _count_whole(file, total):
    count, offset, descriptor = 0, 0, file.fileno()
    while offset + FRAME_BYTES <= total:
        offset += FRAME_BYTES + struct.unpack("<Q", os.pread(descriptor, LENGTH_BYTES, offset))[0]
        count += offset <= total
    return count


def _compression(head):
    if head[:2] == b"\x1f\x8b":
        return GZIP
    return ZLIB if head[0] & 15 == 8 and int.from_bytes(head[:2], "big") % 31 == 0 else None


@functools.lru_cache(1 << 14)
def _compressed_layout(path, total, form):
    """The layout of a compressed file, which is decompressed for it once."""
    count, offset, waiting = 0, 0, b""
    left = 0  # Bytes of the record at hand that are still to come.
    for chunk, read in _decompressed(path, form):
        if chunk is None:  # What follows is as dense as what came before, or as features are, which hardly shrink.
            return Layout(count, -1, form, round(total * offset / read) if read else total)
        offset += len(chunk)
        while chunk:
            if left:
                taken = min(left, len(chunk))
                left, chunk = left - taken, chunk[taken:]
                count += not left
                continue
            needed = LENGTH_BYTES - len(waiting)
            waiting, chunk = waiting + chunk[:needed], chunk[needed:]
            if len(waiting) == LENGTH_BYTES:
                left, waiting = struct.unpack("<Q", waiting)[0] + FRAME_BYTES - LENGTH_BYTES, b""
    return Layout(count, offset, form)


def _decompressed(path, form):
    """Yields (decompressed bytes, bytes of the file that gave all so far); (None, bytes) at the end of damaged data."""
    end = 0
    with files.open_file(path, "rb") as file:
        unpack = zlib.decompressobj(31 if form == GZIP else 15)
        while chunk := file.read(_PACKED_BYTES):
            end += len(chunk)
            while chunk:
                try:
                    unpacked = unpack.decompress(chunk, _CHUNK_BYTES)
                except zlib.error:
                    yield None, end - len(chunk)
                    return
                chunk = unpack.unconsumed_tail
                if unpack.eof and (chunk := unpack.unused_data):  # Files that were joined.
                    unpack = zlib.decompressobj(31 if form == GZIP else 15)
                yield unpacked, end - len(chunk)
        if not unpack.eof:
            yield None, end


def _begins_well(path, form):
    """Whether the decompressed data of a file begin with the header of a record, as far as can be seen."""
    with files.open_file(path, "rb") as file:
        packed, unpack, head = file.read(_PACKED_BYTES), zlib.decompressobj(31 if form == GZIP else 15), b""
    with contextlib.suppress(zlib.error):
        for place in range(len(packed)):
            head += unpack.decompress(packed[place : place + 1])
            if len(head) >= _HEADER_BYTES:
                break
    return _is_header(head)


def is_bare_record(path: files.Path) -> bool:
    """Whether the file is a serialized `Example` or `SequenceExample` itself, as MediaPipe writes one."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.example.example_pb2 import SequenceExample

    if size(path) > _LARGEST_BARE:
        return False
    with files.open_file(path, "rb") as file:
        content = file.read()
    try:
        record = SequenceExample.FromString(content)
    except DecodeError:
        return False
    return bool(record.context.feature or record.feature_lists.feature_list)


def damage(path: files.Path, offset: int) -> tuple[str, str]:
    """(reason, sentence) for a file that could be read only up to `offset`."""
    total = size(path)
    with files.open_file(path, "rb") as file:
        head = file.read(_HEADER_BYTES)
        if form := not _is_header(head) and len(head) == _HEADER_BYTES and _compression(head):
            if form == GZIP or _compressed_layout(path, total, form).count:
                kind = "gzip" if form == GZIP else "ZLIB"
                if not offset and not _compressed_layout(path, total, form).count and not _begins_well(path, form):
                    return "not a TFRecord", f"it is not a TFRecord file but a {kind} file of something else"
                return "corrupt", f"its {kind} data are damaged or cut off after {offset:,} bytes of records"
        if not offset and not _is_header(head) and (len(head) == _HEADER_BYTES or _description(head)):
            what = _description(head + file.read(500))
            return "not a TFRecord", "it is not a TFRecord file" + (
                f" but {what}" if what else ", or its first bytes are damaged: their checksum is wrong"
            )
        if files.is_remote(path):
            return "unreadable", f"it could be read only up to byte {offset:,} of {total:,}"
        file.seek(offset)
        header = file.read(LENGTH_BYTES)
    left = total - offset
    if len(header) < LENGTH_BYTES or struct.unpack("<Q", header)[0] + FRAME_BYTES > left:
        return "truncated", f"it is cut off at byte {offset:,}, where {left:,} bytes are left of the file"
    if not offset:
        return "corrupt", "its checksum is wrong at byte 0 (is this a TFRecord file?)"
    return "corrupt", f"its checksum is wrong at byte {offset:,}, and what follows in the file cannot be read"


_HEADER_BYTES = LENGTH_BYTES + 4
_CHUNK_BYTES, _PACKED_BYTES = 1 << 20, 1 << 14
_LARGEST_BARE = 1 << 26
_MAGIC = (
    (b"PK\x03\x04", "a zip archive (an .npz file is one)"),
    (b"\x93NUMPY", "a numpy array (.npy): python -m youtube8m_mod.data.convert makes TFRecords of arrays"),
    (b"PAR1", "a Parquet file: python -m youtube8m_mod.data.convert makes TFRecords of such tables"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"\x80\x04\x95", "a Python pickle"),
    (b"BZh", "a bzip2 file (decompress it)"),
    (b"\xfd7zXZ", "an xz file (decompress it)"),
    (b"\x28\xb5\x2f\xfd", "a zstd file (decompress it)"),
    (b"\xff\x06\x00\x00sNaPpY", "a snappy file (decompress it)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive (unpack it)"),
    (b"ARROW1", "an Arrow file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"RIFF", "a video or sound (RIFF): features are extracted from it first"),
    (b"\x1a\x45\xdf\xa3", "a video (Matroska or WebM): features are extracted from it first"),
    (b"%PDF", "a PDF document"),
    (b"version https://git-lfs", "a pointer of Git LFS: git lfs pull brings the file itself"),
)


def _is_header(head):
    """Whether 12 bytes are the header of a record: its length with the right checksum."""
    return len(head) >= _HEADER_BYTES and struct.unpack("<I", head[LENGTH_BYTES:_HEADER_BYTES])[0] == _masked_crc(
        head[:LENGTH_BYTES]
    )


def _masked_crc(data):
    """Castagnoli's checksum as TFRecord files mask it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _description(head):
    """What a file is that begins with these bytes, where that is known."""
    for magic, what in _MAGIC:
        if head.startswith(magic):
            return what
    if head[257:262] == b"ustar":
        return "a tar archive (unpack it)"
    if head[4:8] == b"ftyp":
        return "a video (mp4): features are extracted from it first"
    text = head.decode("utf-8-sig", "replace")
    text = text[:-3] + text[-3:].rstrip("\ufffd")  # A letter that was cut in two.
    if "\ufffd" in text or not text.strip() or not all(sign.isprintable() or sign.isspace() for sign in text):
        return None
    hint = ": name the shards alone, for instance with *.tfrecord"
    start = text.lstrip()[:40].lower()
    if start[:1] in ("{", "["):
        return "JSON text" + hint
    if start.startswith(("<!doctype html", "<html")):
        return "an HTML page, perhaps of a download that failed"
    if start[:1] == "<":
        return "XML text" + hint
    return f'text that begins with "{text.strip().splitlines()[0][:40]}"' + hint
