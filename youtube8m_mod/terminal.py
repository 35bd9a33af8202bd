"""What a person sees while a command works and when it is done: progress, tables, JSON."""

import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tqdm import tqdm

tqdm.set_lock(threading.RLock())  # tqdm's own is a semaphore of the system, which outlives a process that is killed.


def progress(
    iterable: Iterable | None = None,
    *,
    total: float | None = None,
    unit: str = "it",
    description: str | None = None,
    initial: int = 0,
) -> tqdm:
    """A progress line on stderr with rate and remaining time (a `tqdm.tqdm`).

    Where stderr is no terminal, a line is written every ten seconds at most.
    """
    terminal = sys.stderr.isatty()
    return tqdm(
        iterable,
        total=total,
        unit=unit,
        desc=description,
        initial=initial,
        leave=True,
        mininterval=0.5 if terminal else 10,
        maxinterval=60,
        dynamic_ncols=terminal,
        file=sys.stderr,
    )


def format_cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def format_table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | Mapping[str, str] | None = None, markdown: bool = False
) -> str:
    """Text of a table.

    Args:
        rows: a list of dicts; a missing key shows as "-".
        columns: keys in the order to show, or a dict key -> heading; default: the first row's keys.
        markdown: a markdown table instead of aligned text.
    """
    columns = columns or list(rows[0])
    headings = dict(columns) if isinstance(columns, dict) else {key: key for key in columns}
    cells = [[format_cell(row.get(key)) for key in headings] for row in rows]
    numeric = [all(isinstance(row.get(key), (int, float, type(None))) for row in rows) for key in headings]
    widths = [max(len(text) for text in column) for column in zip(headings.values(), *cells)]

    def line(texts):
        padded = [
            text.rjust(width) if right else text.ljust(width) for text, width, right in zip(texts, widths, numeric)
        ]
        return "| " + " | ".join(padded) + " |" if markdown else "  ".join(padded).rstrip()

    if markdown:
        rule = (
            "|" + "|".join("-" * (width + 1) + (":" if right else "-") for width, right in zip(widths, numeric)) + "|"
        )
    else:
        rule = "  ".join("-" * width for width in widths)
    return "\n".join([line(headings.values()), rule, *map(line, cells)])
