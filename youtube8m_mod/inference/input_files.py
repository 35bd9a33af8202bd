"""The input files of a run: the groups in which they are done, and which videos are in which."""

from collections.abc import Collection, Iterable, Iterator, Sequence

from youtube8m_mod.data.ground_truth import places
from youtube8m_mod.data.video_ids import text_of
from youtube8m_mod.errors import UserError


class Owners:
    """Which input files each video is of: an id that occurs twice is an error."""

    def __init__(self, paths: Sequence[str]):
        self._paths, self._groups, self._owner = paths, [], {}

    def add(self, group: Sequence[int], ids: Collection[bytes]) -> None:
        for video_id in ids:
            if video_id in self._owner:
                earlier = self._groups[self._owner[video_id]]
                raise twice(video_id, [self._paths[number] for number in sorted({*earlier, *group})])
        self._owner |= dict.fromkeys(ids, len(self._groups))
        self._groups.append(group)


def twice(video_id: bytes, paths: Iterable[str]) -> UserError:
    """The error for an id that occurs twice in some files; they are looked through for the places."""
    found = places(paths, video_id)[:2]
    named = f": {' and '.join(found)}" if len(found) == 2 else ""
    return UserError(f"Video {text_of(video_id)} occurs twice in the input{named}.")


def consecutive(numbers: list[int]) -> list[list[int]]:
    """`numbers`, ascending, cut where one is left out."""
    breaks = [place for place in range(1, len(numbers)) if numbers[place] != numbers[place - 1] + 1]
    return [numbers[start:end] for start, end in zip([0, *breaks], [*breaks, len(numbers)]) if start < end]


def groups_of(sizes: Iterable[int], limit: int) -> Iterator[list[int]]:
    """Lists of consecutive numbers of files, each of about `limit` bytes by their `sizes`.

    All files count, also those that are done: the same files give the same groups, in whatever order they are done.
    """
    group, total = [], 0
    for number, size in enumerate(sizes):
        if group and total + size > limit:
            yield group
            group, total = [], 0
        group.append(number)
        total += size
    if group:
        yield group
