"""Pictures of a scored submission: average precision of every class, precision and recall of the best and the worst."""

import itertools
import os
from collections.abc import Mapping

import numpy as np

from youtube8m_mod import figures
from youtube8m_mod.evaluation.mean_average_precision import ClassResult, Result


def precision_recall(result: ClassResult) -> tuple[np.ndarray, np.ndarray]:
    """(recall, precision) of a `ClassResult` after each rated id of its list, float (n,) each."""
    hits = np.cumsum(result.relevance)
    return hits / result.positives, hits / np.arange(1, len(hits) + 1)


def write_plots(folder: str, result: Result, names: Mapping[int, str], shown: int = 6) -> list[str]:
    """Writes average_precision.png and precision_recall.png into `folder`; returns their paths.

    Args:
        result: a `Result` with a scored class at least.
        names: {class: name}.
        shown: how many of the best and of the worst classes have a curve.
    """
    ordered = sorted(result.classes, key=lambda c: (-c.average_precision, c.class_id))
    label = f"MAP@{result.top_n:,}" if result.top_n else "MAP"
    paths = []
    for name, draw in (("average_precision.png", _average_precisions), ("precision_recall.png", _precision_recalls)):
        figure = draw(ordered, names, shown, f"{label} = {result.map:.4f}")
        paths.append(os.path.join(folder, name))
        figures.save_figure(figure, paths[-1])
    return paths


def _name(result, names):
    name = names.get(result.class_id) or f"class {result.class_id}"
    return name if len(name) <= 32 else name[:31] + "…"


def _average_precisions(ordered, names, shown, title):
    values = np.array([c.average_precision for c in ordered])
    figure, panels = figures.new_figure(1, 2, (13, 5), width_ratios=(1.6, 1))
    curve, bars = panels[0]
    places = np.arange(1, len(values) + 1)
    curve.fill_between(places, values, step="mid", color=figures.COLOURS[0], alpha=0.3, linewidth=0)
    curve.step(places, values, where="mid", color=figures.COLOURS[0], linewidth=1.4)
    curve.axhline(values.mean(), color=figures.QUIET, linestyle="--", linewidth=1)
    curve.annotate(
        title, (places[-1], values.mean()), xytext=(0, 4), textcoords="offset points", ha="right", color=figures.QUIET
    )
    curve.set(
        xlim=(0.5, len(values) + 0.5),
        ylim=(0, 1),
        ylabel="average precision",
    )
    extremes = ordered if len(ordered) <= 2 * shown else ordered[:shown] + ordered[-shown:]
    colors = [figures.GOOD if i < len(extremes) / 2 else figures.BAD for i in range(len(extremes))]
    heights = [c.average_precision for c in extremes]
    rows = np.arange(len(extremes), dtype=float)
    rows[len(rows) // 2 :] += 0.6 * (len(ordered) > 2 * shown)  # A gap stands for the classes between.
    bars.barh(rows, heights, color=colors, height=0.75)
    for row, height in zip(rows, heights):
        bars.text(height + 0.01, row, f"{height:.3f}", va="center", fontsize=8)
    bars.set_yticks(rows, [_name(c, names) for c in extremes], fontsize=9)
    bars.invert_yaxis()
    bars.set(xlim=(0, 1.12))
    figures.style_axes(curve, f"average precision of {len(values):,} classes", "class, by its average precision")
    figures.style_axes(bars, "best and worst classes", "average precision", grid="x")
    return figure


def _precision_recalls(ordered, names, shown, title):
    figure, panels = figures.new_figure(1, 2, (13, 5.4), sharex=True, sharey=True)
    panels = panels[0]
    drawable = [c for c in ordered if c.found]  # Where no positive was found the curve is the axis.
    halves = (drawable[:shown], drawable[-shown:][::-1])
    headings = ("best classes", f"worst classes ({len(ordered) - len(drawable):,} more have no positive in their list)")
    for panel, chosen, heading in zip(panels, halves, headings):
        for result, color in zip(chosen, itertools.cycle(figures.COLOURS)):
            recall, precision = precision_recall(result)
            panel.plot(
                recall,
                precision,
                color=color,
                linewidth=1.6,
                marker="o" if len(recall) < 3 else None,
                label=f"{_name(result, names)}  AP {result.average_precision:.3f}, {result.positives} positives",
            )
        panel.set(xlim=(0, 1.02), ylim=(0, 1.04))
        figures.style_axes(panel, heading, "recall")
        if chosen:
            panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), fontsize=8, frameon=False)
    panels[0].set_ylabel("precision among the rated segments of the list")
    figure.suptitle(title, fontsize=11)
    return figure
