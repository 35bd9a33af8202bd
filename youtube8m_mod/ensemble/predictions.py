"""Prediction files (`VideoId,LabelConfidencePairs`) joined line by line."""

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from youtube8m_mod import files
from youtube8m_mod.ensemble.submissions import Seen
from youtube8m_mod.errors import UserError
from youtube8m_mod.formats.predictions import HEADER, read_predictions

Scores = tuple[np.ndarray, np.ndarray]  # Classes, int (n,), and their probabilities or scores, float (n,).

METHODS = ("arithmetic", "geometric", "rank")


def join_scores(members: Sequence[Scores], weights: np.ndarray, method: str) -> Scores:
    """The scores of one video (or segment) from those of the members.

    With w_m the weights, which sum to one:

    * "arithmetic": sum_m w_m p_m; a class that a member does not list has p_m = 0;
    * "geometric": prod_m p_m^w_m over the classes that all members list, as the authors' ensemble script;
    * "rank": sum_m w_m (n_m + 1 - r_m) / n_m with r_m the place among the n_m classes of member m, 0 where it is not
      listed. Equal probabilities share the mean of their places.

    Args:
        members: a list of (classes int (n,), probabilities float (n,)).
        weights: float (M,), summing to one.
        method: one of `METHODS`.

    Returns:
        classes int (m,), ascending, and scores float64 (m,).
    """
    classes, scores, listed = _aligned(members, method)
    used = weights > 0
    if method != "geometric":
        some = listed[used].any(axis=0)
        return classes[some], (weights @ scores)[some]
    common = listed[used].all(axis=0)
    with np.errstate(divide="ignore"):  # A member of weight 0 is left out: 0^0 would be no number.
        return classes[common], np.exp(weights[used] @ np.log(scores[used][:, common]))


def _aligned(members, method):
    """(classes int (m,) that any member lists, scores (M, m) before they are weighted, listed bool (M, m))."""
    classes = np.unique(np.concatenate([own for own, _ in members]))
    scores = np.zeros((len(members), len(classes)))
    listed = np.zeros(scores.shape, bool)
    for row, (own, values) in enumerate(members):
        places = np.searchsorted(classes, own)
        scores[row, places] = _rank_scores(values) if method == "rank" else values
        listed[row, places] = True
    return classes, scores, listed


def _rank_scores(values):
    """(n + 1 - r) / n with r the place of each value, best first; equal values share their mean place."""
    if not len(values):
        return values
    ordered, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse] / len(values)


def lines_of_members(paths: Sequence[str], seen: Seen | None = None) -> Iterator[tuple[str, list[Scores]]]:
    """Yields (id str, [(classes, probabilities) of each file]) for every line of the first file, in its order.

    Where the files list the ids in the same order they are read side by side, and memory is bounded by a line.
    A file of another order is held in memory.

    Args:
        seen: called with how far each file has been read.

    Raises:
        UserError: where an id is missing in one of the files, or listed twice.
    """
    first_lines, *others = (read_predictions(path, seen=seen and functools.partial(seen, path)) for path in paths)
    streams = [_Lines(*member) for member in zip(paths[1:], others)]
    taken = set()
    for line_id, *first in first_lines:
        if line_id in taken:
            raise UserError(f'{paths[0]}: the id "{line_id}" is listed twice.')
        taken.add(line_id)
        yield line_id, [tuple(first), *(stream.take(line_id, paths[0]) for stream in streams)]
    for stream in streams:
        stream.check_done(paths[0], taken)


def joined_members(
    paths: Sequence[str], method: str, seen: Seen | None = None
) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Yields (id str, classes int (m,), scores float (M, m), listed bool (M, m)): what weights are fitted on."""
    for line_id, members in lines_of_members(paths, seen):
        yield line_id, *_aligned(members, method)


class _Lines:
    """The lines of a file, taken by id."""

    def __init__(self, path, lines):
        self.path, self.lines, self.waiting = path, lines, {}

    def take(self, line_id, first_path):
        """(classes, probabilities) of an id that has not been taken yet."""
        if line_id in self.waiting:
            return self.waiting.pop(line_id)
        for found, classes, probabilities in self.lines:
            if found == line_id:
                return classes, probabilities
            if found in self.waiting:
                raise UserError(f'{self.path}: the id "{found}" is listed twice.')
            self.waiting[found] = classes, probabilities
        raise UserError(f'{self.path} lacks the id "{line_id}" of {first_path}: expected predictions of the same ids.')

    def check_done(self, first_path, seen):
        """Raises `UserError` where lines are left over."""
        left = next(iter(self.waiting), None) or next((found for found, *_ in self.lines), None)
        if left is not None:
            if left in seen:
                raise UserError(f'{self.path}: the id "{left}" is listed twice.')
            raise UserError(f'{first_path} lacks the id "{left}" of {self.path}: expected predictions of the same ids.')


def write_joined(
    output_file: str,
    paths: Sequence[str],
    weights: np.ndarray,
    method: str,
    top_k: int,
    seen: Seen | None = None,
) -> int:
    """Writes the joined predictions, whole or not at all; returns the number of lines.

    Args:
        output_file: path of a `VideoId,LabelConfidencePairs` file.
        top_k: classes of a line; best first, equal scores by class.
        seen: called with how far each file has been read.
    """
    count = 0
    with files.write_file(output_file, "wb") as file:
        file.write(HEADER.encode() + b"\n")
        for line_id, members in lines_of_members(paths, seen):
            classes, scores = join_scores(members, weights, method)
            order = np.argsort(-scores, kind="stable")[:top_k]
            pairs = " ".join(f"{c} {s:.9g}" for c, s in zip(classes[order].tolist(), scores[order].tolist()))
            file.write(f"{line_id},{pairs}\n".encode())
            count += 1
    return count
