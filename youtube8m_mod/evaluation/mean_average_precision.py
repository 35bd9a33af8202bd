"""MAP@K of a submission (Eq. 8), streamed: memory is bounded by the labels and the longest line."""

import collections
import dataclasses

import numpy as np

from youtube8m_mod.data.video_ids import text_of
from youtube8m_mod.errors import UserError
from youtube8m_mod.evaluation.id_list import IdList
from youtube8m_mod.evaluation.rated_labels import RatedLabels
from youtube8m_mod.files import Path
from youtube8m_mod.formats.submission import HEADER, read_submission

MODES = {
    "paper": "Eq. (8): the mean over all classes with positives; what is wrong in the submission is an error",
    "author": "Eq. (8) as the metric of the authors' repository: an id that occurs twice counts twice",
    "starter": "Google's evaluator: the mean over the classes of the submission only; the last id of each line is lost "
    "to its line end; an id that occurs twice counts twice",
}
NUM_CLASSES = 3862


@dataclasses.dataclass(frozen=True)
class ClassResult:
    """The score of one class.

    Attributes:
        average_precision: the class's term of Eq. (8).
        positives: N_c.
        listed: ids of the list within the cut.
        relevance: bool (n,), one for each rated id in the list, in its order: whether it is a positive.
    """

    class_id: int
    average_precision: float
    positives: int
    rated: int
    listed: int
    relevance: np.ndarray
    missing: bool = False

    @property
    def found(self) -> int:
        """Positives in the list."""
        return int(np.count_nonzero(self.relevance))


@dataclasses.dataclass
class Problem:
    """Something wrong in a submission: where, of which kind, in words."""

    line: int
    class_name: str
    kind: str
    text: str

    def __str__(self):
        return f"line {self.line}, class {self.class_name}: {self.text}"


@dataclasses.dataclass
class Result:
    """A scored submission."""

    mode: str
    top_n: int
    classes: list  # `ClassResult`s, by class.
    counts: dict
    problems: list  # `Problem`s, at most 20 of a kind.
    problem_counts: collections.Counter  # Kind -> number.
    header: bool  # Whether the submission began with its header.

    @property
    def map(self) -> float:
        return self._mean(lambda c: c.average_precision)

    @property
    def recall(self) -> float:
        """Mean over the classes of the share of their positives that the list holds."""
        return self._mean(lambda c: c.found / c.positives)

    @property
    def precision(self) -> float:
        """Mean over the classes of the share of positives among the rated ids in the list."""
        return self._mean(lambda c: c.found / max(len(c.relevance), 1))

    def _mean(self, value):
        return float(np.mean([value(c) for c in self.classes])) if self.classes else 0.0


def average_precision(relevance: np.ndarray, num_positives: int) -> float:
    """One class's term of Eq. (8): `sum_k P(k) rel(k) / N_c`.

    Args:
        relevance: bool (n,), of the rated segments in the order of the list.
        num_positives: N_c, at least 1.
    """
    ranks = np.flatnonzero(relevance) + 1
    return float(np.sum(np.arange(1, len(ranks) + 1) / ranks)) / num_positives


def random_order_average_precision(num_ratings: int, num_positives: int) -> float:
    """The expected average precision of the rated segments of a class in a random order.

    With n ratings, N_c positives and H = 1 + 1/2 + ... + 1/n: (H + (N_c - 1) / (n - 1) (n - H)) / n. At rank k stands a
    positive with the chance N_c / n, and of the k - 1 before it the share (N_c - 1) / (n - 1) is positive.

    Args:
        num_ratings: n.
        num_positives: N_c, from 1 to n.
    """
    harmonic = float(np.sum(1 / np.arange(1, num_ratings + 1)))
    others = (num_positives - 1) / max(num_ratings - 1, 1)
    return (harmonic + others * (num_ratings - harmonic)) / num_ratings


def evaluate(
    submission: Path,
    labels: RatedLabels,
    top_n: int = 100_000,
    mode: str = "paper",
    strict: bool = True,
    num_classes: int = NUM_CLASSES,
) -> Result:
    """Scores a submission.

    A list is cut at `top_n` first, then ids without a rating are dropped. A class of the labels without positives is
    left out; one that the submission lacks scores 0 (in mode "starter" it is left out).

    Args:
        submission: path of the file, plain or gzip; its header may be missing.
        labels: `RatedLabels`.
        top_n: K; 0 takes all.
        mode: one of `MODES`.
        strict: raise where something is wrong. Otherwise of a class with two lines the first counts, of a repeated id
            the first (with "paper"), and unknown classes and malformed ids count for nothing.

    Returns:
        `Result`.

    Raises:
        UserError: with line and class of what is wrong.
    """
    if mode not in MODES:
        raise UserError(f'mode must be one of {", ".join(MODES)}, got "{mode}".')
    if top_n < 0:
        raise UserError(f"top_n must be at least 1, or 0 for all, got {top_n}.")
    tally = _Problems()
    results, header, seen = {}, False, {}
    counts = collections.Counter(lines=0, ids=0, rated_ids=0, classes_without_ratings=0, classes_without_positives=0)
    for number, name, text in read_submission(submission):
        if number == 1 and name + b"," + text.strip() == HEADER.encode():
            header = True
            continue
        class_id = _class_id(name, num_classes)
        shown = text_of(name[:20])
        if class_id is None:
            tally.add(number, shown, "unknown class", f"expected a class from 0 to {num_classes - 1}")
            continue
        if class_id in seen:
            tally.add(number, shown, "duplicate class", f"the class stands in line {seen[class_id]} already")
            continue
        seen[class_id] = number
        ids = IdList(text if mode == "starter" else text.rstrip(b"\r\n"))
        counts["lines"] += 1
        counts["ids"] += len(ids)
        repeated = _check(ids, text, number, shown, tally)
        positives = labels.num_positives.get(class_id, 0)
        if not positives:
            counts["classes_without_positives" if class_id in labels else "classes_without_ratings"] += 1
            continue
        results[class_id] = _score(ids, labels[class_id], class_id, top_n, repeated if mode == "paper" else ())
        counts["rated_ids"] += len(results[class_id].relevance)
    if strict:
        tally.raise_error(submission, counts_twice=mode != "paper")
    absent = [c for c in labels.scored_classes if c not in results]
    counts["classes_missing"] = len(absent)
    if mode != "starter":
        results |= {
            c: ClassResult(c, 0.0, labels.num_positives[c], len(labels[c]), 0, np.zeros(0, bool), True) for c in absent
        }
    counts["classes_scored"] = len(results)
    scored = [results[c] for c in sorted(results)]
    return Result(mode, top_n, scored, dict(counts), tally.problems, tally.counts, header)


def _check(ids, text, number, shown, tally):
    """Notes malformed and repeated ids; returns the places of the latter."""
    for place in ids.malformed().tolist():
        segment = ids[place]
        if place == len(ids) - 1 and not IdList(segment.rstrip(b"\r\n")).malformed().size:
            continue  # In mode "starter" the line's end is still there.
        tally.add(number, shown, "malformed id", f"id {place + 1} must be <video id>:<start>, got {_show(segment)}")
    repeated = ids.repeated()
    for place in repeated.tolist():
        tally.add(number, shown, "duplicate id", f"id {place + 1}, {_show(ids[place])}, stands before already")
    return repeated


def _score(ids, labels, class_id, top_n, ignored):
    if top_n:
        ids.cut(top_n)
    places, members = ids.find(labels.ids)
    if len(ignored):
        members = members[~np.isin(places, ignored)]
    relevance = labels.positive[members]
    return ClassResult(
        class_id,
        average_precision(relevance, labels.num_positives),
        labels.num_positives,
        len(labels),
        len(ids),
        relevance,
    )


def _class_id(name, num_classes):
    return int(name) if name.isdigit() and len(name) < 10 and int(name) < num_classes else None


def _show(segment):
    return f'"{text_of(segment[:40])}"'


class _Problems:
    """Collects problems; keeps the first of each kind in words."""

    _KEPT = 20

    def __init__(self):
        self.problems, self.counts = [], collections.Counter()

    def add(self, line, class_name, kind, text):
        self.counts[kind] += 1
        if self.counts[kind] <= self._KEPT:
            self.problems.append(Problem(line, class_name, kind, text))

    def raise_error(self, path, counts_twice):
        """Raises `UserError` for the problems; repeated ids are none where they count twice by design."""
        first = {}
        for problem in self.problems:
            if not (counts_twice and problem.kind == "duplicate id"):
                first.setdefault(problem.kind, problem)
        if first:
            sentences = "; ".join(str(problem) for problem in first.values())
            total = ", ".join(f"{self.counts[kind]:,} of {kind}" for kind in first)
            raise UserError(f"{path}, {sentences} (in all: {total}; --nostrict scores the rest).")
