"""The report of a reproduction: one HTML file that opens offline, and its tables as markdown and JSON."""

import base64
import html
import io
import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from youtube8m_mod import files, overrides
from youtube8m_mod.errors import UserError
from youtube8m_mod.explore import truth
from youtube8m_mod.explore.contents import PROBABILITY, Contents, Video, best_segments
from youtube8m_mod.explore.page import write_page
from youtube8m_mod.figures import save_figure, timeline_figure
from youtube8m_mod.formats.arrays import read_arrays
from youtube8m_mod.miniature.writer import TRUTH
from youtube8m_mod.reproduce import plots, tables
from youtube8m_mod.reproduce.rows import TRAININGS
from youtube8m_mod.reproduce.schedule import key
from youtube8m_mod.reproduce.work import SEGMENTS
from youtube8m_mod.terminal import format_table

if TYPE_CHECKING:
    from youtube8m_mod.reproduce.place import Place
    from youtube8m_mod.reproduce.schedule import Results

_PAGE = "videos.html"  # Beside the report.
_TIMELINES = "finetune_mod_nextvlad_T20"
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 2em auto; padding: 0 1em; color: #222; }
h1 { font-size: 1.6em; } h2 { font-size: 1.2em; margin-top: 2em; border-bottom: 1px solid #ddd; padding-bottom: .2em; }
table { border-collapse: collapse; font-size: 13px; margin: 1em 0; display: block; overflow-x: auto; }
th, td { padding: .3em .7em; border-bottom: 1px solid #e5e5e5; text-align: left; white-space: nowrap; }
td.wide { white-space: normal; min-width: 16em; } th { background: #f6f6f6; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.confirmed { color: #1a7f37; } .contradicted { color: #b35900; } .undecided { color: #666; }
img { max-width: 100%; } figure { margin: 1.5em 0; } figcaption { color: #555; font-size: 13px; }
pre { background: #f6f6f6; padding: 1em; overflow-x: auto; font-size: 12px; }
"""


def write(
    place: "Place", results: "Results", seeds: Sequence[int], label_names: Mapping[int, str] | None = None
) -> str:
    """Writes report.html, videos.html, tables.md, tables.json and figures/*.png into the place.

    Args:
        results: `schedule.Results`; the tables hold all of its seeds.
        seeds: the first one's logs and videos are shown.
        label_names: {class: name} for the timelines and the page, or None.

    Returns:
        the tables as text.

    Raises:
        UserError: there are no results.
    """
    entries = results.entries
    if not entries:
        raise UserError(f"{results.path} holds no finished training: there is nothing to report.")
    made = tables.all_tables(entries)
    words = {title: tables.in_words(rows) for title, rows in made.items() if rows and "verdict" in rows[0]}
    figures = _figures(place, entries, seeds, label_names)
    for name, (figure, _) in figures.items():
        save_figure(figure, os.path.join(place.output_dir, "figures", f"{name}.png"))
    with files.write_file(os.path.join(place.output_dir, "tables.md")) as file:
        file.write("\n".join(_markdown(made, words)))
    files.write_json(os.path.join(place.output_dir, "tables.json"), {"tables": made, "words": words})
    page = _write_page(place, entries, seeds[0], label_names)
    path = os.path.join(place.output_dir, "report.html")
    with files.write_file(path) as file:
        file.write(_html(place, entries, made, words, figures, page))
    return "\n\n".join(f"{title}\n{format_table(rows)}" for title, rows in made.items()) + f"\n\nReport: {path}"


def _figures(place, entries, seeds, label_names):
    """{name: (figure, caption)}."""
    seed = seeds[0]
    found = {
        "map_temperature": (plots.map_against_temperature(entries), "MAP against the temperature of the distillation."),
        "map_parameters": (plots.map_against_parameters(entries), "MAP against the number of parameters, by row."),
        "map_finetuning": (
            plots.map_against_finetuning_size(entries),
            "MAP on shared candidates against the size of the finetuning set.",
        ),
        "regimes": (
            plots.regimes(entries),
            "Where distillation helps or hurts: paired differences, a dot a seed, a diamond their mean.",
        ),
        "learning_curves": (
            plots.learning_curves(entries),
            "Learning curves of finetuning, mean and deviation over seeds.",
        ),
        "gap_curves": (
            plots.gap_curves(entries),
            "GAP on real video-level records: test and training records over a long training.",
        ),
        "distillation": (
            plots.distillation_over_time(entries),
            "Where in a training distillation helps or hurts: paired differences, mean and deviation over seeds.",
        ),
        "losses_mix": (
            plots.losses(entries, "finetune_mix_nextvlad_T20", seed),
            "Figures 3 and 4: label and distillation losses of the mixture of 3 at T = 20.",
        ),
        "losses_mod": (
            plots.losses(entries, "finetune_mod_nextvlad_T20", seed),
            "The same of the MOD at T = 20, level by level.",
        ),
        "regularisation": (
            plots.regularisation(entries, seed),
            "Figure 4: regularisation and label losses of finetuning.",
        ),
        "timelines": (_timelines(place, entries, seed, label_names), "Test videos localised by the finetuned MOD."),
    }
    return {name: (figure, caption) for name, (figure, caption) in found.items() if figure}


def _timelines(place, entries, seed, label_names, count=4):
    """Timelines of the first test videos with two rated classes at least that come and go."""
    training = TRAININGS[_TIMELINES]
    path = os.path.join(place.folder(training, seed), SEGMENTS)
    if key(_TIMELINES, seed) not in entries or not files.exists(path):
        return None
    arrays = read_arrays(path, ("ids", "starts", "classes", "probabilities"))
    truth = files.read_json(os.path.join(place.dataset(training, seed), TRUTH))["videos"]
    columns = {class_id: column for column, class_id in enumerate(arrays["classes"].tolist())}
    videos = []
    for video_id, video in truth.items():
        in_scenes = [set(scene["labels"]) for scene in video["scenes"]]
        changing = sorted(label for label in set().union(*in_scenes) - set.intersection(*in_scenes) if label in columns)
        own = arrays["ids"] == video_id.encode()
        if len(changing) >= 2 and own.any() and len(videos) < count:
            shown = changing[:4]
            probabilities = arrays["probabilities"][own][:, [columns[label] for label in shown]]
            videos.append(
                {
                    "id": video_id,
                    "starts": arrays["starts"][own],
                    "classes": shown,
                    "probabilities": probabilities,
                    "scenes": video["scenes"],
                }
            )
    return timeline_figure(videos, label_names) if videos else None


def _markdown(made, words):
    lines = []
    for title, rows in made.items():
        lines += [f"## {title}", "", format_table(rows, markdown=True), ""]
        lines += [f"* {sentence}" for sentence in words.get(title, ())]
        lines.append("")
    return lines


def _write_page(place, entries, seed, label_names):
    """Writes the page of the test videos, localised by the finetuned MOD; returns its name, None without any."""
    training = TRAININGS[_TIMELINES]
    path = os.path.join(place.folder(training, seed), SEGMENTS)
    if key(_TIMELINES, seed) not in entries or not files.exists(path):
        return None
    videos = Video.of_arrays(*read_arrays(path, ("ids", "starts", "classes", "probabilities")).values())
    contents = Contents("Test videos localised by the finetuned MOD", PROBABILITY, videos, best_segments(videos, 100))
    contents.names = label_names or {}
    truths = {}
    truth.add_scenes(truths, os.path.join(place.dataset(training, seed), TRUTH))
    truth.attach(contents, truths)
    write_page(os.path.join(place.output_dir, _PAGE), contents)
    return _PAGE


def _html(place, entries, made, words, figures, page):
    seeds = sorted({int(name.rpartition("/")[2]) for name in entries})
    features = "Scenes are real video-level records." if place.bank else "Scenes are synthetic."
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>",
        f"<title>The MOD paper's tables in miniature</title><style>{_STYLE}</style>",
        "<h1>The MOD paper's tables in miniature</h1>",
        f"<p>Rows of Tables 1 and 2, trained and scored on a miniature YouTube-8M. {features} Seeds "
        f"{', '.join(map(str, seeds))}: each composes its own videos and draws its own weights and order; ± is the "
        "standard deviation over them, differences are paired by seed, verdicts go by the 95% interval of the mean "
        "difference (Student's t), one statement at a time. The paper's numbers are its own, on the real dataset: "
        "orders can be compared, values cannot.</p>",
        "<p>MAP is that of a row's whole pipeline, with candidates and video probabilities of its own pretraining. On "
        "shared candidates, all rows have those of the single NeXtVLAD, so that the segment classifiers alone are "
        "compared. A leaf alone has the shared ones in either case.</p>",
    ]
    if place.bank:
        parts.append(
            "<p>All seeds cut their scenes from one pool of records, so they share some of them: intervals "
            "are narrower than those of independent datasets would be. The best point of a GAP curve is "
            "chosen on the test records themselves.</p>"
        )
    parts += ["<h2>In short</h2>", _list(words[tables.CLAIMS_TITLE])]
    for title, rows in made.items():
        parts += [f"<h2>{html.escape(title)}</h2>", _table(rows)]
        if title in words:
            parts.append(_list(words[title]))
    parts.append("<h2>Figures</h2>")
    for figure, caption in figures.values():
        parts.append(
            f"<figure><img alt='{html.escape(caption)}' src='data:image/png;base64,{_png(figure)}'>"
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )
    if page:
        parts.append(f"<p><a href='{page}'>All test videos, concept by concept, and the best segments of each</a></p>")
    scale = json.dumps(overrides.to_dict(place.scale) | {"bank": place.bank, "bank_test": place.bank_test}, indent=2)
    parts += [
        "<h2>Settings of every training</h2>",
        _table(_settings(entries)),
        f"<h2>Scale</h2><pre>{html.escape(scale)}</pre>",
    ]
    return "\n".join(parts) + "\n"


def _settings(entries):
    """One row a training: model, phase, size, time."""
    table, seen = [], {}
    for name, entry in entries.items():
        seen.setdefault(name.rpartition("/")[0], []).append(entry)
    for name, found in seen.items():
        model, phase = found[0]["model"], found[0]["phase"]
        table.append(
            {
                "training": name,
                "pooling": model["pooling"],
                "tree": "x".join(map(str, model["branching"])) or "-",
                "G": model["groups"],
                "K": model["clusters"],
                "λ": f"{model['expansion']:g}",
                "H": model["hidden_size"],
                "r": model["gating_reduction"],
                "classes": model["num_classes"],
                "T": f"{phase['temperature']:g}" if model["branching"] else None,
                "steps": phase["max_steps"],
                "batch": phase["batch_size"],
                "learning rate": f"{phase['base_learning_rate']:g}",
                "dropout": phase["dropout"],
                "L2": f"{phase['l2_penalty']:g}",
                "examples": found[0]["examples"],
                "parameters": found[0]["parameters"],
                "seeds": len(found),
                "seconds": round(float(np.mean([entry["seconds"] for entry in found]))),
            }
        )
    return table


def _table(rows):
    columns = list(rows[0])
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = []
    for row in rows:
        cells = []
        for column in columns:
            value = row.get(column)
            text = (
                "-"
                if value is None
                else f"{value:,}"
                if isinstance(value, int)
                else f"{value:.5g}"
                if isinstance(value, float)
                else str(value)
            )
            kind = "wide" if column in ("row", "statement") else "number" if isinstance(value, (int, float)) else ""
            kind += f" {value}" if column.startswith("verdict") else ""
            cells.append(f"<td class='{html.escape(kind)}'>{html.escape(text)}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><tr>{head}</tr>{''.join(body)}</table>"


def _list(sentences):
    return "<ul>" + "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences) + "</ul>"


def _png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return base64.b64encode(buffer.getvalue()).decode()
