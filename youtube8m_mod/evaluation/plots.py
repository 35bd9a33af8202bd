"""Pictures of a scored submission: average precision of every class, precision and recall of the best and the worst."""

import os

import numpy as np

from youtube8m_mod import files

_BEST, _WORST = "#1b7837", "#b2182b"


def precision_recall(result):
    """(recall, precision) of a `ClassResult` after each rated id of its list, float (n,) each."""
    hits = np.cumsum(result.relevance)
    return hits / result.positives, hits / np.arange(1, len(hits) + 1)


def write_plots(folder, result, names, shown=6):
    """Writes average_precision.png and precision_recall.png into `folder`; returns their paths.

    Args:
        result: a `Result` with a scored class at least.
        names: {class: name}.
        shown: how many of the best and of the worst classes have a curve.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    ordered = sorted(result.classes, key=lambda c: (-c.average_precision, c.class_id))
    label = f"MAP@{result.top_n:,}" if result.top_n else "MAP"
    paths = []
    for name, draw in (("average_precision.png", _average_precisions), ("precision_recall.png", _precision_recalls)):
        figure = draw(pyplot, ordered, names, shown, f"{label} = {result.map:.4f}")
        path = os.path.join(folder, name)
        with files.write_file(path, "wb") as file:
            figure.savefig(file, format="png", dpi=120, bbox_inches="tight")
        pyplot.close(figure)
        paths.append(path)
    return paths


def _name(result, names):
    name = names.get(result.class_id) or f"class {result.class_id}"
    return name if len(name) <= 32 else name[:31] + "…"


def _average_precisions(pyplot, ordered, names, shown, title):
    values = np.array([c.average_precision for c in ordered])
    figure, (curve, bars) = pyplot.subplots(1, 2, figsize=(13, 5), width_ratios=(1.6, 1), layout="constrained")
    places = np.arange(1, len(values) + 1)
    curve.fill_between(places, values, step="mid", color="#4393c3", alpha=0.35, linewidth=0)
    curve.step(places, values, where="mid", color="#2166ac", linewidth=1.4)
    curve.axhline(values.mean(), color="#444444", linestyle="--", linewidth=1)
    curve.annotate(
        title, (places[-1], values.mean()), xytext=(0, 4), textcoords="offset points", ha="right", color="#444444"
    )
    curve.set(
        xlim=(0.5, len(values) + 0.5),
        ylim=(0, 1),
        xlabel="class, by its average precision",
        ylabel="average precision",
        title=f"Average precision of {len(values):,} classes",
    )
    extremes = ordered if len(ordered) <= 2 * shown else ordered[:shown] + ordered[-shown:]
    colors = [_BEST if i < len(extremes) / 2 else _WORST for i in range(len(extremes))]
    heights = [c.average_precision for c in extremes]
    rows = np.arange(len(extremes), dtype=float)
    rows[len(rows) // 2 :] += 0.6 * (len(ordered) > 2 * shown)  # A gap stands for the classes between.
    bars.barh(rows, heights, color=colors, height=0.75)
    for row, height in zip(rows, heights):
        bars.text(height + 0.01, row, f"{height:.3f}", va="center", fontsize=8)
    bars.set_yticks(rows, [_name(c, names) for c in extremes], fontsize=9)
    bars.invert_yaxis()
    bars.set(xlim=(0, 1.12), xlabel="average precision", title="Best and worst")
    _tidy(curve, bars)
    return figure


def _precision_recalls(pyplot, ordered, names, shown, title):
    figure, panels = pyplot.subplots(1, 2, figsize=(13, 5.4), sharex=True, sharey=True, layout="constrained")
    drawable = [c for c in ordered if c.found]  # Where no positive was found the curve is the axis.
    halves = (drawable[:shown], drawable[-shown:][::-1])
    headings = ("Best classes", f"Worst classes ({len(ordered) - len(drawable):,} more have no positive in their list)")
    for panel, chosen, heading, colormap in zip(panels, halves, headings, ("viridis", "plasma")):
        colors = pyplot.get_cmap(colormap)(np.linspace(0.05, 0.85, len(chosen)))
        for result, color in zip(chosen, colors):
            recall, precision = precision_recall(result)
            panel.plot(
                recall,
                precision,
                color=color,
                linewidth=1.6,
                marker="o" if len(recall) < 3 else None,
                label=f"{_name(result, names)}  AP {result.average_precision:.3f}, {result.positives} positives",
            )
        panel.set(xlim=(0, 1.02), ylim=(0, 1.04), xlabel="recall", title=heading)
        if chosen:
            panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), fontsize=8, frameon=False)
    panels[0].set_ylabel("precision among the rated segments of the list")
    figure.suptitle(title, fontsize=11)
    _tidy(*panels)
    return figure


def _tidy(*panels):
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25)
        panel.set_axisbelow(True)
