"""The finished pieces of an inference run: what a rerun goes on from, and what other processes hand over.

A folder beside the output holds `settings.json` and one archive for each group of input files that is done. A piece is
written whole or not at all; the outputs come from all pieces together, the same bytes however they were cut.
"""

import dataclasses

import numpy as np

from youtube8m_mod import files
from youtube8m_mod.errors import UserError
from youtube8m_mod.formats.arrays import read_arrays, write_arrays
from youtube8m_mod.formats.predictions import HEADER

VIDEO_LINES, SEGMENT_LINES, TIMELINES = "video_lines", "segment_lines", "timelines"


@dataclasses.dataclass(frozen=True)
class Piece:
    """What some input files give.

    Attributes:
        state: of a `Localization`.
        lines: {VIDEO_LINES, SEGMENT_LINES or TIMELINES: {video id bytes: text}}.
        counts: {"videos", "segments", "records", "bad_records": int}.
        warning: a sentence about bad records, or None.
    """

    state: dict
    lines: dict
    counts: dict
    warning: str | None = None


class Parts:
    """The pieces of a run on disk.

    Args:
        folder: where they are.
        settings: a JSON-able dict that tells runs apart.

    Raises:
        UserError: where the folder holds pieces of a run with other settings, which are named.
    """

    def __init__(self, folder, settings):
        self.folder, self.settings = folder, settings
        path = f"{folder}/settings.json"
        found = files.read_json(path) if files.exists(path) else None
        if found is None:
            files.write_json(path, settings)
        elif differing := sorted(key for key in settings | found if settings.get(key) != found.get(key)):
            raise UserError(
                f"{folder} holds pieces of another run, which differs in {', '.join(differing)}; remove "
                "the folder, or name another output."
            )

    def done(self):
        """{path of a piece: the numbers of the input files in it}."""
        paths = files.glob(f"{self.folder}/part-*.npz")
        return {path: read_arrays(path, ["files"])["files"].tolist() for path in paths}

    def write(self, numbers, state, lines):
        """Writes the piece of some input files.

        Args:
            numbers: of the input files, ascending.
            state: of a `Localization`.
            lines: {VIDEO_LINES, SEGMENT_LINES or TIMELINES: {video id bytes: text}}.
        """
        arrays = state | {"files": np.array(numbers, np.int64)}
        for kind, texts in lines.items():
            ids = sorted(texts)
            encoded = [texts[video_id].encode() for video_id in ids]
            arrays |= {
                f"{kind}/ids": np.array(ids, np.bytes_),
                f"{kind}/lengths": np.array([*map(len, encoded)], np.int64),
                f"{kind}/text": np.frombuffer(b"".join(encoded), np.uint8),
            }
        write_arrays(f"{self.folder}/part-{numbers[0]:06d}.npz", arrays)

    def check_complete(self):
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

    def merge_into(self, localization):
        """Adds all pieces to a `Localization`, unless it is None; returns the numbers of the input files in them."""
        done = self.done()
        for path in sorted(done) if localization else ():
            localization.merge(read_arrays(path))
        return {number for numbers in done.values() for number in numbers}

    def texts(self, kind):
        """The texts of a kind as bytes, {video id bytes: text}, in the order of the video ids."""
        blocks = {}
        for path in self.check_complete():
            arrays = read_arrays(path, [f"{kind}/ids", f"{kind}/lengths", f"{kind}/text"])
            text, ends = arrays[f"{kind}/text"].tobytes(), np.cumsum(arrays[f"{kind}/lengths"]).tolist()
            ids = arrays[f"{kind}/ids"].tolist()
            for video_id, start, end in zip(ids, [0, *ends], ends):
                if video_id in blocks:
                    raise UserError(f"Video {video_id.decode(errors='backslashreplace')} occurs twice in the input.")
                blocks[video_id] = text[start:end]
        return dict(sorted(blocks.items()))

    def write_lines(self, kind, output):
        """Writes the lines of a kind, in the order of the video ids, whole or not at all."""
        with files.write_file(output, "wb") as file:
            file.write(HEADER.encode() + b"\n")
            file.writelines(self.texts(kind).values())

    def remove(self):
        files.remove_tree(self.folder)
