import numpy as np
import pytest

from youtube8m_mod.data import records
from youtube8m_mod.errors import UserError
from youtube8m_mod.miniature.bank import Scene, SyntheticBank
from youtube8m_mod.miniature.composition import Composer, Settings, real_shares

SMALL = dict(feature_sizes=(24, 8), num_classes=40, num_segment_classes=15)


class FixedBank:
    """Hands out scenes with given means, labelled 0, 1, 2, ... in turn."""

    frequencies = np.linspace(0.2, 0.01, 40)

    def __init__(self, means):
        self.means, self.drawn = means, 0

    def draw(self, partition, count, rng):
        self.drawn += count
        return [Scene(self.means, ((self.drawn + i) % 40,)) for i in range(count)]


def videos(count, partition="test", **settings):
    settings = Settings(**SMALL | settings)
    composer = Composer(settings, SyntheticBank(settings.num_classes, settings.feature_sizes, settings.seed))
    return [composer.video(partition, index) for index in range(count)]


def scene_at(video, frame):
    return next(scene for start, end, scene in video.spans if start <= frame < end)


def test_scenes_cover_the_video_and_hold_a_segment_each():
    seen = set()
    for video in videos(100, min_frames=22, max_frames=47, min_scenes=1, max_scenes=6):
        assert 22 <= video.num_frames <= 47
        assert all(array.dtype == np.uint8 and len(array) == video.num_frames for array in video.features.values())
        assert [array.shape[1] for array in video.features.values()] == [24, 8]
        bounds = [start for start, _, _ in video.spans] + [video.num_frames]
        assert bounds[0] == 0 and [end for _, end, _ in video.spans] == bounds[1:]
        assert np.diff(bounds).min() >= 5
        seen.add(len(video.spans))
    assert seen == {1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize(
    "feature, mean_std, std, correlations",
    [
        (0, 0.46, 0.97, {1: 0.40, 2: 0.27, 3: 0.21, 5: 0.15, 10: 0.04}),
        (1, 0.68, 0.92, {1: 0.47, 2: 0.37, 3: 0.33, 5: 0.25, 10: 0.08}),
    ],
)
def test_frames_vary_around_their_scene_as_in_the_real_video(feature, mean_std, std, correlations):
    size = 400
    means = np.clip(np.random.default_rng(1).standard_normal(2 * size) * mean_std, -1.5, 1.5).astype(np.float32)
    settings = Settings(feature_sizes=(size, size), min_frames=60, max_frames=60, min_scenes=1, max_scenes=1)
    composer = Composer(settings, FixedBank(means))
    name = settings.feature_names[feature]
    frames = np.stack([composer.video("train", i).features[name] for i in range(30)])  # (30, 60, size)
    values = records.dequantize(frames)
    expected = means[feature * size : (feature + 1) * size]
    assert np.sqrt(np.mean((values.mean((0, 1)) - expected) ** 2)) < 0.07  # Standard error of a mean: 0.05.
    assert abs((values.mean((0, 1)) - expected).mean()) < 0.01
    assert np.polyfit(expected, values.mean((0, 1)), 1)[0] == pytest.approx(1, abs=0.02)
    noise = values - expected
    assert noise.std() == pytest.approx(std, abs=0.015)
    for lag, correlation in correlations.items():
        measured = (noise[:, lag:] * noise[:, :-lag]).mean() / noise.var()
        assert measured == pytest.approx(correlation, abs=0.03), lag
    # Real: 3.5% (rgb) and 4.6% (audio) at each end.
    assert 0.03 < (frames == 0).mean() < 0.07 and 0.03 < (frames == 255).mean() < 0.07


def test_machine_labels_without_noise_are_the_union():
    for video in videos(20, missed_rate=0, spurious_rate=0):
        assert video.labels == tuple(sorted({label for _, _, scene in video.spans for label in scene.labels}))


def test_machine_labels_miss_and_invent():
    missed = spurious = total = 0
    composed = videos(300, missed_rate=0.2, spurious_rate=0.5)
    for video in composed:
        true = {label for _, _, scene in video.spans for label in scene.labels}
        assert video.labels == tuple(sorted(set(video.labels))) and video.labels
        missed += len(true - set(video.labels))
        spurious += len(set(video.labels) - true)
        total += len(true)
    # An invented label that the video has is no mistake, and may repair a missed one.
    assert missed / total == pytest.approx(0.2, abs=0.04)
    assert 0.2 < spurious / len(composed) < 0.5


def test_every_video_has_a_label_even_if_all_were_missed():
    assert all(len(video.labels) == 1 for video in videos(20, missed_rate=1, spurious_rate=0))


def test_ratings():
    composed = videos(400, rated_share=0.75, ratings_per_video=6, spurious_rate=0.5)
    assert np.mean([video.segments is not None for video in composed]) == pytest.approx(0.75, abs=0.07)
    scores, of_invented = [], 0
    for video in composed:
        for start, label, score in video.segments or ():
            assert start % 5 == 0 and start + 5 <= video.num_frames
            assert label in video.labels and label < 15
            assert score == (label in scene_at(video, start + 2).labels)
            scores.append(score)
            of_invented += not any(label in scene.labels for _, _, scene in video.spans)
        rated = [(start, label) for start, label, _ in video.segments or ()]
        assert len(rated) == len(set(rated)) <= 6
    assert 0.45 < np.mean(scores) < 0.65
    assert of_invented > 10
    assert np.mean([len(video.segments) for video in composed if video.segments]) > 5


def test_real_shares():
    """Spread as the real ones, class by class; whatever else is drawn stays."""
    shares = real_shares(1000)
    assert shares.mean() == pytest.approx(0.555, abs=0.01) and shares.std() == pytest.approx(0.165, abs=0.01)
    settings = dict(min_frames=20, max_frames=40, num_classes=100, num_segment_classes=20, feature_sizes=(2, 2))
    counts = {}
    for video in videos(1200, real_shares=True, **settings):
        for _, label, score in video.segments or ():
            counts.setdefault(label, []).append(score)
    found = sorted(np.mean(scores) for scores in counts.values())
    assert len(found) == 20
    np.testing.assert_allclose(found, real_shares(20), atol=0.09)
    assert np.mean(found) == pytest.approx(0.555, abs=0.03)
    plain, shared = videos(3, **settings), videos(3, real_shares=True, **settings)
    assert [video.labels for video in plain] == [video.labels for video in shared]


def test_wrong_ratings_are_hard_negatives():
    """Most wrong ratings are of classes that another scene of the video has: the video's score cannot tell them."""
    wrong = elsewhere = 0
    for video in videos(200):
        for _, label, score in video.segments or ():
            if not score:
                wrong += 1
                elsewhere += any(label in scene.labels for _, _, scene in video.spans)
    assert wrong > 200 and elsewhere / wrong > 0.7


def test_train_videos_are_not_rated():
    assert all(video.segments is None for video in videos(20, "train", rated_share=1))


def test_a_video_does_not_depend_on_the_others():
    settings = Settings(**SMALL)
    composer = Composer(settings, SyntheticBank(40, settings.feature_sizes, settings.seed))
    alone, among = composer.video("validate", 7), videos(8, "validate")[7]
    assert alone.id == among.id and alone.labels == among.labels and alone.segments == among.segments
    for name in settings.feature_names:
        np.testing.assert_array_equal(alone.features[name], among.features[name])


def test_localisation_pays():
    """A linear model of video means, applied to segments, ranks ratings far better than the scores of whole videos."""
    settings = dict(feature_sizes=(192, 64), num_segment_classes=15, missed_rate=0.15, spurious_rate=0.3)
    train, test = videos(700, "train", **settings), videos(150, "test", **settings)

    def values(video):
        return records.dequantize(np.concatenate(list(video.features.values()), axis=1))

    features = np.stack([values(video).mean(0) for video in train])
    center = features.mean(0)
    labels = np.zeros((len(train), 40))
    for row, video in zip(labels, train):
        row[list(video.labels)] = 1
    matrix = (features - center).T @ (features - center) + 20 * np.eye(256)
    weights = np.linalg.solve(matrix, (features - center).T @ (labels - labels.mean(0)))

    ratings = [
        (
            label,
            score,
            values(video)[start : start + 5].mean(0) @ weights[:, label],
            values(video).mean(0) @ weights[:, label],
        )
        for video in test
        for start, label, score in video.segments or ()
    ]

    def mean_average_precision(column):
        precisions = []
        for label in range(15):
            rated = sorted((rating for rating in ratings if rating[0] == label), key=lambda rating: -rating[column])
            right = np.array([rating[1] for rating in rated])
            if right.any():
                precisions.append(np.sum(np.cumsum(right) / np.arange(1, len(right) + 1) * right) / right.sum())
        return np.mean(precisions)

    assert mean_average_precision(2) > mean_average_precision(3) + 0.1


@pytest.mark.parametrize(
    "wrong, message",
    [
        (dict(train_videos=0), "train_videos must be at least 1, got 0"),
        (dict(videos_per_shard=0), "videos_per_shard must be at least 1"),
        (dict(seed=-1), "seed must not be negative"),
        (dict(min_frames=9), "got min_frames 9 and max_frames 60"),
        (dict(max_frames=301), "<= 300 must hold"),
        (dict(min_frames=50, max_frames=40), "min_frames 50 and max_frames 40"),
        (dict(min_scenes=5), "max_scenes must be at least min_scenes 5, got 4"),
        (dict(feature_sizes=(1024,)), "one size of at least 1 for each"),
        (dict(feature_sizes=(1024, 0)), "one size of at least 1 for each"),
        (dict(feature_names=("rgb", "rgb")), "must differ"),
        (dict(num_classes=0), "num_classes must be at least 1"),
        (dict(missed_rate=1.5), r"missed_rate must be in \[0, 1\], got 1.5"),
        (dict(spurious_rate=-0.1), "spurious_rate must be in"),
        (dict(spurious_rate=float("nan")), "spurious_rate must be in"),
        (dict(test_videos=2.5), "test_videos must be int"),
    ],
)
def test_settings_that_make_no_dataset(wrong, message):
    with pytest.raises(UserError, match=message):
        Settings(**wrong)
