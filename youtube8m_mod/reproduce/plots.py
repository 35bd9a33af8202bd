"""The report's pictures. Each function takes the results' entries and gives a figure, or None where numbers lack."""

import math
from typing import TYPE_CHECKING

import numpy as np

from youtube8m_mod.figures import COLOURS, QUIET, loss_figure, new_figure, style_axes
from youtube8m_mod.reproduce.rows import GAP_ROWS, ROWS, TEMPERATURES, TRAININGS, VARIATIONS
from youtube8m_mod.reproduce.schedule import key
from youtube8m_mod.reproduce.tables import Entries, Summary, paired, row_scores, score_of, scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PARTS = (("root", "mixture"), ("average", "plain average"), ("leaf", "one leaf"))


def losses(entries: Entries, name: str, seed: int) -> "Figure | None":
    """Figures 3 and 4 from our logs: label and distillation losses of a model's two phases."""
    finetuning = TRAININGS[name]
    phases = {"pretraining": finetuning.pretraining, "finetuning": name}
    found = {phase: entries.get(key(training, seed)) for phase, training in phases.items()}
    if not all(found.values()):
        return None
    return loss_figure(
        {phase: entry["history"] for phase, entry in found.items()},
        finetuning.tree,
        {phase: entry["phase"]["temperature"] for phase, entry in found.items()},
    )


def regularisation(entries: Entries, seed: int) -> "Figure | None":
    """L2 and label loss over the finetuning of models of different kinds (Figure 4)."""
    names = ("finetune_nextvlad", "finetune_mix_nextvlad_T0", "finetune_mix_nextvlad_T20", "finetune_mod_nextvlad_T20")
    found = {name: entries[key(name, seed)] for name in names if key(name, seed) in entries}
    if not found:
        return None
    figure, panels = _panels(2, (10, 3.2))
    for index, (name, entry) in enumerate(found.items()):
        title = _training_title(name)
        steps = [line["step"] for line in entry["history"]]
        panels[0].plot(steps, [line["l2"] for line in entry["history"]], color=COLOURS[index], label=title)
        nodes = entry["history"][0].keys()
        total = [
            sum(line[f"bce_level_{level}"] for level in range(4) if f"bce_level_{level}" in nodes) / _num_nodes(name)
            for line in entry["history"]
        ]
        panels[1].plot(steps, total, color=COLOURS[index], label=title)
    style_axes(panels[0], "finetuning: regularisation loss (L2 of all classifiers)", "step")
    style_axes(panels[1], "finetuning: label loss (BCE, mean of all nodes)", "step")
    for axes in panels:
        axes.set_ylim(bottom=0)
        _legend(axes)
    return figure


def map_against_temperature(entries: Entries) -> "Figure | None":
    """MAP of the mixture of 3 against T: here, and in the paper."""
    figure, (here, paper) = _panels(2, (10, 3.4))
    positions = range(len(TEMPERATURES))
    for part, label, colour in (
        ("root", "mixture", COLOURS[0]),
        ("average", "plain average of its leaves", COLOURS[2]),
        ("shared root", "mixture, shared candidates", COLOURS[4]),
        ("leaf", "one leaf, shared candidates", COLOURS[1]),
    ):
        found = [Summary.of(scores(entries, f"finetune_mix_nextvlad_T{t}", part).values()) for t in TEMPERATURES]
        if not all(found):
            continue
        _errorbar(here, positions, found, label=label, color=colour)
    if not here.containers:
        return None
    single = Summary.of(row_scores(entries, ROWS["nextvlad"]).values())
    if single:
        here.axhline(single.mean, color=QUIET, linestyle="--", linewidth=1.2, label="single NeXtVLAD")
    paper.plot(
        positions,
        [ROWS[f"mix_T{t}"].paper[0] for t in TEMPERATURES],
        "o-",
        color=COLOURS[0],
        label="mixture, private leaderboard",
    )
    paper.axhline(ROWS["nextvlad"].paper[0], color=QUIET, linestyle="--", linewidth=1.2, label="single NeXtVLAD")
    for axes, title in ((here, "here: test MAP, mean and deviation over seeds"), (paper, "the paper")):
        axes.set_xticks(positions, [f"{t}" for t in TEMPERATURES])
        style_axes(axes, title, "temperature T of finetuning (0: no distillation)")
        _legend(axes)
    return figure


def map_against_parameters(entries: Entries) -> "Figure | None":
    """MAP against the number of parameters: here, and in the paper."""
    figure, (here, paper) = _panels(2, (10, 4.0))
    points = {here: [], paper: []}  # (name, parameters, MAP) of each.
    names = (
        "nextvlad_scratch",
        "nextvlad",
        "nextvlad_large",
        "mod_leaf",
        "mix_T0",
        "mix_T20",
        "mix_large",
        "mod",
        "deep",
    )
    for index, name in enumerate(names):
        row = ROWS[name]
        colour = COLOURS[index % len(COLOURS)]
        found = Summary.of(row_scores(entries, row).values())
        entry = next((e for k, e in entries.items() if k.rpartition("/")[0] == row.training), None)
        if found:
            own = entry["parameters"] / (1 if row.part == "root" else math.prod(TRAININGS[row.training].tree))
            here.errorbar(own, found.mean, found.std or 0, fmt="o", color=colour, capsize=3)
            points[here].append((name, own, found.mean))
        if row.paper:
            size = float(row.paper_parameters.rstrip("M")) * 1e6
            paper.plot(size, row.paper[0], "o", color=colour)
            points[paper].append((name, size, row.paper[0]))
    for axes, own in points.items():
        scores = [score for _, _, score in own]
        near = (max(scores) - min(scores)) / 10 if scores else 0
        for name, size, score in own:
            # Names of rows that lie close together stand apart: the upper one's above its point, the others' below.
            below = any(0 < other - score < near and 0.8 < size / beside < 1.25 for _, beside, other in own)
            offset = (5, -10 if below else 4)
            axes.annotate(name, (size, score), xytext=offset, textcoords="offset points", fontsize=8)
    for axes, title in ((here, "here: test MAP"), (paper, "the paper: private leaderboard")):
        axes.set_xscale("log")
        axes.margins(x=0.18)
        style_axes(axes, title, "trainable parameters")
    return figure


def map_against_finetuning_size(entries: Entries) -> "Figure | None":
    """MAP on shared candidates against the number of rated segments in finetuning, and what distillation brings."""
    figure, (absolute, relative) = _panels(2, (10, 3.4))
    models = (
        ("finetune_nextvlad", "single", COLOURS[1]),
        ("finetune_mix_nextvlad_T0", "mixture of 3, T = 0", COLOURS[2]),
        ("finetune_mix_nextvlad_T20", "mixture of 3, T = 20", COLOURS[0]),
    )
    sizes = ("_eighth", "_half", "")
    differences = []
    for name, label, colour in models:
        found = [
            (_examples(entries, name + size), Summary.of(scores(entries, name + size, "root", shared=True).values()))
            for size in sizes
        ]
        found = [(examples, summary) for examples, summary in found if summary]
        if len(found) < 2:
            return None
        _errorbar(absolute, *zip(*found), label=label, color=colour)
    for size in sizes:
        difference = paired(
            *(scores(entries, f"finetune_mix_nextvlad_T{t}{size}", "root", shared=True) for t in (20, 0))
        )
        if difference:
            differences.append((_examples(entries, f"finetune_mix_nextvlad_T20{size}"), difference))
    if differences:
        _errorbar(relative, *zip(*differences), label="T = 20 minus T = 0", color=COLOURS[0])
    relative.axhline(0, color=QUIET, linewidth=1)
    for axes, title in (
        (absolute, "test MAP on shared candidates"),
        (relative, "what distillation adds there (paired over seeds)"),
    ):
        style_axes(axes, title, "rated segments in finetuning")
        _legend(axes)
    return figure


def learning_curves(entries: Entries) -> "Figure | None":
    """MAP on test and validation videos over finetuning."""
    names = ("finetune_nextvlad", "finetune_mix_nextvlad_T0", "finetune_mix_nextvlad_T20", "finetune_mod_nextvlad_T20")
    return _curves(entries, [(name, "root", _training_title(name)) for name in names], ("test", "validation"), "MAP")


def gap_curves(entries: Entries) -> "Figure | None":
    """GAP on test and training records over the training."""
    lines = [
        ("gap_nextvlad", "root", "single"),
        ("gap_mix_nextvlad_T0", "root", "mixture, T = 0"),
        ("gap_mix_nextvlad_T20", "root", "mixture, T = 20"),
        ("gap_mod_nextvlad_T20", "root", "MOD, T = 20"),
        ("gap_mix_nextvlad_T0", "average", "T = 0, plain average"),
        ("gap_mix_nextvlad_T20", "average", "T = 20, plain average"),
    ]
    return _curves(entries, lines, ("test", "train"), "GAP")


def distillation_over_time(entries: Entries) -> "Figure | None":
    """What distillation adds over a training, by part of the mixture: where it begins to help."""
    phases = (("MAP in finetuning, shared candidates", "finetune"), ("GAP in a long training", "gap"))
    found = [
        (title, phase)
        for title, phase in phases
        if all(_curve_by_seed(entries, f"{phase}_mix_nextvlad_T{t}", "root", "test") for t in (0, 20))
    ]
    if not found:
        return None
    figure, panels = _panels(len(found), (5 * len(found), 3.4))
    for axes, (title, phase) in zip(panels, found):
        for (part, label), colour in zip(_PARTS, COLOURS):
            plain, distilled = (
                _curve_by_seed(entries, f"{phase}_mix_nextvlad_T{t}", part, "test", shared=True) for t in (0, 20)
            )
            points = [(step, paired(after, before)) for (step, before), (_, after) in zip(plain, distilled)]
            points = [(step, difference) for step, difference in points if difference]
            if points:
                _errorbar(axes, *zip(*points), label=label, color=colour)
        axes.axhline(0, color=QUIET, linewidth=1)
        style_axes(axes, f"{title}: T = 20 minus T = 0", "step")
        _legend(axes)
    return figure


def regimes(entries: Entries) -> "Figure | None":
    """What distillation and mixing add in each regime explored."""
    figure, panels = _panels(3, (11, 3.2), sharey=True)
    labels = [variation.axis for variation in VARIATIONS.values()]
    single, plain, distilled = "finetune_nextvlad", "finetune_mix_nextvlad_T0", "finetune_mix_nextvlad_T20"
    pairs = (
        ("T = 20 minus T = 0, mixture", (distilled, "root"), (plain, "root")),
        ("T = 20 minus T = 0, one leaf", (distilled, "leaf"), (plain, "leaf")),
        ("mixture (T = 0) minus single", (plain, "root"), (single, "root")),
    )
    drawn = False
    for axes, (title, *compared) in zip(panels, pairs):
        for place, variation in enumerate(VARIATIONS.values()):
            suffix = "" if variation.name == "base" else f"_{variation.name}"
            by_seed = [scores(entries, name + suffix, part, shared=True) for name, part in compared]
            difference = paired(*by_seed)
            if difference:
                drawn = drawn or variation.name != "base"
                seeds = sorted(by_seed[0].keys() & by_seed[1].keys())
                axes.plot(
                    [by_seed[0][seed] - by_seed[1][seed] for seed in seeds],
                    [place] * len(seeds),
                    "o",
                    color=COLOURS[0],
                    alpha=0.35,
                    markersize=5,
                    markeredgewidth=0,
                )
                axes.plot(difference.mean, place, "D", color=COLOURS[0], markersize=6)
        axes.axvline(0, color=QUIET, linewidth=1)
        axes.set_yticks(range(len(labels)), labels)
        style_axes(axes, title, "difference of test MAP", grid="both")
        axes.locator_params(axis="x", nbins=4)
    panels[0].invert_yaxis()
    return figure if drawn else None


def _curves(entries, lines, partitions, metric):
    figure, panels = _panels(2, (10, 3.6))
    drawn = False
    for axes, partition in zip(panels, partitions):
        for (name, part, label), colour in zip(lines, COLOURS):
            curve = _curve_by_seed(entries, name, part, partition)
            if curve:
                drawn = True
                _errorbar(
                    axes,
                    [step for step, _ in curve],
                    [Summary.of(values.values()) for _, values in curve],
                    label=label,
                    color=colour,
                    linestyle="--" if part == "average" else "-",
                )
        style_axes(axes, f"{partition} {metric}", "step")
        if axes.lines:
            _legend(axes)
    return figure if drawn else None


def _curve_by_seed(entries, training, part, partition, shared=False):
    """[(step, {seed: score})]; where seeds differ in length by a step or two, points go together by their place.

    Args:
        shared: on the video-level probabilities that all rows share, where there are such scores.
    """
    curves = {
        int(name.rpartition("/")[2]): entry["curve"]
        for name, entry in entries.items()
        if name.rpartition("/")[0] == training
    }
    if not curves:
        return []
    first = curves[min(curves)]
    return [
        (
            first[index]["step"],
            {seed: score_of(curve[index]["scores"][partition], part, shared) for seed, curve in curves.items()},
        )
        for index in range(min(map(len, curves.values())))
    ]


def _examples(entries, training):
    found = [entry["examples"] for name, entry in entries.items() if name.rpartition("/")[0] == training]
    return float(np.mean(found)) if found else None


def _num_nodes(name):
    return int(sum(np.cumprod((1, *TRAININGS[name].tree))))


def _training_title(name):
    row = next((row for row in (ROWS | GAP_ROWS).values() if row.training == name and row.part == "root"), None)
    return row.title.partition("(8G")[0] if row else name


def _panels(count, size, **options):
    figure, axes = new_figure(1, count, size, **options)
    return figure, axes[0]


def _errorbar(axes, places, summaries, **style):
    deviations = [summary.std or 0 for summary in summaries]
    axes.errorbar(
        places,
        [summary.mean for summary in summaries],
        deviations,
        marker="o",
        markersize=4,
        linewidth=1.5,
        capsize=3,
        elinewidth=1,
        **style,
    )


def _legend(axes):
    """Below the axes: error bars leave no room in them."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
