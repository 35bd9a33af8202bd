"""Submissions (`Class,Segments`) joined class by class by the average rank of a segment."""

import collections
import concurrent.futures
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from youtube8m_mod import files
from youtube8m_mod.data.video_ids import text_of
from youtube8m_mod.errors import UserError
from youtube8m_mod.evaluation.id_list import IdList
from youtube8m_mod.formats.submission import HEADER, read_submission

Seen = Callable[[str, int], None]  # Called with a path and the bytes of that file that have been read.

_AHEAD = 4  # Classes whose lines are read while others are joined: what bounds the memory.


def class_lines(path: str, seen: Seen | None = None) -> Iterator[tuple[int, bytes]]:
    """Yields (class int, text of the ids) of a submission, checked to list classes ascending and once.

    Raises:
        UserError: naming the line.
    """
    previous = -1
    for number, name, text in read_submission(path, seen and functools.partial(seen, path)):
        if number == 1 and name + b"," + text.strip() == HEADER.encode():
            continue
        if not name.isdigit():
            shown = text_of(name[:20])
            raise UserError(f'{path}, line {number}: expected the number of a class, got "{shown}".')
        class_id = int(name)
        if class_id <= previous:
            raise UserError(
                f"{path}, line {number}: expected classes in ascending order, each once, got {class_id} after "
                f"{previous}."
            )
        previous = class_id
        yield class_id, text.rstrip()


def side_by_side(paths: Sequence[str], seen: Seen | None = None) -> Iterator[tuple[int, list[bytes]]]:
    """Yields (class, [text of each member's list, b"" where it has none]) in the order of the classes."""
    streams = [class_lines(path, seen) for path in paths]
    heads = [next(stream, None) for stream in streams]
    while any(heads):
        class_id = min(head[0] for head in heads if head)
        yield class_id, [head[1] if head and head[0] == class_id else b"" for head in heads]
        heads = [next(stream, None) if head and head[0] == class_id else head for stream, head in zip(streams, heads)]


def join_lists(texts: Sequence[bytes], weights: np.ndarray, cap: int) -> bytes:
    """The list of one class by the weighted mean of the ranks in the members' lists.

    A segment that a member does not list has the rank behind its last. Equal means: the one that an earlier member
    lists further up comes first.

    Args:
        texts: bytes, the ids of each member separated by blanks.
        weights: float (M,), summing to one.
        cap: ids in the result.

    Returns:
        bytes, the ids separated by blanks.

    Raises:
        UserError: an id that is listed twice or is not `<video id>:<start>`.
    """
    lists = [IdList(text) for text in texts]
    for ids in lists:
        if len(places := ids.malformed()):
            raise UserError(f'the id "{_show(ids[places[0]])}" is not <video id>:<start>')
    segments = _texts(lists)
    lengths = np.array([len(ids) for ids in lists])
    owners = np.repeat(range(len(lists)), lengths)
    numbers, firsts = _number(np.concatenate([ids.keys for ids in lists]), segments, owners)
    # The rank behind the last, in place of which come those of the segments that the member lists.
    means = np.full(len(firsts), float(weights @ (lengths + 1)))
    for length, weight, own in zip(lengths, weights, np.split(numbers, np.cumsum(lengths)[:-1])):
        means[own] += weight * (np.arange(1, length + 1) - (length + 1))
    # In millionths of a rank, as sums of the same ranks in another order differ in their last bits.
    order = _stable_order(np.rint(means * 1e6).astype(np.uint64))[:cap]
    return _joined(segments[firsts[order]])


def _texts(lists):
    """The ids of all lists, one list after another, as one array of bytes."""
    texts = [ids.texts() for ids in lists]
    return np.concatenate([text.astype(f"S{max(text.itemsize for text in texts)}") for text in texts])


def _number(keys, segments, owners):
    """Numbers the different segments by their first appearance.

    Args:
        keys: uint64 (n,), hashes of the `segments`, bytes (n,); owners: int (n,), the list of each.

    Returns:
        int (n,), the number of each segment, and int (m,), the place where each number first appears, ascending.
    """
    short = keys >> np.uint64(20)  # Leaves room for the places.
    order = _stable_order(short)
    same = keys[order[1:]] == keys[order[:-1]]
    repeated = np.flatnonzero(same)
    collision = (same != (short[order[1:]] == short[order[:-1]])).any()
    if collision or (segments[order[repeated]] != segments[order[repeated + 1]]).any():
        order, same = _by_text(segments)  # Different segments share a hash, which hardly ever happens.
        repeated = np.flatnonzero(same)
    if (twice := repeated[owners[order[repeated]] == owners[order[repeated + 1]]]).size:
        raise UserError(f'the id "{_show(segments[order[twice[0]]])}" is listed twice')
    new = np.concatenate([np.ones(min(len(keys), 1), bool), ~same])
    places = order[new]
    is_first = np.zeros(len(keys), bool)
    is_first[places] = True
    numbers = np.empty(len(keys), np.intp)
    numbers[order] = (np.cumsum(is_first) - 1)[places][np.cumsum(new) - 1]
    return numbers, np.flatnonzero(is_first)


def _by_text(segments):
    order = np.argsort(segments, kind="stable")
    return order, segments[order[1:]] == segments[order[:-1]]


def _stable_order(values):
    """`np.argsort(values, kind="stable")` of uint64 values, faster where value and place fit one word together."""
    bits = max(len(values) - 1, 1).bit_length()
    if not len(values) or int(values.max()).bit_length() + bits > 64:
        return np.argsort(values, kind="stable")
    packed = np.sort(values << np.uint64(bits) | np.arange(len(values), dtype=np.uint64))
    return (packed & np.uint64((1 << bits) - 1)).astype(np.intp)


def _joined(segments):
    """An array of ids as text, separated by blanks."""
    rows = np.zeros((len(segments), segments.itemsize + 1), np.uint8)
    rows[:, :-1] = segments.view(np.uint8).reshape(len(segments), segments.itemsize)
    rows[:, -1] = ord(" ")
    flat = rows.ravel()
    return flat[flat != 0].tobytes()[:-1]


def _show(segment):
    return text_of(segment[:40])


def write_joined(
    output_file: str,
    paths: Sequence[str],
    weights: Sequence[float] | np.ndarray,
    cap: int,
    seen: Seen | None = None,
) -> int:
    """Writes the joined submission, whole or not at all; returns the number of classes.

    Args:
        output_file: path of a `Class,Segments` file.
        weights: float (M,), summing to one; a member of weight 0 is left out.
        cap: ids of a list.
        seen: called with how far each file has been read.

    Raises:
        UserError: naming file or class of what is wrong.
    """
    weights, count = np.asarray(weights, np.float64), 0
    paths, weights = [path for path, weight in zip(paths, weights) if weight > 0], weights[weights > 0]

    def join(item):
        class_id, texts = item
        try:
            return class_id, join_lists(texts, weights, cap)
        except UserError as error:
            raise UserError(f"Class {class_id}: {error} in one of {', '.join(map(str, paths))}.") from error

    with files.write_file(output_file, "wb") as file:
        file.write(HEADER.encode() + b"\n")
        for class_id, text in _ahead(join, side_by_side(paths, seen)):
            file.write(b"%d,%s\n" % (class_id, text))
            count += 1
    return count


def _ahead(function, items):
    """`map(function, items)` by threads, in order, at most `_AHEAD` items ahead; numpy works without Python's lock."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = collections.deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
