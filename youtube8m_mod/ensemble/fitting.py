"""Weights of an ensemble's members, fitted on labelled videos, and what each member brings."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from youtube8m_mod.data.video_ids import text_of
from youtube8m_mod.ensemble.predictions import joined_members
from youtube8m_mod.ensemble.submissions import Seen, side_by_side
from youtube8m_mod.errors import UserError
from youtube8m_mod.evaluation.id_list import IdList
from youtube8m_mod.evaluation.mean_average_precision import average_precision
from youtube8m_mod.evaluation.rated_labels import RatedLabels
from youtube8m_mod.evaluation.video_metrics import GAP_TOP_K, global_average_precision

Objective = Callable[[np.ndarray], float]  # From weights, float (M,) summing to one, to the score.

_STEPS = (0.0, 0.5, 0.8, 1.25, 2.0)  # A weight is tried at these multiples.
_ROUNDS = 30


@dataclasses.dataclass
class Fitted:
    """Fitted weights.

    Attributes:
        metric: "MAP" or "GAP".
        weights: float (M,), summing to one.
        score: of the ensemble with these weights, on the videos that they were fitted on.
        equal_score: with equal weights.
        alone: float (M,), the score of each member by itself.
        without: float (M,), the score of the ensemble without each member; not a number where it is the only one.
    """

    metric: str
    weights: np.ndarray
    score: float
    equal_score: float
    alone: np.ndarray
    without: np.ndarray


def fit(objective: Objective, num_members: int, metric: str) -> Fitted:
    """Weights with the highest score, by coordinate ascent from equal weights.

    Args:
        objective: function of weights, float (M,) summing to one, that gives the score.
        num_members: M.
        metric: name of the score.

    Returns:
        `Fitted`.
    """
    weights = np.full(num_members, 1 / num_members)
    best = equal = objective(weights)
    for _ in range(_ROUNDS):
        before = best
        for member in range(num_members):
            for step in _STEPS:
                trial = weights.copy()
                trial[member] *= step
                if not trial.any():
                    continue
                trial /= trial.sum()
                if (score := objective(trial)) > best:
                    best, weights = score, trial
        if best == before:
            break
    alone = np.array([objective(row) for row in np.eye(num_members)])
    without = np.full(num_members, np.nan)
    for member in range(num_members):
        rest = weights.copy()
        rest[member] = 0
        if num_members > 1:
            rest = rest if rest.any() else np.where(np.arange(num_members) == member, 0.0, 1.0)
            without[member] = objective(rest / rest.sum())
    return Fitted(metric, weights, best, equal, alone, without)


def map_of_submissions(paths: Sequence[str], labels: RatedLabels, seen: Seen | None = None) -> Objective:
    """A function from weights to the MAP (Eq. 8) of submissions joined by average rank.

    The joined lists are taken uncut.

    Args:
        labels: `RatedLabels`.
        seen: called with how far each file has been read.
    """
    classes = []
    for class_id, texts in side_by_side(paths, seen):
        if not labels.num_positives.get(class_id, 0):
            continue
        rated = labels[class_id]
        ranks, listed = (np.zeros((len(rated), len(texts)), kind) for kind in (np.float64, bool))
        for member, ids in enumerate(map(IdList, texts)):
            places, rows = ids.find(rated.ids)
            ranks[:, member] = len(ids) + 1
            ranks[rows, member], listed[rows, member] = places + 1, True
        classes.append((ranks, listed, rated.positive, rated.num_positives))
    return _mean_average_precision(classes, len(labels.scored_classes), _by_mean_rank)


def map_of_predictions(paths: Sequence[str], labels: RatedLabels, method: str, seen: Seen | None = None) -> Objective:
    """A function from weights to the MAP (Eq. 8) of joined predictions of segments.

    Args:
        labels: `RatedLabels`.
        method: see `join_scores`.
        seen: called with how far each file has been read.
    """
    ratings = {}
    for class_id in labels.scored_classes:
        rated = labels[class_id]
        for index, segment in enumerate(rated.ids.ids):
            ratings.setdefault(text_of(segment), []).append((class_id, rated.positive[index]))
    rows = {class_id: ([], [], []) for class_id in labels.scored_classes}
    for line_id, classes, scores, listed in joined_members(paths, method, seen):
        for class_id, positive in ratings.get(line_id, ()):
            place = np.searchsorted(classes, class_id)
            if place < len(classes) and classes[place] == class_id:
                for values, value in zip(rows[class_id], (scores[:, place], listed[:, place], positive)):
                    values.append(value)
    classes = [
        (np.array(scores), np.array(listed), np.array(positive), labels.num_positives[class_id])
        for class_id, (scores, listed, positive) in rows.items()
        if scores
    ]
    if not classes:
        raise UserError("The predictions and the ratings have no segment in common: weights cannot be fitted.")
    return _mean_average_precision(classes, len(labels.scored_classes), lambda *args: _by_score(*args, method))


def gap_of_predictions(
    paths: Sequence[str], labels: Mapping[str, np.ndarray], method: str, seen: Seen | None = None
) -> Objective:
    """A function from weights to the GAP of joined predictions of videos.

    Args:
        labels: {video id str: classes int (n,)}.
        method: see `join_scores`.
        seen: called with how far each file has been read.
    """
    scores, listed, correct, videos = [], [], [], []
    for number, (line_id, classes, own, own_listed) in enumerate(joined_members(paths, method, seen)):
        if line_id in labels:
            scores.append(own.T)
            listed.append(own_listed.T)
            correct.append(np.isin(classes, labels[line_id]))
            videos.append(np.full(len(classes), number))
    if not scores:
        raise UserError("The predictions and the labels have no video in common: weights cannot be fitted.")
    scores, listed, correct, videos = map(np.concatenate, (scores, listed, correct, videos))
    total = sum(map(len, labels.values()))

    def objective(weights):
        values = _combined(scores, listed, weights, method)
        order = np.lexsort((-values, videos))
        owners = videos[order]
        firsts = np.flatnonzero(np.concatenate([[True], owners[1:] != owners[:-1]]))
        place = np.arange(len(order)) - np.repeat(firsts, np.diff([*firsts, len(order)]))
        best = order[(place < GAP_TOP_K) & (values[order] > -np.inf)]
        return global_average_precision(values[best], correct[best], total)

    return objective


def _by_mean_rank(ranks, listed, weights):
    """Rows (n, M) in the order of `join_lists`; those that no member of some weight lists are left out."""
    used = weights > 0
    # As `join_lists` breaks ties: by where the members' lists, one behind the other, first have the segment.
    appearance = np.where(listed, ranks + np.arange(len(weights)) * (ranks.max(initial=0) + 1), np.inf)[:, used]
    order = np.lexsort((appearance.min(axis=1), np.rint(ranks @ weights * 1e6)))
    return order[listed[order][:, used].any(axis=1)]


def _by_score(scores, listed, weights, method):
    """Rows (n, M) in the order of their joined scores; those without one are left out."""
    values = _combined(scores, listed, weights, method)
    order = np.argsort(-values, kind="stable")
    return order[values[order] > -np.inf]


def _combined(scores, listed, weights, method):
    """Joined scores of rows (n, M); -inf where the joined output does not list the row."""
    used = weights > 0
    if method != "geometric":
        return np.where(listed[:, used].any(axis=1), scores @ weights, -np.inf)
    with np.errstate(divide="ignore"):
        logs = np.log(scores[:, used]) @ weights[used]
    return np.where(listed[:, used].all(axis=1), np.exp(logs), -np.inf)


def _mean_average_precision(classes, count, ordered):
    """A function from weights to the MAP over `count` classes.

    Args:
        classes: of each class (scores or ranks (n, M), listed bool (n, M), positive bool (n,), N_c).
        ordered: function of the first two and the weights that gives the rows in the order of the joined list.
    """

    def objective(weights):
        return sum(
            average_precision(positive[ordered(values, listed, weights)], num_positives)
            for values, listed, positive, num_positives in classes
        ) / max(count, 1)

    return objective
