"""Spans of concepts in videos, for other tools: CSV, Parquet, or WebVTT tracks that a player shows."""

import csv
import io
import os
import re
import urllib.parse
from collections.abc import Iterable, Mapping

from youtube8m_mod import files
from youtube8m_mod.errors import UserError
from youtube8m_mod.formats.parquet import check_library
from youtube8m_mod.localization.timelines import Span

COLUMNS = ("video", "start", "end", "class", "name", "probability")


def check_timeline_path(path: str) -> None:
    """Raises `UserError` where a path's ending names none of the forms, or one whose library is missing."""
    if _ending(path) not in _WRITERS:
        raise UserError(f'A timeline file must end in .csv, .parquet or .vtt (a folder of tracks), got "{path}".')
    if _ending(path) == ".parquet":
        check_library("Timelines")
    if _ending(path) == ".vtt" and files.exists(path):
        _check_tracks(path)


def write_timeline(path: str, videos: Iterable[tuple[str, list[Span]]], names: Mapping[int, str] | None = None) -> None:
    """Writes spans in the form that the path's ending names, whole or not at all.

    Args:
        path: `.csv` and `.parquet`: a table of `COLUMNS`, start and end in seconds; `.vtt`: a folder of that name, in
            which each video has a track, `<video id>.vtt`.
        videos: iterable of (video id str, list of `Span`), a video without spans too.
        names: {class: name}; a class without one has an empty name, in a track its number.
    """
    check_timeline_path(path)
    _WRITERS[_ending(path)](path, videos, names or {})


def format_spans(spans: Iterable[Span]) -> str:
    """The spans as text, a line each; `parse_spans` reads it."""
    return "".join(f"{span.start} {span.end} {span.class_id} {span.probability:.9g}\n" for span in spans)


def parse_spans(text: str) -> list[Span]:
    """The list of `Span` in a text of `format_spans`."""
    spans = [line.split() for line in text.splitlines()]
    return [Span(int(start), int(end), int(class_id), float(value)) for start, end, class_id, value in spans]


def _rows(videos, names):
    for video_id, spans in videos:
        for span in spans:
            yield video_id, span.start, span.end, span.class_id, names.get(span.class_id, ""), span.probability


def _write_csv(path, videos, names):
    with files.write_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for *row, probability in _rows(videos, names):
            writer.writerow([*row, f"{probability:.6g}"])


def _write_parquet(path, videos, names):
    import pandas

    types = dict(zip(COLUMNS, ("str", "int32", "int32", "int32", "str", "float32")))
    table = pandas.DataFrame(list(_rows(videos, names)), columns=list(COLUMNS)).astype(types)
    content = io.BytesIO()  # Files of an object store cannot be written out of order.
    table.to_parquet(content, index=False)
    with files.write_file(path, "wb") as file:
        file.write(content.getbuffer())


def _write_tracks(path, videos, names):
    with files.write_folder(path) as partial:
        for video_id, spans in videos:
            # What no file name may hold, or would lead to another folder, as in an address.
            with files.write_file(os.path.join(partial, f"{urllib.parse.quote(video_id, safe='%')}.vtt")) as file:
                file.write(_track(spans, names))
        if files.exists(path):
            _check_tracks(path)


def _track(spans, names):
    cues = ["WEBVTT\n"]
    for number, span in enumerate(spans, 1):
        name = " ".join((names.get(span.class_id) or f"class {span.class_id}").split())
        name = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        cues.append(f"{number}\n{_clock(span.start)} --> {_clock(span.end)}\n{name} {span.probability:.0%}\n")
    return "\n".join(cues)


def _clock(seconds):
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.000"


def _check_tracks(folder):
    """Raises `UserError` unless all that a folder holds are tracks, which may be replaced."""
    if not files.is_dir(folder):
        raise UserError(f"The tracks of videos make the folder {folder}, but there is a file of that name.")
    if other := [name for name in files.list_dir(folder) if not name.endswith(".vtt")]:
        raise UserError(f"The folder {folder} must hold tracks (.vtt) only to be replaced, but holds {other[0]}.")


def _ending(path):
    return re.search(r"(\.[A-Za-z]+)?/*$", path).group(1) or ""


_WRITERS = {".csv": _write_csv, ".parquet": _write_parquet, ".vtt": _write_tracks}
