"""Golden item 8: Eq. (1), its limits, and the fallback, against the original's post-processing."""

import numpy as np
import pytest

from tests import golden_data
from youtube8m_mod.formats.predictions import read_predictions
from youtube8m_mod.formats.submission import read_submission, write_submission
from youtube8m_mod.localization.fallback import Fallback
from youtube8m_mod.localization.ranked_lists import Localization, LocalizationConfig
from youtube8m_mod.localization.ranking import TopK
from youtube8m_mod.localization.value_model import first_segments

ITEM = golden_data.item("segment_inference")
VALUE_MODEL = ITEM.info["value_model"]
LENGTHS = ITEM.info["video_lengths"]
CLASS_IDS = np.array(VALUE_MODEL["whitelist"])


def table(path, missing=np.nan):
    """(ids, float64 (n, vocabulary)) of a predictions file."""
    rows = list(read_predictions(path))
    width = max(int(classes.max()) for _, classes, _ in rows) + 1
    values = np.full((len(rows), max(width, CLASS_IDS.max() + 1)), missing)
    for row, (_, classes, probabilities) in zip(values, rows):
        row[classes] = probabilities
    return [line_id for line_id, _, _ in rows], values


VIDEO_IDS, VIDEO = table(golden_data.path(VALUE_MODEL["inputs"][0]), missing=-1.0)
FALLBACK = dict(zip(*table(golden_data.path(VALUE_MODEL["inputs"][1]))))
SEGMENTS = dict(zip(*table(golden_data.path(VALUE_MODEL["inputs"][2]), missing=-1.0)))  # Their best classes only.
TOP_K = int((VIDEO[0] >= 0).sum())
WHOLE = np.array([LENGTHS[video_id] for video_id in VIDEO_IDS]) // 5
SLOTS = int(WHOLE.max()) + 1


def segment_rows(video_id):
    return np.array([SEGMENTS[f"{video_id}:{start}"] for start in range(0, min(LENGTHS[video_id], 300), 5)])


def localize(config, rerank=None):
    considered = first_segments(VIDEO, WHOLE, np.array(VIDEO_IDS, np.bytes_), rerank or WHOLE.sum())
    localization = Localization(CLASS_IDS, config, SLOTS)
    for video_id, video, counts in zip(VIDEO_IDS, VIDEO, considered):
        localization.add(
            video_id.encode(),
            LENGTHS[video_id],
            video,
            segment_rows(video_id)[:, CLASS_IDS],
            FALLBACK[video_id],
            counts[CLASS_IDS],
        )
    return localization


def config_of(run):
    return LocalizationConfig(
        top_k=TOP_K,
        segment_max_pred=run["write_limit"],
        cutoff=run["cutoff"],
        video_exponent=run["video_exp"],
        segment_exponent=run["seg_exp"],
    )


def submission(path):
    return {int(name): ids.decode().split() for _, name, ids in read_submission(path) if name != b"Class"}


def value(class_id, segment, run):
    """What the order of a list goes by; segments of the fallback come last."""
    video_id = segment.split(":")[0]
    place = VIDEO_IDS.index(video_id)
    video, own = VIDEO[place, class_id], SEGMENTS.get(segment, np.full(len(VIDEO[0]), -1))[class_id]
    combined = video ** run["video_exp"] * own ** run["seg_exp"] if min(video, own) >= 0 else -1
    return combined if combined >= run["cutoff"] else FALLBACK[video_id][class_id] - 10


def assert_same_order(actual, expected, value_of):
    """Equal lists; only segments of equal value (to float32) may have changed places."""
    assert len(actual) == len(set(actual)) == len(expected)
    for ours, theirs in zip(actual, expected):
        assert ours == theirs or value_of(ours) == pytest.approx(value_of(theirs), rel=2e-7), (ours, theirs)


@pytest.mark.parametrize("name", VALUE_MODEL["runs"])
def test_golden_submission(name, tmp_path):
    run = VALUE_MODEL["runs"][name]
    localization = localize(config_of(run), run["rerank"])
    write_submission(tmp_path / "submission.csv", CLASS_IDS, localization.lists(), localization.video_ids(), SLOTS)
    actual, expected = submission(tmp_path / "submission.csv"), submission(golden_data.path(run["csv"]))
    assert list(actual) == list(expected)
    assert [c for c in actual if not actual[c]] == run["classes_without_any_value"]
    for c in expected:
        assert_same_order(actual[c], expected[c], lambda segment, c=c: value(c, segment, run))


@pytest.mark.parametrize("name", VALUE_MODEL["runs"])
def test_golden_values(name):
    run = VALUE_MODEL["runs"][name]
    state = localize(config_of(run), run["rerank"]).state()
    limit = run["write_limit"]
    counts = [min(run["combined_count"].get(str(c), 0), limit) for c in CLASS_IDS]
    assert state["segments/counts"].tolist() == counts
    ends = np.cumsum(counts)
    for c, end, count in zip(CLASS_IDS, ends, counts):
        expected = np.array([score for _, score in run["combined"].get(str(c), [])])
        np.testing.assert_allclose(state["segments/scores"][end - count : end][: len(expected)], expected, rtol=2e-7)


def test_golden_video_level_ranking():
    expected = ITEM.info["dummy_video"]
    ranking = TopK(len(CLASS_IDS), 100_000, slots=1)
    for video_id, probabilities in zip(VIDEO_IDS, VIDEO):
        ranking.add(video_id.encode(), [0], probabilities[np.newaxis, CLASS_IDS])
    ids = ranking.video_ids()
    fallback = Fallback(ids, [LENGTHS[video_id.decode()] // 5 for video_id in ids], SLOTS)
    nothing = np.empty(0, np.int64)
    for c, (_, videos, _) in zip(CLASS_IDS, ranking.lists()):
        videos, starts = fallback.fill(nothing, nothing, videos, 100_000)
        actual = [f"{ids[video].decode()}:{start}" for video, start in zip(videos, starts)]
        assert_same_order(actual, [segment for segment, _ in expected[str(c)]], dict(expected[str(c)]).get)


@pytest.mark.parametrize("key", [key for key in ITEM.info if key.startswith("dummy_segment")])
def test_golden_segment_level_ranking_of_candidates(key):
    expected = ITEM.info[key]
    ranking = TopK(len(CLASS_IDS), int(key.rpartition("limit")[2]))
    for video_id, probabilities in zip(VIDEO_IDS, VIDEO):
        rows = segment_rows(video_id)
        ranking.add(video_id.encode(), 5 * np.arange(len(rows)), np.where(probabilities >= 0, rows, -1)[:, CLASS_IDS])
    ids = ranking.video_ids()
    for c, (scores, videos, starts) in zip(CLASS_IDS, ranking.lists()):
        names = [f"{ids[video].decode()}:{start}" for video, start in zip(videos, starts)]
        pairs = expected[str(c)]
        assert_same_order(names, [segment for segment, _ in pairs], lambda segment, c=c: SEGMENTS[segment][c])
        np.testing.assert_allclose(scores, [score for _, score in pairs], rtol=1e-7)
