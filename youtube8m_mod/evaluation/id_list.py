"""The ids of a submission's line, taken apart and compared on arrays: a line can hold 100,000 of them."""

import numpy as np

_SPACE, _COLON, _ZERO, _NINE = 32, 58, 48, 57
_DIGITS = 9  # A start time has no more.
_WORD = 8
# _LOW[n] keeps the n lowest bytes of a word.
_LOW = np.array([(1 << 8 * n) - 1 for n in range(_WORD + 1)], np.uint64)
_MIX = np.uint64(0x9E3779B97F4A7C15)


class IdList:
    """Ids in a line's text, separated by blanks.

    Args:
        text: bytes.

    Attributes:
        keys: uint64 (n,), a hash of each id; different ids may share one, so equal keys are compared as text.
    """

    def __init__(self, text: bytes):
        self._text = np.frombuffer(text + bytes(_WORD), np.uint8)
        blanks = np.flatnonzero(self._text[: len(text)] == _SPACE)
        self._starts = np.concatenate([[0], blanks + 1])
        self._ends = np.concatenate([blanks, [len(text)]])
        filled = self._ends > self._starts
        if not filled.all():
            self._starts, self._ends = self._starts[filled], self._ends[filled]
        self.keys = self._hash()

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> bytes:
        """The id at a place, as bytes."""
        return self._text[self._starts[index] : self._ends[index]].tobytes()

    def texts(self) -> np.ndarray:
        """The ids as an array of bytes (dtype S, padded with zero bytes)."""
        lengths = self._ends - self._starts
        width = int(lengths.max(initial=1))
        padded = np.concatenate([self._text, np.zeros(width, np.uint8)])
        rows = np.lib.stride_tricks.sliding_window_view(padded, width)[self._starts]  # (n, width)
        rows[np.arange(width) >= lengths[:, None]] = 0
        return rows.view(f"S{width}")[:, 0]

    def cut(self, count: int) -> None:
        """Keeps the first `count` ids."""
        self._starts, self._ends, self.keys = self._starts[:count], self._ends[:count], self.keys[:count]

    def malformed(self) -> np.ndarray:
        """Places of the ids that are not `<video id>:<digits>`, int (m,)."""
        if not len(self):
            return np.empty(0, np.intp)
        text = self._text[: self._ends[-1]]
        colons = np.flatnonzero(text == _COLON)
        wrong = np.zeros(len(self), bool)
        if colons.size != len(self) or (colons < self._starts).any() or (colons >= self._ends).any():
            firsts = np.searchsorted(colons, self._starts)
            wrong = np.searchsorted(colons, self._ends) - firsts != 1
            colons = np.where(wrong, self._starts, np.append(colons, 0)[firsts])
        wrong |= (colons == self._starts) | (colons == self._ends - 1) | (self._ends - colons > _DIGITS + 1)
        for place in range(1, min(int((self._ends - colons).max()), _DIGITS + 1)):
            byte = self._text[np.minimum(colons + place, len(self._text) - 1)]
            wrong |= (byte - np.uint8(_ZERO) > _NINE - _ZERO) & (colons + place < self._ends)
        return np.flatnonzero(wrong)

    def repeated(self) -> np.ndarray:
        """Places of the ids that occur before in the list, int (m,), ascending."""
        ordered = np.sort(self.keys)
        shared = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        if not shared.size:
            return np.empty(0, np.intp)
        seen, places = set(), []
        for place in np.flatnonzero(np.isin(self.keys, shared)).tolist():
            segment = self[place]
            if segment in seen:
                places.append(place)
            seen.add(segment)
        return np.array(places, np.intp)

    def find(self, ids: "IdSet") -> tuple[np.ndarray, np.ndarray]:
        """Where ids of a set stand in the list.

        Args:
            ids: `IdSet`.

        Returns:
            places int (m,), ascending, and members int (m,), the index in the set of the id at each place.
        """
        places = np.flatnonzero(ids.sieve[(self.keys >> np.uint64(48)).astype(np.intp)])
        keys = self.keys[places]
        spots = np.searchsorted(ids.keys, keys)
        spots[spots == len(ids.keys)] = 0
        hit = ids.keys[spots] == keys if len(ids.keys) else np.zeros(0, bool)
        pairs = [
            (place, member)
            for place, spot in zip(places[hit].tolist(), spots[hit].tolist())
            if (member := ids.member(spot, self[place])) is not None
        ]
        return tuple(np.array(column, np.intp) for column in (zip(*pairs) if pairs else ((), ())))

    def _hash(self):
        # A word at every byte: reading one at an odd place is what makes this fast.
        words = np.ndarray((len(self._text) - _WORD + 1,), "<u8", self._text.data, strides=(1,))
        lengths = self._ends - self._starts
        keys = words[self._starts] & _LOW[np.minimum(lengths, _WORD)]
        keys = keys * _MIX
        for offset in range(_WORD, int(lengths.max(initial=0)), _WORD):
            more = np.flatnonzero(lengths > offset)
            word = words[self._starts[more] + offset] & _LOW[np.minimum(lengths[more] - offset, _WORD)]
            keys[more] = ((keys[more] ^ keys[more] >> np.uint64(29)) + word) * _MIX
        return keys


class IdSet:
    """Different ids that lists are searched for.

    Args:
        ids: list of bytes, which is kept as an attribute.
    """

    def __init__(self, ids: list[bytes]):
        keys = IdList(b" ".join(ids)).keys
        order = np.argsort(keys, kind="stable")
        self.keys = keys[order]
        self.ids, self._order = ids, order
        self.sieve = np.zeros(1 << 16, bool)
        self.sieve[(keys >> np.uint64(48)).astype(np.intp)] = True

    def member(self, spot: int, segment: bytes) -> int | None:
        """Index of the id `segment` among those whose key is `keys[spot]`, the first of them; None: not there."""
        key = self.keys[spot]
        while spot < len(self.keys) and self.keys[spot] == key:
            if self.ids[self._order[spot]] == segment:
                return int(self._order[spot])
            spot += 1
        return None
