import dataclasses

import numpy as np
import pytest

from tests.data.shard_helpers import CONFIG, frames, ids_of, joined, mutated, numpy_batches, record, write
from youtube8m_mod.data import records
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.errors import UserError

IDS = [f"v{i:02d}" for i in range(23)]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Four shards with 23 videos of 1 to 9 frames; two rated segments in most."""
    folder = tmp_path_factory.mktemp("shards")
    for i in range(4):
        write(
            folder,
            f"train{i}.tfrecord",
            [
                record(video_id, 1 + int(video_id[1:]) % 9, segments=[(0, 2, 1), (5, 4, 0)][: int(video_id[1:]) % 3])
                for video_id in IDS[i::4]
            ],
        )
    return str(folder / "train*.tfrecord")


def test_videos(tmp_path):
    path = write(tmp_path, "a.tfrecord", [record("aa", 2), record("bb", 6, labels=[]), record("cc", 9, labels=[9, 9])])
    (batch,) = numpy_batches(Reader(path, CONFIG).read(5))
    assert batch["ids"].tolist() == [b"aa", b"bb", b"cc"]
    assert batch["features"].shape == (3, 6, 12) and batch["features"].dtype == np.uint8
    for i, video_id in enumerate(["aa", "bb", "cc"]):
        count = [2, 6, 6][i]
        side_by_side = np.concatenate(list(frames(video_id, [2, 6, 9][i]).values()), axis=1)
        np.testing.assert_array_equal(batch["features"][i, :count], side_by_side[:count])
        assert not batch["features"][i, count:].any()
    assert batch["num_frames"].tolist() == batch["present_frames"].tolist() == [2, 6, 6]
    assert [np.flatnonzero(row).tolist() for row in batch["labels"]] == [[1, 3], [], [9]]
    assert batch["labels"].dtype == np.uint8 and batch["num_frames"].dtype == np.int32
    assert set(batch) == {"ids", "features", "num_frames", "present_frames", "labels"}


def test_segments(tmp_path):
    ratings = [(5, 2, 1), (0, 7, 0), (5, 3, 0), (5, 2, 0), (0, 7, 1), (7, 9, 1), (295, 0, 1)]
    path = write(
        tmp_path, "a.tfrecord", [record("none", 3), record("aa", 8, segments=ratings), record("bb", 3, segments=[])]
    )
    batches = Reader(path, CONFIG, segments=True).read(10)
    (batch,) = numpy_batches(batches)
    assert batch["start_times"].tolist() == [5, 0, 7, 295]  # In order of first appearance.
    assert batch["num_frames"].tolist() == [5] * 4 and batch["present_frames"].tolist() == [3, 5, 1, 0]
    side_by_side = np.pad(np.concatenate(list(frames("aa", 8).values()), axis=1), [[0, 300], [0, 0]])
    for i, start in enumerate(batch["start_times"]):
        np.testing.assert_array_equal(batch["features"][i], side_by_side[start : start + 5])
    assert np.argwhere(batch["label_weights"]).tolist() == [[0, 2], [0, 3], [1, 7], [2, 9], [3, 0]]
    assert np.argwhere(batch["labels"]).tolist() == [[1, 7], [2, 9], [3, 0]]  # The last rating of (5, 2) was 0.
    assert batches.counts.past_end == 3
    assert batches.counts.summary().startswith("3 rated segments reach past the end of their video")


def test_rgb_alone_under_another_name(tmp_path):
    config = dataclasses.replace(CONFIG, feature_names=("inception",), feature_sizes=(8,))
    path = write(tmp_path, "a.tfrecord", [record("aa", 3, names=["inception", "other"])])
    batch = joined(Reader(path, config).read(1))
    np.testing.assert_array_equal(batch["features"][0, :3], frames("aa", 3, names=["inception"])["inception"])


def test_float_features_as_mediapipe_writes_them(tmp_path):
    names = ("RGB/feature/floats", "AUDIO/feature/floats")
    config = dataclasses.replace(CONFIG, feature_names=names)
    serialized = record("aa", 7, names=names, dtype=np.float32, segments=[(5, 1, 1)])

    def rename_id(message):
        del message.context.feature["id"], message.context.feature["labels"]
        message.context.feature["clip/media_id"].bytes_list.value.append(b"clip")

    path = write(tmp_path, "a.tfrecord", [serialized, mutated(serialized, rename_id)])
    values = np.concatenate(list(frames("aa", 7, dtype=np.float32).values()), axis=1)
    batch = joined(Reader(path, config).read(2))
    assert batch["ids"].tolist() == [b"aa", b"clip"]
    assert batch["features"].dtype == np.float32
    np.testing.assert_array_equal(batch["features"][0], values[:6])
    segment = joined(Reader(path, config, segments=True).read(2))
    np.testing.assert_array_equal(segment["features"][0], np.pad(values[5:7], [[0, 3], [0, 0]]))
    assert segment["present_frames"].tolist() == [2, 2]


@pytest.mark.parametrize("names", [("rgb", "audio"), ("mean_rgb", "mean_audio")])
def test_video_level_records_are_videos_of_one_frame(tmp_path, names):
    config = dataclasses.replace(CONFIG, feature_names=names)
    means = np.linspace(-1, 1, 12, dtype=np.float32)
    path = write(
        tmp_path, "a.tfrecord", [records.video_level_record("aa", [7], mean_rgb=means[:8], mean_audio=means[8:])]
    )
    batch = joined(Reader(path, config).read(3))
    np.testing.assert_array_equal(batch["features"], means[np.newaxis, np.newaxis])
    assert batch["num_frames"].tolist() == batch["present_frames"].tolist() == [1]
    assert np.flatnonzero(batch["labels"]).tolist() == [7]
    assert Reader(path, config, max_frames=3).max_frames == 1  # It has no more, whatever frame-level records have.
    with pytest.raises(UserError, match="a.tfrecord holds video-level records: rated segments need frame-level"):
        Reader(path, config, segments=True)


def test_order_of_the_files_without_a_seed(shards):
    reader = Reader(shards, CONFIG)
    in_files = [video_id for i in range(4) for video_id in IDS[i::4]]
    assert ids_of(reader.read(5)) == in_files
    by_file = [ids_of(reader.read(5, paths=[path])) for path in reader.paths]
    assert by_file == [IDS[i::4] for i in range(4)]


def test_every_record_once_in_a_seeded_order(shards):
    reader = Reader(shards, CONFIG)
    first, same, next_epoch, other_seed = (
        ids_of(reader.read(5, seed=seed, epoch=epoch)) for seed, epoch in [(1, 0), (1, 0), (1, 1), (2, 0)]
    )
    assert first == same
    assert sorted(first) == sorted(next_epoch) == sorted(other_seed) == IDS
    assert len({tuple(order) for order in (first, next_epoch, other_seed, IDS)}) == 4


def test_last_batch(shards):
    reader = Reader(shards, CONFIG)
    assert [len(batch["ids"]) for batch in reader.read(5, seed=1)] == [5, 5, 5, 5, 3]
    assert [len(batch["ids"]) for batch in reader.read(5, seed=1, drop_remainder=True)] == [5, 5, 5, 5]


@pytest.mark.parametrize("settings", [{}, {"skip_bad_records": True}, {"segments": True}])
@pytest.mark.parametrize("seed", [None, 3])
def test_skipping_batches_gives_the_rest_of_the_pass(shards, settings, seed):
    reader = Reader(shards, CONFIG, **settings)
    whole = numpy_batches(reader.read(4, seed=seed, epoch=2, shuffle_buffer=7))
    rest = numpy_batches(reader.read(4, seed=seed, epoch=2, shuffle_buffer=7, skip_batches=3))
    assert len(rest) == len(whole) - 3 > 0
    for expected, actual in zip(whole[3:], rest):
        assert expected.keys() == actual.keys()
        for key in expected:
            np.testing.assert_array_equal(actual[key], expected[key])


def test_shards_of_the_files(shards):
    parts = [ids_of(Reader(shards, CONFIG, num_shards=3, shard_index=i).read(5)) for i in range(3)]
    assert parts == [IDS[0::4] + IDS[3::4], IDS[1::4], IDS[2::4]]
    with pytest.raises(UserError, match="num_shards must be at most 4, .* got 5"):
        Reader(shards, CONFIG, num_shards=5)
    with pytest.raises(UserError, match="shard_index must be from 0 to 1 .* got 2"):
        Reader(shards, CONFIG, num_shards=2, shard_index=2)


def test_counts_of_a_pass(shards):
    batches = Reader(shards, CONFIG).read(5)
    list(batches)
    assert batches.counts.records == len(IDS)
    assert not batches.counts.bad and not batches.counts.summary()


def test_settings_that_cannot_be(shards):
    with pytest.raises(UserError, match="batch_size must be at least 1, got 0"):
        Reader(shards, CONFIG).read(0)
    with pytest.raises(UserError, match="max_bad_share must be from 0 to 1, got 2"):
        Reader(shards, CONFIG, max_bad_share=2)
