"""Pictures of runs: the losses over time (Figures 3 and 4), and the classes of a video along its time."""

import numpy as np
from matplotlib.figure import Figure

COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377")  # Told apart by the colour-blind, too.


def save_figure(figure, path):
    """Writes a figure as PNG, whole or not at all."""
    from youtube8m_mod import files

    with files.write_file(path, "wb") as file:
        figure.savefig(file, format="png", dpi=130)


def _plain(axes):
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


def level_name(level, depth):
    """Name of a level of the tree in a legend."""
    if level == 0:
        return "root" if depth else "model"
    return "leaves" if level == depth else "mixtures" if depth == 2 else f"level {level}"


def loss_figure(histories, branching, temperatures):
    """Label and distillation losses over the steps of a run's phases (Figures 3 and 4).

    Args:
        histories: {phase: list of dicts as `trainer.read_history` gives}.
        branching: of the model; a level's losses are shown as the mean over its nodes.
        temperatures: {phase: T}.
    """
    depth = len(branching)
    nodes = np.cumprod([1, *branching])
    figure = Figure(figsize=(10, 3.1 * len(histories)), layout="constrained")
    panels = figure.subplots(len(histories), 2, squeeze=False)
    for (labels, distillation), (phase, history) in zip(panels, histories.items()):
        steps = [line["step"] for line in history]
        for level in range(depth + 1):
            style = dict(color=COLOURS[level % len(COLOURS)], linewidth=1.6, label=level_name(level, depth))
            labels.plot(steps, [line[f"bce_level_{level}"] / nodes[level] for line in history], **style)
            if level and f"kl_level_{level}" in history[0]:
                style["label"] = f"{level_name(level - 1, depth)} to {level_name(level, depth)}"
                distillation.plot(steps, [line[f"kl_level_{level}"] / nodes[level] for line in history], **style)
        labels.set_title(f"{phase}: label loss (BCE, mean of a level's nodes)", loc="left", fontsize=10)
        distillation.set_title(
            f"{phase}: distillation loss (KL, T = {temperatures[phase]:g}, mean of a level's nodes)",
            loc="left",
            fontsize=10,
        )
        for axes in (labels, distillation):
            _plain(axes)
            axes.set_xlabel("step")
            axes.set_ylim(bottom=0)
            if axes.lines:
                axes.legend(frameon=False, fontsize=9)
            else:
                axes.text(0.5, 0.5, "no distillation", transform=axes.transAxes, ha="center", color="#777777")
    return figure


def timeline_figure(videos, names=None):
    """Probability of classes along time against the truth, a panel a video.

    Args:
        videos: list of dicts: "id"; "starts" (n,) of the segments, s; "classes", ids to show; "probabilities"
            (n, number of classes shown); "scenes", the truth: dicts with "start", "end" (s) and "labels".
        names: list of class names, or None.
    """
    figure = Figure(figsize=(10, 2.1 * len(videos)), layout="constrained")
    for axes, video in zip(figure.subplots(len(videos), 1, squeeze=False)[:, 0], videos):
        end = max(scene["end"] for scene in video["scenes"])
        height = 0.09
        for row, class_id in enumerate(video["classes"]):
            colour = COLOURS[row % len(COLOURS)]
            name = names[class_id] if names and class_id < len(names) else f"class {class_id}"
            edges = np.append(video["starts"], min(video["starts"][-1] + 5, end))
            axes.stairs(video["probabilities"][:, row], edges, color=colour, linewidth=1.8, label=name, baseline=None)
            spans = [
                (scene["start"], scene["end"] - scene["start"])
                for scene in video["scenes"]
                if class_id in scene["labels"]
            ]
            axes.broken_barh(spans, (-height * (row + 1.2), height * 0.8), color=colour)
        _plain(axes)
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
