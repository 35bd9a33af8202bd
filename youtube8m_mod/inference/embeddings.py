"""Hidden vectors of videos or segments: put by in blocks, written as one file.

While a run goes on, each of its pieces has blocks beside it in the folder of the pieces. The file holds them in the
order of the input: its files sorted, and the records as they stand therein.
"""

import dataclasses
import os
import zipfile
from collections.abc import Iterator, Sequence

import numpy as np

from youtube8m_mod import files
from youtube8m_mod.data.video_ids import text_of
from youtube8m_mod.errors import UserError
from youtube8m_mod.formats.arrays import read_arrays, write_arrays
from youtube8m_mod.formats.parquet import check_library

VIDEOS, SEGMENTS = "videos", "segments"
CONCATENATE, MEAN = "concatenate", "mean"
_BLOCK_BYTES = 32 << 20  # Of embeddings: what a process holds of them at a time.


@dataclasses.dataclass(frozen=True)
class Embeddings:
    """Which embeddings are written.

    Attributes:
        path: an .npz or .parquet.
        of: `VIDEOS` or `SEGMENTS`.
        join: `CONCATENATE` or `MEAN`, over leaves and models; see `scorers.join_leaves`.
    """

    path: str
    of: str = VIDEOS
    join: str = CONCATENATE

    def __post_init__(self):
        if _ending(self.path) not in _WRITERS:
            raise UserError(f'--embeddings_file must end in .npz or .parquet, got "{self.path}".')
        if _ending(self.path) == ".parquet":
            check_library("Embeddings")


class Blocks:
    """Puts embeddings by on disk, block by block, as they come.

    Args:
        folder: of the pieces.
        number: of the first input file of the piece.

    Attributes:
        rows: of each block.
    """

    def __init__(self, folder: str, number: int):
        self._folder, self._number = folder, number
        self._waiting, self._bytes, self.rows = [], 0, []

    def add(self, video_id: bytes, starts: Sequence[int], vectors: np.ndarray) -> None:
        """Adds some rows of a video: their starts in seconds, (n,), and embeddings, float32 (n, size)."""
        self._waiting.append((video_id, starts, vectors))
        self._bytes += vectors.nbytes
        if self._bytes >= _BLOCK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Writes what is not written yet."""
        if not self._waiting:
            return
        ids, starts, vectors = zip(*self._waiting)
        counts = [*map(len, starts)]
        arrays = {
            "ids": np.repeat(np.array(ids, np.bytes_), counts),
            "starts": np.concatenate(starts).astype(np.int32),
            "embeddings": np.concatenate(vectors),
        }
        write_arrays(_block_path(self._folder, self._number, len(self.rows)), arrays)
        self.rows.append(sum(counts))
        self._waiting, self._bytes = [], 0


def check_blocks(folder: str, number: int, rows: Sequence[int]) -> None:
    """Raises `UserError` where a block of a piece is not in the folder, as another machine's disk holds it."""
    for block in range(len(rows)):
        if not files.exists(path := _block_path(folder, number, block)):
            raise UserError(
                f"{path} is missing: --embeddings_file must be in a folder that all machines of the run share."
            )


def write_embeddings(output: Embeddings, folder: str, pieces: Sequence[tuple[int, Sequence[int]]]) -> None:
    """Writes the embeddings of all pieces, whole or not at all.

    Args:
        folder: of the pieces.
        pieces: (number of the first input file, rows of each block), in the order of the input.
    """
    blocks = _Stored(folder, [(number, block) for number, rows in pieces for block in range(len(rows))])
    count = int(sum(sum(rows) for _, rows in pieces))
    with files.write_file(output.path, "wb") as file:
        _WRITERS[_ending(output.path)](file, blocks, count, output.of == SEGMENTS)


class _Stored:
    """The blocks of a run, one after another."""

    def __init__(self, folder, blocks):
        self._folder, self._blocks = folder, blocks

    def size(self) -> int:
        """Of an embedding; 0 where there is none."""
        if not self._blocks:
            return 0
        return read_arrays(_block_path(self._folder, *self._blocks[0]), ["embeddings"])["embeddings"].shape[1]

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for block in self._blocks:
            arrays = read_arrays(_block_path(self._folder, *block), ["ids", "starts", "embeddings"])
            ids = [text_of(video_id) for video_id in arrays["ids"].tolist()]
            yield np.array(ids, np.str_), arrays["starts"], arrays["embeddings"]


def _block_path(folder, number, block):
    return f"{folder}/embeddings-{number:06d}-{block:06d}.npz"


def _write_npz(file, blocks, count, of_segments):
    """An archive as `np.savez` writes it, of which the embeddings are written as they are read."""
    with zipfile.ZipFile(_Forward(file), "w", zipfile.ZIP_STORED) as archive:
        ids, starts = [np.zeros(0, np.str_)], [np.zeros(0, np.int32)]
        with archive.open(zipfile.ZipInfo("embedding.npy"), "w", force_zip64=True) as entry:
            header = {"descr": "<f4", "fortran_order": False, "shape": (count, blocks.size())}
            np.lib.format.write_array_header_1_0(entry, header)
            for own_ids, own_starts, vectors in blocks:
                ids.append(own_ids)
                starts.append(own_starts)
                entry.write(np.ascontiguousarray(vectors, "<f4").tobytes())
        arrays = {"video": np.concatenate(ids)} | ({"start": np.concatenate(starts)} if of_segments else {})
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def _write_parquet(file, blocks, count, of_segments):
    import pyarrow
    from pyarrow import parquet

    size = blocks.size()
    columns = [("video", pyarrow.string())] + [("start", pyarrow.int32())] * of_segments
    schema = pyarrow.schema([*columns, ("embedding", pyarrow.list_(pyarrow.float32(), size or -1))])
    with parquet.ParquetWriter(pyarrow.PythonFile(_Forward(file), "w"), schema) as writer:
        for ids, starts, vectors in _regular(blocks, max(_BLOCK_BYTES // (4 * size or 1), 1)):
            values = pyarrow.array(vectors.ravel())
            arrays = [pyarrow.array(ids)] + [pyarrow.array(starts)] * of_segments
            arrays.append(pyarrow.FixedSizeListArray.from_arrays(values, size))
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


def _regular(blocks, rows):
    """The blocks cut anew, so that each but the last has so many rows: the same however the run was cut."""
    waiting = None
    for block in blocks:
        waiting = block if waiting is None else [np.concatenate(pair) for pair in zip(waiting, block)]
        while len(waiting[0]) >= rows:
            yield [array[:rows] for array in waiting]
            waiting = [array[rows:] for array in waiting]
    if waiting is not None and len(waiting[0]):
        yield waiting


class _Forward:
    """A file that is written from its beginning to its end, as those of an object store are."""

    closed = False

    def __init__(self, file):
        self._file, self._place = file, 0

    def write(self, content):
        self._place += len(content)
        return self._file.write(content)

    def tell(self):
        return self._place

    def flush(self):
        self._file.flush()

    def close(self):
        self.closed = True


def _ending(path):
    return os.path.splitext(path)[1]


_WRITERS = {".npz": _write_npz, ".parquet": _write_parquet}
