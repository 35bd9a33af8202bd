import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from youtube8m_mod.errors import UserError
from youtube8m_mod.localization import ranking as ranking_module
from youtube8m_mod.localization.ranking import TopK

# Few values, so that ties abound.
_SCORES = st.sampled_from([-1.0, -0.0, 0.0, 1e-40, 0.25, np.nextafter(np.float32(0.25), 1), 0.5, 1.0])


def definition(videos, num_classes, k):
    """The k best of every class: by score, then video id, then start."""
    lists = []
    for c in range(num_classes):
        entries = [
            (-abs(float(np.float32(scores[row][c]))), video_id, 5 * row)
            for video_id, scores in videos
            for row in range(len(scores))
            if scores[row][c] >= 0
        ]
        lists.append([(-score, video_id, start) for score, video_id, start in sorted(entries)[:k]])
    return lists


def entries(ranking):
    ids = ranking.video_ids()
    return [
        list(zip(scores.tolist(), ids[videos].tolist(), starts.tolist())) for scores, videos, starts in ranking.lists()
    ]


def fill(ranking, videos):
    for video_id, scores in videos:
        scores = np.array(scores, np.float32).reshape(len(scores), ranking.num_classes)
        ranking.add(video_id, 5 * np.arange(len(scores)), scores)
    return ranking


@st.composite
def streams(draw):
    num_classes = draw(st.integers(1, 3))
    ids = draw(st.lists(st.sampled_from([b"a", b"b", b"ab", b"B", b"zz", b"z_-9", b"0123456789abcdef"]), unique=True))
    rows = st.lists(st.lists(_SCORES, min_size=num_classes, max_size=num_classes), max_size=5)
    return num_classes, [(video_id, draw(rows)) for video_id in ids]


@settings(max_examples=150)
@given(streams(), st.integers(1, 6), st.integers(1, 3), st.data())
def test_any_order_any_sharding_any_flushing_gives_the_definition(stream, k, num_shards, data):
    num_classes, videos = stream
    pending = data.draw(st.sampled_from([1, 7, 1 << 19]))
    spare = data.draw(st.sampled_from([1, 3, 1024]))
    arrival = data.draw(st.permutations(videos))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking_module, "_PENDING", pending)
        patch.setattr(ranking_module, "_SPARE", spare)
        shards = [fill(TopK(num_classes, k), arrival[i::num_shards]) for i in range(num_shards)]
        merged = TopK(num_classes, k)
        for shard in data.draw(st.permutations(shards)):
            merged.merge(shard.state())
    assert entries(merged) == definition(videos, num_classes, k)


def test_classes_of_columns():
    ranking = TopK(5, 2)
    ranking.add(b"v", [10, 0], [[0.5, 0.25], [-1, 0.75]], classes=[4, 1])
    assert entries(ranking) == [[], [(0.75, b"v", 0), (0.25, b"v", 10)], [], [], [(0.5, b"v", 10)]]


def test_long_stream_is_cut_exactly():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 2000, (40, 300, 3)).astype(np.float32) / 2000  # 12,000 entries a class, many equal.
    ids = [b"%03d" % i for i in rng.permutation(40)]
    ranking = fill(TopK(3, 50, slots=300), zip(ids, scores))
    assert entries(ranking) == definition(list(zip(ids, scores)), 3, 50)


def test_memory_is_bounded_by_classes_times_k():
    ranking = TopK(2, 10)
    for i in range(400):
        ranking.add(b"%d" % i, 5 * np.arange(60), np.full((60, 2), i, np.float32))
    assert sum(row.size for row in ranking._rows) <= 2 * (10 + 1024)


def test_state_does_not_depend_on_the_order():
    videos = [(b"b", [[0.5], [0.25]]), (b"a", [[0.5]]), (b"c", [[0.5]]), (b"d", [])]
    expected = fill(TopK(1, 3), videos).state()
    for order in itertools.permutations(videos):
        state = fill(TopK(1, 3), order).state()
        assert {key: (value.dtype, value.tobytes()) for key, value in state.items()} == {
            key: (value.dtype, value.tobytes()) for key, value in expected.items()
        }
    assert expected["video_ids"].tolist() == [b"a", b"b", b"c", b"d"]
    assert expected["scores"].tolist() == [0.5] * 3
    assert expected["codes"].tolist() == [0, 60, 120]


def test_empty():
    ranking = TopK(2, 3)
    assert entries(ranking) == [[], []]
    other = TopK(2, 3)
    other.merge(ranking.state())
    assert entries(other) == [[], []]


@pytest.mark.parametrize(
    "starts, scores, message",
    [
        ([0], [[np.nan]], "Video v: a score is not a number."),
        ([3], [[0.5]], "multiples of 5 from 0 to 295, got \\[3\\]"),
        ([300], [[0.5]], "multiples of 5 from 0 to 295, got \\[300\\]"),
    ],
)
def test_wrong_segments_are_refused(starts, scores, message):
    with pytest.raises(UserError, match=message):
        TopK(1, 3).add(b"v", starts, scores)


def test_a_video_counts_once():
    ranking = fill(TopK(1, 3), [(b"v", [[0.5]])])
    for again in (lambda: fill(ranking, [(b"v", [[0.5]])]), lambda: ranking.merge(ranking.state())):
        with pytest.raises(UserError, match="Video v occurs twice in the input."):
            again()


def test_other_rankings_are_refused():
    with pytest.raises(UserError, match="2 classes, 3 entries and 60 slots cannot take one of 2, 4 and 60"):
        TopK(2, 3).merge(TopK(2, 4).state())
