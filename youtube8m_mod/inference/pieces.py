"""The finished pieces of an inference run: what a rerun goes on from, and what other processes hand over.

A folder beside the output holds `settings.json` and one archive for each group of input files that is done. A piece is
written whole or not at all; the outputs come from all pieces together, the same bytes however they were cut.
"""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from youtube8m_mod import files
from youtube8m_mod.data.video_ids import text_of
from youtube8m_mod.errors import UserError
from youtube8m_mod.formats.arrays import read_arrays, write_arrays
from youtube8m_mod.formats.predictions import HEADER
from youtube8m_mod.inference.embeddings import check_blocks

if TYPE_CHECKING:
    from youtube8m_mod.localization.ranked_lists import Localization

VIDEO_LINES, SEGMENT_LINES, TIMELINES = "video_lines", "segment_lines", "timelines"
COUNTS = ("videos", "segments", "records", "bad_records", "lost_records")


@dataclasses.dataclass(frozen=True)
class Piece:
    """What some input files give.

    Attributes:
        state: of a `Localization`.
        lines: {VIDEO_LINES, SEGMENT_LINES or TIMELINES: {video id bytes: text}}.
        counts: {name of `COUNTS`: int}.
        ids: the ids of all videos, bytes.
        warning: a sentence about bad records, or "".
        embedding_rows: of each block of embeddings, which lie beside the pieces (`embeddings.Blocks`).
    """

    state: dict
    lines: dict
    counts: dict
    ids: list
    warning: str = ""
    embedding_rows: list = dataclasses.field(default_factory=list)


class Parts:
    """The pieces of a run on disk.

    A piece knows its input files by whole path, size and time of the last change; one whose files have changed since
    counts for nothing, nor does one that left out bad records where none may be left out.

    Args:
        folder: where they are.
        settings: a JSON-able dict that distinguishes runs; its "input_files" are the whole paths of the input.
        skip_bad: whether bad records may be left out.

    Attributes:
        identities: `files.identity` of each input file when the run began.
        outdated: sentences about pieces that count for nothing any more and were removed.

    Raises:
        UserError: where the folder holds pieces of a run with other settings or other files, which are named.
    """

    def __init__(self, folder: str, settings: dict[str, Any], skip_bad: bool = True):
        self.folder, self.settings, self._skip_bad = folder, settings, skip_bad
        self.identities = files.identities(settings["input_files"])
        path = f"{folder}/settings.json"
        found = files.read_json(path) if files.exists(path) else None
        if found is None:
            files.write_json(path, self.settings)
        elif not isinstance(found, dict):
            raise UserError(f"{path} is not what a run writes; remove the folder, or name another output.")
        elif differing := sorted(key for key in self.settings | found if self.settings.get(key) != found.get(key)):
            raise UserError(
                f"{folder} holds pieces of another run, which differs in {', '.join(differing)}"
                f"{self._first_other_file(found)}; remove the folder, or name another output."
            )
        self.outdated = [*self._remove_outdated()]

    def done(self) -> dict[str, list[int]]:
        """{path of a piece: the numbers of the input files in it}."""
        return {path: read_arrays(path, ["files"])["files"].tolist() for path in self._paths()}

    def _paths(self):
        names = files.list_dir(self.folder)
        return [f"{self.folder}/{name}" for name in names if re.fullmatch(r"part-\d{6,}\.npz", name)]

    def write(self, numbers: Sequence[int], piece: Piece) -> None:
        """Writes the piece of some input files, by their numbers, ascending.

        Raises:
            UserError: where one of the files has changed since the run began, or blocks of embeddings are not here.
        """
        check_blocks(self.folder, numbers[0], piece.embedding_rows)
        identities = [self.identities[number] for number in numbers]
        for identity in identities:
            if files.identity(identity[0]) != identity:
                raise UserError(f"{identity[0]} has changed while it was read: the same command reads it again.")
        arrays = piece.state | {
            "files": np.array(numbers, np.int64),
            "sizes": np.array([size for _, size, _ in identities], np.int64),
            "times": np.array([time for *_, time in identities], np.int64),
            "counts": np.array([piece.counts[name] for name in COUNTS], np.int64),
            "ids": np.array(sorted(piece.ids), np.bytes_),
            "warning": np.array(piece.warning.encode()),
            "embedding_rows": np.array(piece.embedding_rows, np.int64),
        }
        for kind, texts in piece.lines.items():
            ids = sorted(texts)
            encoded = [texts[video_id].encode() for video_id in ids]
            arrays |= {
                f"{kind}/ids": np.array(ids, np.bytes_),
                f"{kind}/lengths": np.array([*map(len, encoded)], np.int64),
                f"{kind}/text": np.frombuffer(b"".join(encoded), np.uint8),
            }
        write_arrays(f"{self.folder}/part-{numbers[0]:06d}.npz", arrays)

    def counts(self) -> Iterator[tuple[dict[str, int], str]]:
        """Yields ({name of `COUNTS`: int}, warning) of every piece."""
        for path in self._paths():
            arrays = read_arrays(path, ["counts", "warning"])
            yield dict(zip(COUNTS, arrays["counts"].tolist())), arrays["warning"].item().decode()

    def ids(self) -> Iterator[tuple[list[int], list[bytes]]]:
        """Yields (numbers of the input files, ids of the videos) of every piece."""
        for path in self._paths():
            arrays = read_arrays(path, ["files", "ids"])
            yield arrays["files"].tolist(), arrays["ids"].tolist()

    def embedding_blocks(self) -> list[tuple[int, list[int]]]:
        """[(number of the first input file, rows of each block of embeddings)] of all pieces, in their order."""
        pieces = (read_arrays(path, ["files", "embedding_rows"]) for path in self.check_complete())
        return sorted((int(arrays["files"][0]), arrays["embedding_rows"].tolist()) for arrays in pieces)

    def _first_other_file(self, found):
        ours, theirs = self.settings["input_files"], found.get("input_files")
        if ours == theirs or not isinstance(theirs, list):
            return ""
        for ours_only, theirs_only in zip([*ours, "none"], [*theirs, "none"]):
            if ours_only != theirs_only:
                return f" (there {theirs_only}, here {ours_only})"
        return ""

    def _remove_outdated(self):
        for path in self._paths():
            names = ("files", "sizes", "times", "counts")
            numbers, sizes, times, counts = (read_arrays(path, names)[name].tolist() for name in names)
            changed = [number for number, *then in zip(numbers, sizes, times) if self.identities[number][1:] != then]
            counts = dict(zip(COUNTS, counts))
            if changed:
                reason = f"{self.identities[changed[0]][0]} has changed since it was read"
            elif not self._skip_bad and (counts["bad_records"] or counts["lost_records"]):
                reason = f"{self.identities[numbers[0]][0]} or a file next to it has bad records, which were skipped"
            else:
                continue
            files.remove(path)
            yield f"{reason}: it is read again."

    def check_complete(self) -> list[str]:
        """The paths of all pieces; raises `UserError` where input files are missing or double."""
        done = self.done()
        counts = np.bincount(
            [number for numbers in done.values() for number in numbers] or [0],
            minlength=len(self.settings["input_files"]),
        )
        for problem, where in (("not done yet", counts == 0), ("done twice", counts > 1)):
            if where.any():
                first = self.settings["input_files"][int(np.flatnonzero(where)[0])]
                raise UserError(
                    f"{self.folder} is not whole: of {len(counts):,} input files {where.sum():,} are "
                    f"{problem}, {first} first."
                )
        return sorted(done)

    def merge_into(self, localization: "Localization | None") -> set[int]:
        """Adds all pieces to a `Localization`, unless it is None; returns the numbers of the input files in them."""
        done = self.done()
        for path in sorted(done) if localization else ():
            localization.merge(read_arrays(path))
        return {number for numbers in done.values() for number in numbers}

    def texts(self, kind: str) -> dict[bytes, bytes]:
        """The texts of a kind as bytes, {video id bytes: text}, in the order of the video ids."""
        blocks = {}
        for path in self.check_complete():
            arrays = read_arrays(path, [f"{kind}/ids", f"{kind}/lengths", f"{kind}/text"])
            text, ends = arrays[f"{kind}/text"].tobytes(), np.cumsum(arrays[f"{kind}/lengths"]).tolist()
            ids = arrays[f"{kind}/ids"].tolist()
            for video_id, start, end in zip(ids, [0, *ends], ends):
                if video_id in blocks:
                    raise UserError(f"Video {text_of(video_id)} occurs twice in the input.")
                blocks[video_id] = text[start:end]
        return dict(sorted(blocks.items()))

    def write_lines(self, kind: str, output: files.Path) -> None:
        """Writes the lines of a kind, in the order of the video ids, whole or not at all."""
        with files.write_file(output, "wb") as file:
            file.write(HEADER.encode() + b"\n")
            file.writelines(self.texts(kind).values())

    def remove(self) -> None:
        files.remove_tree(self.folder)
