"""TFRecord files: which there are, whether they can be read, and where one is damaged."""

import os
import struct
import sys

from youtube8m_mod import files
from youtube8m_mod.errors import UserError

LENGTH_BYTES = 8
FRAME_BYTES = 16  # Around a record: its length, a checksum of that, and a checksum of the record.


def list_shards(pattern, num_shards=1, shard_index=0):
    """Sorted files that match `pattern`; with `num_shards` every num_shards-th of them, from `shard_index` on.

    Raises:
        UserError: where nothing matches, or nothing one of several globs, where there are fewer files than shards, and
            for local files that cannot be read (remote ones are looked at when their turn comes).

    Files of no bytes are told on stderr: they hold nothing to be read, but may be what an interrupted copy left.
    """
    parts = files.glob_parts(pattern)
    for part, found in parts.items():
        if not found:
            raise UserError(f'No file matches "{part}"{f", a part of {pattern}" if len(parts) > 1 else ""}.')
    paths = sorted({path for found in parts.values() for path in found})
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


def check_readable(path):
    """Raises `UserError` where `path` is missing, a directory, not readable, or a gzip file."""
    if files.is_dir(path):
        raise UserError(f"Cannot read {path}: it is a directory, a TFRecord file was expected.")
    with files.open_file(path, "rb") as file:
        if file.read(2) == b"\x1f\x8b":
            raise UserError(
                f"Cannot read {path}: it is a gzip file, a TFRecord file that is not compressed was "
                "expected (gunzip it)."
            )


def size(path):
    """Bytes of the file."""
    return files.size(path)


def count_whole(path):
    """Number of records before the first whose announced length exceeds the file, -1 (not counted) if remote.

    TensorFlow allocates what a record's header announces, and dies of it: it is given only so many records to read.
    """
    if files.is_remote(path):
        return -1
    count, offset = 0, 0
    with files.open_file(path, "rb") as file:
        end = size(path)
        descriptor = file.fileno()
        while offset + FRAME_BYTES <= end:
            offset += FRAME_BYTES + struct.unpack("<Q", os.pread(descriptor, LENGTH_BYTES, offset))[0]
            count += offset <= end
    return count


def damage(path, offset):
    """(reason, sentence) for a file that could be read only up to `offset`."""
    total = size(path)
    if files.is_remote(path):
        return "unreadable", f"it could be read only up to byte {offset:,} of {total:,}"
    with files.open_file(path, "rb") as file:
        file.seek(offset)
        header = file.read(LENGTH_BYTES)
    left = total - offset
    if len(header) < LENGTH_BYTES or struct.unpack("<Q", header)[0] + FRAME_BYTES > left:
        return "truncated", f"it is cut off at byte {offset:,}, where {left:,} bytes are left of the file"
    if not offset:
        return "corrupt", "its checksum is wrong at byte 0 (is this a TFRecord file?)"
    return "corrupt", f"its checksum is wrong at byte {offset:,}, and what follows in the file cannot be read"
