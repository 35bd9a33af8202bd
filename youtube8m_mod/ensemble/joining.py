"""The whole job of joining files: what they are, their weights, the joined file, and the report."""

import contextlib
import os
from collections.abc import Sequence
from typing import Any, TextIO

import numpy as np

from youtube8m_mod import files, terminal
from youtube8m_mod.data.video_ids import text_of
from youtube8m_mod.ensemble import fitting, predictions, submissions
from youtube8m_mod.errors import UserError
from youtube8m_mod.evaluation.rated_labels import load_labels
from youtube8m_mod.formats.lines import read_rows
from youtube8m_mod.formats.predictions import read_predictions
from youtube8m_mod.overwriting import check_outputs

SUBMISSION, PREDICTIONS = "submission", "predictions"


def join_files(
    paths: Sequence[str],
    output_file: str | None = None,
    *,
    method: str | None = None,
    weights: Sequence[float] | None = None,
    fit_on: str | None = None,
    label_cache: str | None = None,
    top_k: int = 1000,
    segment_max_pred: int = 100_000,
    report_file: str | None = None,
    file: TextIO | None = None,
) -> dict[str, Any]:
    """Joins prediction files or submissions, and prints what each member brings.

    Args:
        paths: of the members, at least two, all of one kind.
        output_file: path of the joined file; None: only the weights are fitted.
        method: "arithmetic", "geometric" or "rank"; None: "geometric" for predictions, "rank" for submissions.
        weights: one a member, scaled to sum one; None: equal, or fitted.
        fit_on, label_cache: labelled records, a label cache: what weights are fitted on; see `load_labels`.
        top_k: classes of a line of predictions.
        segment_max_pred: segments of a submission's list.
        report_file: path of the JSON report; None: `output_file` with the ending .json.
        file: where tables go; None: standard output.

    Returns:
        the report, a JSON-able dict.

    Raises:
        UserError: files of several kinds, a method or weights that do not fit them, and what is wrong in a file.
    """
    report_file = report_file or (f"{os.path.splitext(str(output_file))[0]}.json" if output_file else None)
    check_outputs(
        {"output_file": output_file, "report_file": report_file},
        {"inputs": paths, "label_cache": label_cache, "fit_on": files.glob(fit_on) if fit_on else None},
    )
    kind = _kind(paths)
    method = _method(method, kind)
    fitted = None
    if fit_on or label_cache:
        fitted = _fit(paths, kind, method, fit_on, label_cache)
    if weights is None:
        weights = fitted.weights if fitted else np.full(len(paths), 1 / len(paths))
    elif fitted:
        raise UserError("--weights and --fit_on exclude each other: expected weights to be given, or fitted.")
    weights = _checked_weights(weights, paths)
    if output_file is None and fitted is None:
        raise UserError("--output_file must name the joined file, or --fit_on what weights are fitted on.")
    report = {"kind": kind, "method": method, "members": _members(paths, weights, fitted)}
    if fitted:
        report |= {"metric": fitted.metric, "score": fitted.score, "equal_weights": fitted.equal_score}
    print(terminal.format_table(report["members"]), file=file)
    if fitted:
        print(
            f"{fitted.metric} on the labels that the weights were fitted on: {fitted.score:.4f}, with equal weights "
            f"{fitted.equal_score:.4f}",
            file=file,
        )
    if output_file is not None:
        read = [path for path, weight in zip(paths, weights) if weight > 0 or kind == PREDICTIONS]
        with _progress("joining", read) as seen:
            if kind == SUBMISSION:
                count = submissions.write_joined(output_file, paths, weights, segment_max_pred, seen)
            else:
                count = predictions.write_joined(output_file, paths, weights, method, top_k, seen)
        report |= {"output_file": str(output_file), "lines": count}
        print(f"{output_file}: {count:,} lines", file=file)
    if report_file:
        files.write_json(report_file, report)
    return report


def _kind(paths):
    """What the files are, judged by the first line of each."""
    if len(paths) < 2 or not all(paths) or len({*map(files.absolute, paths)}) < len(paths):
        raise UserError(f"--inputs: expected at least two different files, got {', '.join(paths) or 'none'}.")
    kinds = {path: _kind_of(path) for path in paths}
    if len(set(kinds.values())) > 1:
        found = ", ".join(f"{path} ({kind})" for path, kind in kinds.items())
        raise UserError(f"--inputs: expected files of one kind, got {found}.")
    return kinds[paths[0]]


def _kind_of(path):
    _, cells = next(read_rows(path), (0, None))
    if not cells:
        raise UserError(f"{path} is empty: expected predictions or a submission.")
    if b",".join(cells).lower() == submissions.HEADER.lower().encode():
        return SUBMISSION
    return SUBMISSION if b":" in b"".join(cells[1:]).split(b" ")[0] else PREDICTIONS


def _method(method, kind):
    if kind == SUBMISSION and method not in (None, "rank"):
        raise UserError(f"--method={method}: submissions hold no probabilities, expected rank (or none).")
    return method or ("rank" if kind == SUBMISSION else "geometric")


def _checked_weights(weights, paths):
    weights = np.asarray(weights, np.float64)
    if len(weights) != len(paths):
        raise UserError(f"--weights: expected {len(paths)} numbers, one a file, got {len(weights)}.")
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise UserError(f"--weights: expected numbers of at least 0, not all 0, got {', '.join(map(str, weights))}.")
    return weights / weights.sum()


def _fit(paths, kind, method, fit_on, label_cache):
    if kind == SUBMISSION:
        labels = load_labels(fit_on, label_cache)
        with _progress("fitting", paths) as seen:
            objective = fitting.map_of_submissions(paths, labels, seen)
        return fitting.fit(objective, len(paths), "MAP")
    first = next(read_predictions(paths[0]), None)
    if first is None:
        raise UserError(f"{paths[0]} holds no predictions.")
    if ":" in first[0]:
        labels, make, metric = load_labels(fit_on, label_cache), fitting.map_of_predictions, "MAP"
    elif label_cache:
        raise UserError("--label_cache holds rated segments: weights of video predictions are fitted on --fit_on.")
    elif fit_on:
        from youtube8m_mod.data.ground_truth import video_labels

        labels = {text_of(video_id): classes for video_id, classes in video_labels(fit_on)}
        make, metric = fitting.gap_of_predictions, "GAP"
    else:
        raise UserError("Weights of video predictions are fitted on --fit_on, whose records hold the videos' labels.")
    with _progress("fitting", paths) as seen:
        objective = make(paths, labels, method, seen)
    return fitting.fit(objective, len(paths), metric)


def _members(paths, weights, fitted):
    rows = [{"member": str(path), "weight": float(weight)} for path, weight in zip(paths, weights)]
    if fitted:
        for row, alone, without in zip(rows, fitted.alone, fitted.without):
            row |= {
                f"{fitted.metric} alone": float(alone),
                "without it": float(without),
                "brings": float(fitted.score - without),
            }
    return rows


@contextlib.contextmanager
def _progress(description, paths):
    """Yields what shows how much of some files has been read: a function of a path and the bytes read of it."""
    places = dict.fromkeys(paths, 0)
    with terminal.progress(total=sum(files.sizes(paths)), unit="B", description=description) as bar:
        bar.unit_scale = True

        def seen(path, place):
            bar.update(place - places[path])
            places[path] = place

        yield seen
