import json
import os

import numpy as np
import pytest
import tensorflow as tf

from tests import command_line
from youtube8m_mod.data import records
from youtube8m_mod.errors import UserError
from youtube8m_mod.miniature import __main__
from youtube8m_mod.miniature.composition import Settings

ARGUMENTS = [
    "--train_videos=12",
    "--validate_videos=7",
    "--test_videos=6",
    "--videos_per_shard=5",
    "--num_classes=40",
    "--feature_sizes=24,8",
    "--num_segment_classes=20",
]
SHARDS = [
    f"{partition}-{i:05d}-of-{count:05d}.tfrecord"
    for partition, count in (("test", 2), ("train", 3), ("validate", 2))
    for i in range(count)
]


def write(folder, *more):
    command_line.call(__main__, [f"--output_dir={folder}", *ARGUMENTS, *more])
    return {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("miniature") / "data"
    write(path)
    return path


def parsed(folder, partition):
    """Records of a partition, as TensorFlow's own parser reads the dataset's schema."""
    context = {
        key: tf.io.VarLenFeature(dtype)
        for key, dtype in (
            ("labels", tf.int64),
            ("segment_start_times", tf.int64),
            ("segment_end_times", tf.int64),
            ("segment_labels", tf.int64),
            ("segment_scores", tf.float32),
        )
    }
    context["id"] = tf.io.FixedLenFeature([], tf.string)
    sequences = {name: tf.io.FixedLenSequenceFeature([], tf.string) for name in ("rgb", "audio")}
    for path in sorted(folder.glob(f"{partition}*.tfrecord")):
        for record in tf.data.TFRecordDataset(str(path)):
            values, frames = tf.io.parse_single_sequence_example(record, context, sequences)
            values = {
                key: (tf.sparse.to_dense(value) if key != "id" else value).numpy() for key, value in values.items()
            }
            yield values | {name: tf.io.decode_raw(frames[name], tf.uint8).numpy() for name in frames}


def test_files(folder):
    assert sorted(os.listdir(folder)) == sorted([*SHARDS, "miniature.json", "truth.json", "label_names.txt"])
    assert len((folder / "label_names.txt").read_text().splitlines()) == 40


def test_schema(folder):
    ids = set()
    for partition, count in (("train", 12), ("validate", 7), ("test", 6)):
        videos = list(parsed(folder, partition))
        assert len(videos) == count
        for video in videos:
            ids.add(video["id"])
            frames = len(video["rgb"])
            assert video["rgb"].shape == (frames, 24) and video["audio"].shape == (frames, 8) and 30 <= frames <= 60
            assert video["labels"].size and 0 <= video["labels"].min() and video["labels"].max() < 40
            starts = video["segment_start_times"]
            assert (starts % 5 == 0).all() and (starts + 5 <= frames).all()
            np.testing.assert_array_equal(video["segment_end_times"], starts + 5)
            assert set(video["segment_scores"]) <= {0.0, 1.0}
            assert len(video["segment_labels"]) == len(starts) == len(video["segment_scores"])
        assert any(video["segment_labels"].size for video in videos) == (partition != "train")
    assert len(ids) == 25


def test_summary_counts_what_is_there(folder):
    summary = json.loads((folder / "miniature.json").read_text())
    assert summary["num_classes"] == 40 and summary["bank"] is None
    assert summary["settings"]["feature_sizes"] == [24, 8] and summary["settings"]["seed"] == 0
    for partition in ("train", "validate", "test"):
        videos, counts = list(parsed(folder, partition)), summary["counts"][partition]
        assert counts["videos"] == len(videos)
        assert counts["frames"] == sum(len(video["rgb"]) for video in videos)
        assert counts["rated_videos"] == sum(video["segment_labels"].size > 0 for video in videos)
        assert counts["ratings"] == sum(video["segment_labels"].size for video in videos)
        assert counts["positives"] == sum(int(video["segment_scores"].sum()) for video in videos)
        rated = sorted({int(label) for video in videos for label in video["segment_labels"]})
        assert summary["rated_classes"].get(partition, []) == rated


def test_truth_tells_the_ratings_of_the_test_videos(folder):
    truth = json.loads((folder / "truth.json").read_text())["videos"]
    videos = list(parsed(folder, "test"))
    assert [video["id"].decode() for video in videos] == list(truth)
    for video in videos:
        told = truth[video["id"].decode()]
        assert told["num_frames"] == len(video["rgb"]) == told["scenes"][-1]["end"]
        assert told["labels"] == video["labels"].tolist()
        for start, label, score in zip(video["segment_start_times"], video["segment_labels"], video["segment_scores"]):
            scene = next(scene for scene in told["scenes"] if scene["start"] <= start + 2 < scene["end"])
            assert score == (label in scene["labels"])


def test_same_seed_same_bytes(folder, tmp_path, capsys):
    again = write(tmp_path / "again")
    assert again == {name: (folder / name).read_bytes() for name in os.listdir(folder)}
    assert "Overwriting" not in capsys.readouterr().err
    assert write(tmp_path / "again") == again
    assert f"Overwriting the miniature in {tmp_path / 'again'} (10 files)" in capsys.readouterr().err
    other = write(tmp_path / "other", "--seed=1")
    assert all(other[name] != again[name] for name in again)


def test_an_unfinished_run_is_done_again(folder, tmp_path, capsys):
    expected = {name: (folder / name).read_bytes() for name in os.listdir(folder)}
    (tmp_path / f"{SHARDS[0]}.partial-01234567").write_bytes(b"half")
    (tmp_path / SHARDS[1]).write_bytes(b"of another seed")
    assert write(tmp_path) == expected
    assert "unfinished" in capsys.readouterr().err


def test_a_killed_run_leaves_no_summary_and_no_half_shard(tmp_path, monkeypatch):
    write(tmp_path / "data")
    real = records.frame_level_record

    def failing(video_id, *arguments):
        if video_id == "validate00003":
            raise KeyboardInterrupt
        return real(video_id, *arguments)

    monkeypatch.setattr(records, "frame_level_record", failing)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "data")
    left = sorted(os.listdir(tmp_path / "data"))
    assert "miniature.json" not in left and not [name for name in left if "partial" in name]


def test_folders_of_others_are_left_alone(folder, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="must be empty.*but holds notes.txt"):
        write(tmp_path)
    assert os.listdir(tmp_path) == ["notes.txt"]
    with pytest.raises(UserError, match="is a file"):
        write(tmp_path / "notes.txt")
    with pytest.raises(UserError, match=r"other settings \(seed 0 -> 5\)"):
        write(folder, "--seed=5")
    with pytest.raises(UserError, match=r"other settings \(bank None -> x\*\)"):
        write(folder, "--bank=x*")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "miniature.json").write_text("[]")
    with pytest.raises(UserError, match="is not the summary of a miniature"):
        write(tmp_path / "other")


def test_real_scenes(tmp_path, capsys):
    rng = np.random.default_rng(0)
    records.write_shard(
        tmp_path / "bank.tfrecord",
        [
            records.video_level_record(
                f"real{i}", [3861, i], mean_rgb=rng.normal(size=24) / 2, mean_audio=rng.normal(size=8) / 2
            )
            for i in range(60)
        ],
    )
    arguments = [argument for argument in ARGUMENTS if "num_classes" not in argument]
    folder = tmp_path / "data"
    command_line.call(
        __main__,
        [f"--output_dir={folder}", f"--bank={tmp_path}/bank*", *arguments, "--missed_rate=0", "--spurious_rate=0"],
    )
    summary = json.loads((folder / "miniature.json").read_text())
    assert summary["num_classes"] == 3862 and summary["bank"] == f"{tmp_path}/bank*"
    assert not (folder / "label_names.txt").exists()
    truth = json.loads((folder / "truth.json").read_text())["videos"]
    sources = {scene["source"] for video in truth.values() for scene in video["scenes"]}
    for scene in (scene for video in truth.values() for scene in video["scenes"]):
        assert scene["labels"] == [int(scene["source"].removeprefix("real")), 3861]
    # A scene of this bank has a class of its own: no other partition has one of the test scenes.
    own_classes = {int(source.removeprefix("real")) for source in sources}
    for partition in ("train", "validate"):
        for video in parsed(folder, partition):
            assert 3861 in video["labels"]
            assert not own_classes.intersection(video["labels"].tolist())
    assert "3862 classes" in capsys.readouterr().out


def test_bad_flags(tmp_path):
    with pytest.raises(UserError, match="no-such-bank"):
        write(tmp_path / "a", f"--bank={tmp_path}/no-such-bank*")
    with pytest.raises(UserError, match='train_videos must be int, got "many"'):
        command_line.call(__main__, [f"--output_dir={tmp_path / 'b'}", "--train_videos=many"])
    with pytest.raises(UserError, match="num_classes must be at least 30"):
        command_line.call(__main__, [f"--output_dir={tmp_path / 'c'}", "--num_classes=5"])


def test_every_setting_is_a_flag_with_a_default():
    assert set(__main__._HELP) == {field for field in Settings.__dataclass_fields__}
