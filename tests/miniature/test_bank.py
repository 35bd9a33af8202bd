import dataclasses

import numpy as np
import pytest

from youtube8m_mod.data import records
from youtube8m_mod.errors import UserError
from youtube8m_mod.miniature.bank import PARTITIONS, RecordBank, SyntheticBank, label_frequencies
from youtube8m_mod.miniature.composition import Settings

CLASSES = 300
# Share of 14,547 real videos that have the class of a rank.
REAL_FREQUENCIES = {
    1: 0.199,
    2: 0.136,
    3: 0.107,
    5: 0.073,
    10: 0.041,
    20: 0.0216,
    50: 0.0090,
    100: 0.0041,
    200: 0.0021,
    300: 0.0014,
    500: 0.00076,
    1000: 0.00034,
}


@pytest.fixture(scope="module")
def bank():
    return SyntheticBank(CLASSES, (1024, 128), seed=3)


@pytest.fixture(scope="module")
def sample(bank):
    """(means, multi-hot labels) of 3,500 scenes."""
    scenes = bank.draw("train", 3500, np.random.default_rng(0))
    labels = np.zeros((len(scenes), CLASSES), np.float32)
    for row, scene in zip(labels, scenes):
        row[list(scene.labels)] = 1
    return np.clip(np.stack([scene.means for scene in scenes]), -2, 2), labels


def test_frequencies_follow_the_real_ones():
    frequencies = label_frequencies(3862)
    assert frequencies.sum() == pytest.approx(3.0, abs=0.01)
    for rank, real in REAL_FREQUENCIES.items():
        assert frequencies[rank - 1] == pytest.approx(real, rel=0.2), rank


def test_labels_of_scenes(bank, sample):
    _, labels = sample
    assert labels.sum(1).min() >= 1
    assert labels.sum(1).mean() == pytest.approx(3.0, abs=0.2)
    frequencies = labels.mean(0)
    assert frequencies[0] == frequencies.max() == pytest.approx(0.20, abs=0.03)
    np.testing.assert_allclose(frequencies[:50], bank.frequencies[:50], rtol=0.5)
    assert np.corrcoef(np.log(frequencies[:100]), np.log(bank.frequencies[:100]))[0, 1] > 0.97
    # As in the real labels, half of the common classes imply another one with P > 0.7 (real: 0.86), and most pairs of
    # classes never meet (real: 91%).
    together = labels[:, :100].T @ labels[:, :100]
    implied = together / np.diag(together)[:, None]
    np.fill_diagonal(implied, 0)
    assert 0.7 < np.median(implied.max(1)) < 0.95
    assert (together[np.triu_indices(100, 1)] == 0).mean() > 0.6


def test_features_have_the_real_spread(sample):
    std = sample[0].std(0)
    rgb, audio = std[:1024], std[1024:]
    assert rgb.mean() == pytest.approx(0.46, abs=0.02)
    assert 0.6 < rgb[:5].min() and rgb[:5].max() < 0.82  # Real: 0.65 to 0.81.
    assert rgb[-20:].mean() == pytest.approx(0.40, abs=0.02)
    assert audio.mean() == pytest.approx(0.68, abs=0.02)
    assert abs(sample[0].mean(0)).max() < 0.1


def average_precision_over_all(scores, labels):
    """GAP over the 20 best classes of each video."""
    best = np.argsort(-scores, axis=1)[:, :20]
    order = np.argsort(-np.take_along_axis(scores, best, 1).ravel())
    right = np.take_along_axis(labels, best, 1).ravel()[order]
    return np.sum(np.cumsum(right) / np.arange(1, len(right) + 1) * right) / labels.sum()


def test_labels_are_as_predictable_as_the_real_ones(sample):
    features, labels = sample
    features = np.c_[features, np.ones(len(features), np.float32)]
    train = slice(0, 2000)
    matrix = features[train].T @ features[train] + 137 * np.eye(features.shape[1], dtype=np.float32)
    weights = np.linalg.solve(matrix, features[train].T @ labels[train])
    # A ridge regression from 2,000 real videos to their 300 commonest classes reaches 0.682.
    assert 0.62 < average_precision_over_all(features[2000:] @ weights, labels[2000:]) < 0.75


def test_classes_that_meet_share_directions(bank, sample):
    features, labels = sample
    parents = bank.parents[:100]
    means = labels[:, :100].T @ features[:, :1024] / labels[:, :100].sum(0)[:, None]
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    cosines = means @ means.T
    related = [cosines[label, parent] for label, parent in enumerate(parents) if parent >= 0]
    assert np.mean(related) > 0.5  # Real: 0.68 to the class implied.
    assert abs(np.median(cosines[np.triu_indices(100, 1)])) < 0.1


def test_the_seed_fixes_the_bank():
    def means(seed, draw_seed):
        return SyntheticBank(40, (16,), seed).draw("test", 2, np.random.default_rng(draw_seed))[1].means

    np.testing.assert_array_equal(means(1, 5), means(1, 5))
    assert (means(1, 5) != means(2, 5)).any() and (means(1, 5) != means(1, 6)).any()


def test_label_names_are_one_a_class_and_show_the_family(bank):
    names = bank.label_names()
    assert len(set(names)) == CLASSES
    child = int(np.flatnonzero(bank.parents >= 0)[0])
    assert names[child].startswith(names[bank.parents[child]] + ".")


def test_too_few_classes():
    with pytest.raises(UserError, match="num_classes must be at least 30 .* got 29"):
        SyntheticBank(29, (8,), 0)


# Real scenes.
SETTINGS = Settings(feature_sizes=(6, 2), num_classes=50)
SCENES = {"train": 20, "validate": 8, "test": 12}


def write_bank(path, count=20, first=0, labels=lambda i: [i % 7, 40], **sizes):
    rng = np.random.default_rng(first)
    records.write_shard(
        path,
        [
            records.video_level_record(
                f"v{first + i}",
                labels(i),
                mean_rgb=rng.normal(size=sizes.get("rgb", 6)),
                mean_audio=rng.normal(size=sizes.get("audio", 2)),
            )
            for i in range(count)
        ],
    )
    return str(path)


def test_record_scenes_keep_values_and_classes(tmp_path):
    means = np.array([0.5, -1, 1.5, 0, 0.25, 2], np.float32)
    records.write_shard(
        tmp_path / "a",
        [records.video_level_record(f"v{i}", [i, 49], mean_rgb=means + i, mean_audio=[-i, i]) for i in range(3)],
    )
    bank = RecordBank(str(tmp_path / "a"), SETTINGS, {"train": 1, "validate": 1, "test": 1})
    for partition in PARTITIONS:
        (scene,) = bank.draw(partition, 1, None)
        i = int(scene.source[1:])
        assert scene.labels == (i, 49)
        np.testing.assert_array_equal(scene.means, [*(means + i), -i, i])
    assert bank.frequencies[49] == 1 and bank.frequencies[0] == pytest.approx(1 / 3)


def test_record_partitions_are_disjoint_and_exhausted_before_repetition(tmp_path):
    write_bank(tmp_path / "a-0"), write_bank(tmp_path / "a-1", first=20)
    bank = RecordBank(str(tmp_path / "a-*"), SETTINGS, SCENES)
    drawn = {
        partition: [scene.source for scene in bank.draw(partition, 2 * count, None)]
        for partition, count in SCENES.items()
    }
    for partition, count in SCENES.items():
        assert len(set(drawn[partition][:count])) == count
        assert sorted(drawn[partition][:count]) == sorted(drawn[partition][count:])
    assert len(set().union(*map(set, drawn.values()))) == 40


def test_record_bank_reads_no_more_than_it_needs(tmp_path):
    write_bank(tmp_path / "a-0"), write_bank(tmp_path / "a-1", first=20)
    bank = RecordBank(str(tmp_path / "a-*"), SETTINGS, {"train": 5, "validate": 2, "test": 2})
    sources = {scene.source for partition in PARTITIONS for scene in bank.draw(partition, 5, None)}
    assert sources == {f"v{i}" for i in range(9)}


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(labels=lambda i: [50]), "labels must be classes from 0 to 49, got 50"),
        (dict(labels=lambda i: []), 'record "v0" .* has no labels'),
        (dict(audio=3), "mean_audio"),
        (dict(count=2), "holds 2 records, too few"),
    ],
)
def test_records_that_do_not_fit(tmp_path, change, message):
    path = write_bank(tmp_path / "bad.tfrecord", **change)
    with pytest.raises(UserError, match=message) as error:
        RecordBank(path, SETTINGS, SCENES)
    assert path in str(error.value)


def test_frame_level_records_are_no_bank(tmp_path):
    features = {"rgb": np.zeros((4, 6), np.uint8), "audio": np.zeros((4, 2), np.uint8)}
    records.write_shard(tmp_path / "frames", [records.frame_level_record("a", [1], features)])
    with pytest.raises(UserError, match="must match video-level records, got frame-level"):
        RecordBank(str(tmp_path / "frames"), SETTINGS, SCENES)


def test_missing_damaged_and_empty_banks(tmp_path):
    with pytest.raises(UserError, match="nothing-.*"):
        RecordBank(str(tmp_path / "nothing-*"), SETTINGS, SCENES)
    (tmp_path / "text").write_text("no TFRecord, but long enough to look like one")
    with pytest.raises(UserError, match="text"):
        RecordBank(str(tmp_path / "text"), SETTINGS, SCENES)
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(UserError, match="hold no record"):
        RecordBank(str(tmp_path / "empty"), SETTINGS, SCENES)


def test_rgb_alone(tmp_path):
    path = write_bank(tmp_path / "a")
    settings = dataclasses.replace(SETTINGS, feature_names=("rgb",), feature_sizes=(6,))
    (scene,) = RecordBank(path, settings, SCENES).draw("test", 1, None)
    assert scene.means.shape == (6,)
