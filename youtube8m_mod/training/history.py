"""The log of a run: averages of the loss terms, in `history.jsonl` and for TensorBoard."""

import json
import time
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from youtube8m_mod import files
from youtube8m_mod.errors import UserError
from youtube8m_mod.terminal import format_table

_SECTIONS = {
    "bce_level_": "bce/level_",
    "kl_level_": "kl/level_",
    "teacher_level_": "teacher/level_",
    "val_": "validation/",
}


class Interval:
    """Sums of loss terms since the last line of the log.

    Attributes:
        sums: {"steps", "examples", and each term: its sum}; part of a checkpoint's state.
    """

    def __init__(self, sums: dict[str, float]):
        self.sums = sums
        self.started, self.examples = time.monotonic(), 0

    def add(self, terms: Mapping[str, float], examples: int) -> None:
        self.examples += examples  # For the rate: of this process alone.
        for name, value in {"steps": 1, **terms}.items():
            self.sums[name] = self.sums.get(name, 0) + value

    def averages(self) -> dict[str, float]:
        """The means of the terms, and examples a second."""
        seconds = time.monotonic() - self.started
        return {name: value / self.sums["steps"] for name, value in self.sums.items() if name != "steps"} | {
            "examples_per_second": self.examples / seconds
        }


class History:
    """Writes the log of a run; a resumed run drops the lines after the checkpoint that it goes on from."""

    def __init__(self, train_dir: str, step: int):
        self.path = f"{train_dir}/history.jsonl"
        found = read_history(train_dir)
        self.lines = [line for line in found if line["step"] <= step]
        if len(self.lines) < len(found):
            self._write()
        self.writer = tf.summary.create_file_writer(f"{train_dir}/events", filename_suffix=f".{step}")

    def close(self) -> None:
        self.writer.close()

    @property
    def last(self) -> dict[str, float] | None:
        """The averages of the last line; None where there is none."""
        return {name: value for name, value in self.lines[-1].items() if name != "step"} if self.lines else None

    def add(self, step: int, averages: Mapping[str, float]) -> None:
        self.lines.append({"step": step, **averages})
        with self.writer.as_default(step):
            write_scalars(averages)
        self._write()

    def extend(self, averages: Mapping[str, float]) -> None:
        """Adds to the last line."""
        step = self.lines[-1]["step"]
        self.lines[-1] |= averages
        with self.writer.as_default(step):
            write_scalars(averages)
        self._write()

    def _write(self):
        with files.write_file(self.path) as file:
            file.writelines(json.dumps(line) + "\n" for line in self.lines)


def write_scalars(values: Mapping[str, float]) -> None:
    """Writes {name as in the log: value} for TensorBoard, whose sections are what stands before a slash."""
    for name, value in values.items():
        for prefix, section in _SECTIONS.items():
            if name.startswith(prefix):
                name = section + name.removeprefix(prefix)
        tf.summary.scalar(name, value)


def read_history(train_dir: str) -> list[dict[str, float]]:
    """The logged averages of a run: a list of dicts with "step" and the metric names.

    Raises:
        UserError: naming file and line that is no log line.
    """
    path = f"{train_dir}/history.jsonl"
    if not files.exists(path):
        return []
    lines = []
    with files.open_file(path, "rb") as file:
        for number, text in enumerate(file, 1):
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                line = None
            if (
                not isinstance(line, dict)
                or not all(type(value) in (int, float) for value in line.values())
                or type(line.get("step")) is not int
            ):
                raise UserError(
                    f"{path}, line {number}, must be a JSON object of numbers with a step; without the "
                    "file the run goes on and logs from there."
                )
            lines.append(line)
    return lines


def summary_table(result: Mapping[str, Any]) -> str:
    """The table that a training command ends with."""
    return format_table([{"quantity": name.replace("_", " "), "value": value} for name, value in result.items()])
