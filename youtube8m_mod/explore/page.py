"""The page: one HTML file with its data, its script and the drawing library in it, that needs no network.

What a browser has to do at first is small: the data of a video or class are a base64 text each, which is decoded when
the video or class is looked at.
"""

import base64
import html
import json
from importlib import resources
from typing import Any

import numpy as np

from youtube8m_mod import figures, files
from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.errors import UserError
from youtube8m_mod.explore.contents import RANK, Contents

_LEVELS = 65_534  # A value from 0 to 1 is stored as 1 to 65,535; 0 says that nothing is known.


def write_page(path: files.Path, contents: Contents, top_k: int = 20) -> int:
    """Writes the page of a `Contents`, whole or not at all; returns its size in bytes.

    Args:
        top_k: classes of a video that are shown, besides those with spans of truth.
    """
    script = drawing_library()
    data = page_data(contents, top_k)
    # What ends a script element would do so within a text, too.
    encoded = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    parts = {
        "TITLE": html.escape(contents.title),
        "COLOURS": _colours(),
        "STYLE": _text("page.css"),
        "DATA": encoded,
        "LIBRARY": script,
        "SCRIPT": _text("page.js"),
    }
    pieces = _text("page.html").split("@@")  # Text, name, text, name, ..., text.
    page = "".join(parts[piece] if number % 2 else piece for number, piece in enumerate(pieces)).encode()
    with files.write_file(path, "wb") as file:
        file.write(page)
    return len(page)


def page_data(contents: Contents, top_k: int = 20) -> dict[str, Any]:
    """What the page's script reads, as a JSON-able dict.

    Values are base64 of little-endian uint16: round(65,534 value) + 1, or the rank itself; 0 where nothing is known.
    A video's are its strips one after the other, one value a segment. A best segment is three numbers: the video's
    index, the segment's, the value.
    """
    rows = [video.rows(top_k) for video in contents.videos]
    labels = {c for video in contents.videos if video.truth for c in video.truth.labels}
    shown = sorted({c for row in rows for c in row} | {c for c, found in contents.best.items() if found} | labels)
    places = {class_id: place for place, class_id in enumerate(shown)}
    videos = []
    for video, classes in zip(contents.videos, rows):
        strips = np.concatenate([video.strip(c) for c in classes] or [np.empty(0)])
        own = [video.video_probabilities.get(c, np.nan) for c in classes]
        item = {
            "id": video.id,
            "segments": video.num_segments,
            "classes": [places[c] for c in classes],
            "strips": _pack(_levels(strips, contents.quantity == RANK)),
        }
        if video.video_probabilities:
            item["own"] = _pack(_levels(own))
        if video.truth:
            item["labels"] = [places[c] for c in video.truth.labels]
            item["truth"] = [[places[c], start, end, int(present)] for c, start, end, present in video.truth.spans]
        videos.append(item)
    classes = []
    for class_id in shown:
        best = np.array(contents.best.get(class_id) or np.empty((0, 3)), np.float64)
        numbers, segments = best[:, :2].astype(np.int64).T
        levels = _levels(best[:, 2], contents.quantity == RANK)
        packed = np.stack([numbers & 0xFFFF, numbers >> 16, segments, levels], axis=1)
        classes.append({"id": class_id, "name": contents.names.get(class_id) or "", "best": _pack(packed.ravel())})
    return {
        "quantity": contents.quantity,
        "seconds": SEGMENT_FRAMES,
        "notes": contents.notes,
        "classes": classes,
        "videos": videos,
    }


def drawing_library() -> str:
    """The text of plotly.js, which the package plotly brings along."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise UserError(
            f'The page is drawn by plotly, which cannot be loaded ({error}): "pip install plotly".'
        ) from None
    return get_plotlyjs()


def _levels(values, ranks=False):
    """Values as integers from 0 to 65,535."""
    values = np.asarray(values, np.float64)
    known = ~np.isnan(values)
    result = np.zeros(values.shape, np.int64)
    result[known] = np.rint(1 / values[known] if ranks else 1 + _LEVELS * np.clip(values[known], 0, 1)).astype(np.int64)
    return np.clip(result, 0, _LEVELS + 1)


def _pack(numbers):
    return base64.b64encode(np.asarray(numbers).astype("<u2").tobytes()).decode()


def _colours():
    """The project's colours as variables of the style sheet, light and dark."""
    blocks = []
    for name, scale in (("light", figures.SEQUENTIAL), ("dark", figures.SEQUENTIAL_DARK)):
        lines = [f"--{name}-scale: {','.join(scale)};"]
        lines += [f"--{name}-truth: {figures.TRUTH};"]
        blocks += lines
    return ":root { " + " ".join(blocks) + " }"


def _text(name):
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
