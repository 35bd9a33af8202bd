import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from youtube8m_mod.evaluation import id_list
from youtube8m_mod.evaluation.id_list import IdList, IdSet

_IDS = st.one_of(
    st.from_regex(rb"[a-c]{1,2}:[0-9]{1,3}", fullmatch=True),
    st.from_regex(rb"[a-z0-9_-]{8,20}:(5|10)", fullmatch=True),
    st.sampled_from(
        [b"a", b":", b"a:", b":5", b"a:b:5", b"a:5x", b"a:-5", b"a:5:", b"a:1234567890", b"\xc3\xa4:5", b"a:5,b:5"]
    ),
)


@settings(max_examples=300)
@given(st.lists(_IDS, max_size=12), st.lists(_IDS, unique=True, max_size=8), st.sampled_from([b" ", b"  "]))
def test_as_plain_python(ids, wanted, blank):
    listed, wanted_set = IdList(blank.join(ids)), IdSet(wanted)
    assert len(listed) == len(ids)
    assert [listed[i] for i in range(len(ids))] == ids
    assert listed.malformed().tolist() == [
        i for i, text in enumerate(ids) if not re.fullmatch(rb"[^: ]+:[0-9]{1,9}", text)
    ]
    assert listed.repeated().tolist() == [i for i, text in enumerate(ids) if text in ids[:i]]
    places, members = listed.find(wanted_set)
    assert list(zip(places.tolist(), members.tolist())) == [
        (i, wanted.index(text)) for i, text in enumerate(ids) if text in wanted
    ]


def test_ids_that_share_a_hash_are_told_apart(monkeypatch):
    monkeypatch.setattr(IdList, "_hash", lambda self: np.full(len(self._starts), 7, np.uint64))
    listed = IdList(b"a:5 b:5 a:5 c:5 b:5")
    assert listed.repeated().tolist() == [2, 4]
    places, members = listed.find(IdSet([b"x:5", b"b:5", b"a:5"]))
    assert (places.tolist(), members.tolist()) == ([0, 1, 2, 4], [2, 1, 2, 1])


@pytest.mark.parametrize("text", [b"", b" ", b"   "])
def test_empty(text):
    listed = IdList(text)
    assert len(listed) == len(listed.malformed()) == len(listed.repeated()) == 0
    assert [part.tolist() for part in listed.find(IdSet([b"a:5"]))] == [[], []]


def test_cut():
    listed = IdList(b"a:5 b:5 c:5")
    listed.cut(2)
    assert len(listed) == 2 and listed.find(IdSet([b"c:5", b"b:5"]))[0].tolist() == [1]


def test_a_start_has_nine_digits_at_most():
    assert id_list._DIGITS == 9
    assert IdList(b"a:123456789 a:1234567890 " + b"a:" + b"5" * 100_000).malformed().tolist() == [1, 2]
