"""What a scored submission looks like: tables for the terminal, a dict for JSON."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from youtube8m_mod import terminal
from youtube8m_mod.evaluation.mean_average_precision import Result
from youtube8m_mod.evaluation.rated_labels import RatedLabels
from youtube8m_mod.evaluation.video_metrics import VideoScores

_SHOWN = 5  # Best and worst classes in the table.


def class_rows(result: Result, names: Mapping[int, str]) -> list[dict[str, Any]]:
    """A dict for every scored class: class, name, average_precision, positives, rated, listed, rated_listed, found."""
    return [
        {
            "class": c.class_id,
            "name": names.get(c.class_id, ""),
            "average_precision": c.average_precision,
            "positives": c.positives,
            "rated": c.rated,
            "listed": c.listed,
            "rated_listed": len(c.relevance),
            "found": c.found,
            "missing": c.missing,
        }
        for c in result.classes
    ]


def map_json(result: Result, names: Mapping[int, str], labels: RatedLabels) -> dict[str, Any]:
    """A `Result` as a JSON-able dict."""
    return {
        "mode": result.mode,
        "top_n": result.top_n,
        "map": result.map,
        "recall": result.recall,
        "precision": result.precision,
        "counts": counts(result, labels),
        "problems": dict(result.problem_counts),
        "first_problems": [str(problem) for problem in result.problems],
        "classes": class_rows(result, names),
    }


def counts(result: Result, labels: RatedLabels) -> dict[str, int]:
    """What was scored and what was left out."""
    return {
        "classes_scored": result.counts["classes_scored"],
        "classes_missing_in_submission": result.counts["classes_missing"],
        "classes_without_positives": result.counts["classes_without_positives"],
        "classes_without_ratings": result.counts["classes_without_ratings"],
        "positives": sum(labels.num_positives.values()),
        "ratings": labels.num_ratings,
        "ids_in_submission": result.counts["ids"],
        "rated_ids_scored": result.counts["rated_ids"],
    }


def map_tables(result: Result, names: Mapping[int, str], labels: RatedLabels) -> str:
    """The text that eval_map.py prints."""
    k = f"MAP@{result.top_n}" if result.top_n else "MAP"
    counted = counts(result, labels)
    missing = "left out, as the starter does" if result.mode == "starter" else "score 0"
    rows = [
        {"": k, "value": result.map, "note": f"mode {result.mode}"},
        {"": "recall", "value": result.recall, "note": "mean share of a class's positives that its list holds"},
        {"": "precision", "value": result.precision, "note": "mean share of positives among a list's rated ids"},
        {"": "classes scored", "value": counted["classes_scored"], "note": ""},
        {"": "classes missing", "value": counted["classes_missing_in_submission"], "note": missing},
        {"": "classes without positives", "value": counted["classes_without_positives"], "note": "left out"},
        {"": "classes without ratings", "value": counted["classes_without_ratings"], "note": "left out"},
        {"": "ids listed", "value": counted["ids_in_submission"], "note": ""},
        {"": "rated ids scored", "value": counted["rated_ids_scored"], "note": f"of {counted['ratings']:,} ratings"},
    ]
    tables = [terminal.format_table(rows)]
    ordered = sorted(class_rows(result, names), key=lambda row: (-row["average_precision"], row["class"]))
    if len(ordered) > 2 * _SHOWN:
        ordered = ordered[:_SHOWN] + ordered[-_SHOWN:]
    columns = [
        "class",
        *(["name"] if names else []),
        "average_precision",
        "positives",
        "rated_listed",
        "found",
        "listed",
    ]
    if ordered:
        tables += ["best and worst classes", terminal.format_table(ordered, columns)]
    return "\n\n".join(tables)


def video_table(scores: VideoScores) -> str:
    """The text for `VideoScores`."""
    return terminal.format_table(
        [{"": name.replace("_", " "), "value": value} for name, value in dataclasses.asdict(scores).items()]
    )
