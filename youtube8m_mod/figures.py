"""Pictures of runs: the losses over time (Figures 3 and 4), and the classes of videos along their time.

Colours and styles of axes are set here for all that the project draws: figures, plots, reports, pages. matplotlib is
loaded by the first figure.
"""

import collections
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from youtube8m_mod.files import Path

# Paul Tol's "bright": distinguishable for the colour-blind, too.
COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377")
TRUTH = COLOURS[1]  # What is true, beside what a model says.
GOOD, BAD, QUIET = COLOURS[0], COLOURS[1], "#777777"
# From 0 to 1 in one hue, whose lightness alone says how much; on a dark ground the other way round.
SEQUENTIAL = ("#EEF2F7", "#A9C0DA", "#4477AA", "#1D4470", "#0B2038")
SEQUENTIAL_DARK = ("#222B37", "#2F4F75", "#4477AA", "#8DB6DE", "#E3F0FF")
_GRID = "#DDDDDD"


def new_figure(
    rows: int = 1, columns: int = 1, size: tuple[float, float] = (10, 3.4), **options: Any
) -> "tuple[Figure, np.ndarray]":
    """A figure of `size` inches and its axes, an array `(rows, columns)`; `options` as of matplotlib's `subplots`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def style_axes(
    axes: "Axes", title: str | None = None, xlabel: str | None = None, grid: Literal["x", "y", "both"] = "y"
) -> None:
    """The look of all axes: no frame at the top and right, a light grid behind, the title at the left."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    if title is not None:
        axes.set_title(title, loc="left", fontsize=10)
    if xlabel is not None:
        axes.set_xlabel(xlabel)


def save_figure(figure: "Figure", path: "Path") -> None:
    """Writes a figure as PNG, whole or not at all."""
    from youtube8m_mod import files

    with files.write_file(path, "wb") as file:
        figure.savefig(file, format="png", dpi=130)


def level_name(level: int, depth: int) -> str:
    """Name of a level of the tree in a legend."""
    if level == 0:
        return "root" if depth else "model"
    return "leaves" if level == depth else "mixtures" if depth == 2 else f"level {level}"


def loss_figure(
    histories: Mapping[str, Sequence[Mapping[str, float]]], branching: Sequence[int], temperatures: Mapping[str, float]
) -> "Figure":
    """Label and distillation losses over the steps of a run's phases (Figures 3 and 4).

    Args:
        histories: {phase: list of dicts as `trainer.read_history` gives}.
        branching: of the model; a level's losses are shown as the mean over its nodes.
        temperatures: {phase: T}.
    """
    depth = len(branching)
    nodes = np.cumprod([1, *branching])
    figure, panels = new_figure(len(histories), 2, (10, 3.1 * len(histories)))
    for (labels, distillation), (phase, history) in zip(panels, histories.items()):
        steps = [line["step"] for line in history]
        for level in range(depth + 1):
            style = dict(color=COLOURS[level % len(COLOURS)], linewidth=1.6, label=level_name(level, depth))
            labels.plot(steps, [line[f"bce_level_{level}"] / nodes[level] for line in history], **style)
            if level and f"kl_level_{level}" in history[0]:
                style["label"] = f"{level_name(level - 1, depth)} to {level_name(level, depth)}"
                distillation.plot(steps, [line[f"kl_level_{level}"] / nodes[level] for line in history], **style)
        titles = (
            f"{phase}: label loss (BCE, mean of a level's nodes)",
            f"{phase}: distillation loss (KL, T = {temperatures[phase]:g}, mean of a level's nodes)",
        )
        for axes, title in zip((labels, distillation), titles):
            style_axes(axes, title, "step")
            axes.set_ylim(bottom=0)
            if axes.lines:
                axes.legend(frameon=False, fontsize=9)
            else:
                axes.text(0.5, 0.5, "no distillation", transform=axes.transAxes, ha="center", color=QUIET)
    return figure


def timeline_figure(videos: Sequence[Mapping[str, Any]], names: Mapping[int, str] | None = None) -> "Figure":
    """Probability of classes along time against the truth, a panel a video.

    Args:
        videos: list of dicts: "id"; "starts" (n,) of the segments, s; "classes", ids to show; "probabilities"
            (n, number of classes shown); "scenes", the truth: dicts with "start", "end" (s) and "labels".
        names: {class: name}, or None.
    """
    figure, panels = new_figure(len(videos), 1, (10, 2.1 * len(videos)))
    for axes, video in zip(panels[:, 0], videos):
        end = max(scene["end"] for scene in video["scenes"])
        height = 0.09
        for row, class_id in enumerate(video["classes"]):
            colour = COLOURS[row % len(COLOURS)]
            name = (names or {}).get(class_id) or f"class {class_id}"
            edges = np.append(video["starts"], min(video["starts"][-1] + 5, end))
            axes.stairs(video["probabilities"][:, row], edges, color=colour, linewidth=1.8, label=name, baseline=None)
            spans = [
                (scene["start"], scene["end"] - scene["start"])
                for scene in video["scenes"]
                if class_id in scene["labels"]
            ]
            axes.broken_barh(spans, (-height * (row + 1.2), height * 0.8), color=colour)
        style_axes(axes)
        axes.set_xlim(0, end)
        axes.set_ylim(-height * (len(video["classes"]) + 0.6), 1.02)
        axes.set_yticks([0, 0.5, 1])
        axes.set_title(
            f"{video['id']}   lines: probability of the segment; bars below: where the class truly is",
            loc="left",
            fontsize=9,
        )
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.set_xlabel("time, s")
    return figure


def rated_segments_figure(videos: Sequence[Mapping[str, Any]], names: Mapping[int, str] | None = None) -> "Figure":
    """Probability of rated segments over time, class by class, beside the ratings; a panel a video.

    Args:
        videos: list of dicts: "id"; "ratings", a list of (class, start of the segment in s, whether the class was found
            there, probability).
        names: {class: name}, or None.
    """
    figure, panels = new_figure(len(videos), 1, (6, 0.5 + 1.6 * len(videos)), sharex=True, sharey=True)
    for axes, video in zip(panels[:, 0], videos):
        classes = collections.Counter(class_id for class_id, *_ in video["ratings"])
        for colour, (class_id, _) in zip(COLOURS, classes.most_common()):
            own = [rating[1:] for rating in video["ratings"] if rating[0] == class_id]
            starts, positive, probabilities = map(np.array, zip(*own))
            times = starts + 2.5
            axes.plot(times, probabilities, color=colour, linewidth=1, alpha=0.4)
            for marked, face in ((positive, colour), (~positive, "white")):
                axes.plot(times[marked], probabilities[marked], "o", color=colour, markerfacecolor=face, markersize=8)
            axes.plot([], [], "o", color=colour, label=(names or {}).get(class_id) or f"class {class_id}")
        style_axes(axes, video["id"])
        axes.set(ylim=(-0.08, 1.08), yticks=[0, 0.5, 1])
        axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5), handletextpad=0.1)
    axes.set_xlabel("time, s")
    axes.set_xlim(left=0)
    figure.suptitle("probability of rated segments (filled: present, hollow: absent)", fontsize=11)
    return figure
