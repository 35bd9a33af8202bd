"""From the files of inference to what a page shows."""

import numpy as np
import pytest

from tests.explore.pages import SEGMENTS, SUBMISSION, VIDEOS, YOUTUBE, write_predictions
from youtube8m_mod.data import records
from youtube8m_mod.errors import UserError
from youtube8m_mod.evaluation.rated_labels import RatedLabels
from youtube8m_mod.explore import truth
from youtube8m_mod.explore.contents import Truth, Video, best_segments
from youtube8m_mod.explore.outputs import read_outputs


@pytest.fixture
def segments(tmp_path):
    return write_predictions(tmp_path / "segments.csv", SEGMENTS)


@pytest.fixture
def submission(tmp_path):
    (tmp_path / "submission.csv").write_text(SUBMISSION)
    return str(tmp_path / "submission.csv")


def test_probabilities_of_segments(segments):
    contents = read_outputs(segments)
    assert contents.quantity == "probability" and not contents.notes
    video = contents.videos[0]
    assert [v.id for v in contents.videos] == ["SjJ3", YOUTUBE, "abcd"]
    assert video.rows(20) == [11, 5] and video.rows(1) == [11]
    np.testing.assert_allclose(video.strip(11), [0.25, 0.75, 0.9])
    np.testing.assert_allclose(video.strip(5), [0.5, 0.125, np.nan])
    assert [(v, s) for v, s, _ in contents.best[5]] == [(1, 0), (1, 1), (0, 0), (0, 1)]
    assert [(v, s) for v, s, _ in contents.best[11]] == [(0, 2), (0, 1), (0, 0), (1, 1)]


def test_values_of_equation_1_of_the_candidates(segments, tmp_path):
    contents = read_outputs(segments, write_predictions(tmp_path / "videos.csv", VIDEOS))
    assert contents.quantity == "value"
    np.testing.assert_allclose(
        contents.videos[0].strip(11), [0.5**0.05 * p**0.95 for p in (0.25, 0.75, 0.9)], rtol=1e-6
    )
    assert contents.videos[1].rows(20) == [5, 7]  # 11 is no candidate of this video.
    assert contents.videos[1].video_probabilities == {5: 1.0, 7: 0.25}
    assert [v for v, _, _ in contents.best[11]] == [0, 0, 0]


def test_ranks_of_a_submission_alone(submission):
    contents = read_outputs(submission=submission)
    assert contents.quantity == "rank"
    videos = {video.id: video for video in contents.videos}
    np.testing.assert_allclose(1 / videos[YOUTUBE].strip(5), [3, 1])
    order = [(contents.videos[v].id, s) for v, s, _ in contents.best[5]]
    assert order == [(YOUTUBE, 1), ("SjJ3", 0), (YOUTUBE, 0)]
    assert any("first 1,000 places" in note for note in contents.notes)


def test_a_submission_orders_the_best_segments(segments, submission):
    contents = read_outputs(segments, submission=submission)
    assert contents.quantity == "probability"
    assert [(v, s) for v, s, _ in contents.best[5]] == [(1, 1), (0, 0), (1, 0)]
    np.testing.assert_allclose([value for _, _, value in contents.best[5]], [0.6, 0.5, 0.8])


def test_some_videos_only(segments):
    contents = read_outputs(segments, max_videos=2)
    assert [video.id for video in contents.videos] == ["SjJ3", YOUTUBE]
    assert contents.notes == ["The first 2 of 3 videos of the file are shown."]
    assert 1 not in {v for v, _, _ in read_outputs(segments, video_ids=["abcd"]).best[7]}
    assert [v.id for v in read_outputs(segments, video_ids=["abcd", "SjJ3"]).videos] == ["abcd", "SjJ3"]
    with pytest.raises(UserError, match="holds no segment of video none"):
        read_outputs(segments, video_ids=["none"])


@pytest.mark.parametrize(
    "line, message",
    [
        ("SjJ3,11 0.5", "expected segments <video id>:<start>"),
        ("SjJ3:3,11 0.5", "a multiple of 5 seconds"),
        ("SjJ3:0,11 0.5\nSjJ3:0,11 0.5", "listed twice"),
        ("SjJ3:500000,11 0.5", "expected segments"),
        ("", "holds no segment"),
    ],
)
def test_a_file_of_another_form(tmp_path, line, message):
    (tmp_path / "s.csv").write_text(line + "\n")
    with pytest.raises(UserError, match=message):
        read_outputs(str(tmp_path / "s.csv"))


def test_video_predictions_of_other_videos(segments, tmp_path):
    with pytest.raises(UserError, match="no prediction of video SjJ3"):
        read_outputs(segments, write_predictions(tmp_path / "videos.csv", {"other": {1: 0.5}}))
    with pytest.raises(UserError, match="do not say when"):
        read_outputs(video_predictions=str(tmp_path / "videos.csv"))


def test_best_segments_against_a_plain_definition():
    random = np.random.default_rng(0)
    videos = []
    for number in range(5):
        values = random.choice([np.nan, 0.1, 0.2, 0.3], (random.integers(0, 6), 4)).astype(np.float32)
        videos.append(Video(f"v{number}", random.permutation(6)[:4], values))
    everything = [
        (int(c), v, s, float(video.values[s, column]))
        for v, video in enumerate(videos)
        for column, c in enumerate(video.classes)
        for s in range(len(video.values))
        if not np.isnan(video.values[s, column])
    ]
    expected = {}
    for c, v, s, value in sorted(everything, key=lambda entry: (entry[0], -entry[3], entry[1], entry[2])):
        expected.setdefault(c, []).append((v, s, value))
    assert best_segments(videos, 3) == {c: found[:3] for c, found in expected.items()}


def test_true_classes_are_shown_and_lengthen_the_grid():
    video = Video("v", np.array([1, 2, 3]), np.array([[0.1, 0.3, 0.2]], np.float32))
    video.truth = Truth(labels=[9], spans=[(8, 10, 15, False), (2, 0, 5, True)])
    assert video.rows(2) == [2, 3, 8]  # The label 9 is no span.
    assert video.num_segments == 3
    np.testing.assert_allclose(video.strip(2), [0.3, np.nan, np.nan])
    assert np.isnan(video.strip(8)).all()


def test_truth_of_records_ratings_and_scenes(tmp_path):
    features = {"rgb": np.zeros((10, 4), np.uint8)}
    record = records.frame_level_record("abcd", [7, 3], features, [(5, 7, 1), (0, 3, 0)])
    records.write_shard(str(tmp_path / "r.tfrecord"), [record])
    truths = {}
    truth.add_records(truths, str(tmp_path / "r.tfrecord"))
    assert truths == {"abcd": Truth([3, 7], [(7, 5, 10, True), (3, 0, 5, False)])}
    truths = {}
    truth.add_ratings(truths, RatedLabels({7: {b"a:b:15": True}}))
    assert truths == {"a:b": Truth([], [(7, 15, 20, True)])}
    (tmp_path / "truth.json").write_text(
        '{"videos": {"v": {"labels": [1], "scenes": [{"start": 0, "end": 12, "labels": [1, 2]}]}}}'
    )
    truth.add_scenes(truths, str(tmp_path / "truth.json"))
    assert truths["v"] == Truth([1], [(1, 0, 12, True), (2, 0, 12, True)])
    (tmp_path / "truth.json").write_text('{"videos": {"v": 1}}')
    with pytest.raises(UserError, match="does not hold the scenes"):
        truth.add_scenes(truths, str(tmp_path / "truth.json"))
