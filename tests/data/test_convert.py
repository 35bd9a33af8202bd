"""Arrays and tables made into records: what is written, what goes on, and what does not fit."""

import dataclasses
import os

import numpy as np
import pytest

from tests.data.shard_helpers import joined
from youtube8m_mod import files, lock
from youtube8m_mod.config import ModelConfig
from youtube8m_mod.data import convert as conversion
from youtube8m_mod.data import feature_files, label_tables, records
from youtube8m_mod.data.convert import ConvertOptions, convert
from youtube8m_mod.data.dataset import Dataset
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.errors import UserError

IDS = [f"v{number}" for number in range(10)]


@pytest.fixture
def inputs(tmp_path):
    """Ten videos of 6 frames in 8 columns of deviation 5 around 3, and their labels."""
    random = np.random.default_rng(0)
    (tmp_path / "clips").mkdir()
    for video_id in IDS:
        np.save(tmp_path / "clips" / f"{video_id}.npy", random.normal(3, 5, (6, 8)))
    rows = [f"{video_id},{'cat;dog' if place % 2 else 'ant'}" for place, video_id in enumerate(IDS)]
    (tmp_path / "labels.csv").write_text("id,label\n" + "\n".join(rows) + "\n")
    (tmp_path / "segments.csv").write_text("Video_ID,start,end,label,score\nv0,0,5,ant,1\nv0.mp4,1,11,dog,0.2\n")
    return tmp_path


def options(folder, **changes):
    values = {"features": f"{folder}/clips/*.npy", "labels": f"{folder}/labels.csv", "output_dir": f"{folder}/out"}
    return ConvertOptions(**values | changes)


def read(dataset, partition, segments=False):
    model = ModelConfig("own", pooling="dbof", max_frames=6, **dataset.model_fields())
    reader = Reader(dataset.pattern(partition), model, segments=segments, settings=dataset.reader_settings())
    return joined(reader.read(100))


def test_floats_as_they_are(inputs):
    dataset, rows = convert(options(inputs, segments=f"{inputs}/segments.csv", split="1,0,0", videos_per_shard=4))
    assert rows == [{"partition": "train", "videos": 10, "files": 3, "labels": 15, "ratings": 3}]
    assert dataset == Dataset.load(f"{inputs}/out") and dataset.partitions == {"train": "train-*.tfrecord"}
    batch = read(dataset, "train")
    assert batch["ids"].tolist() == [video_id.encode() for video_id in IDS]
    for place, video_id in enumerate(IDS):
        np.testing.assert_allclose(batch["features"][place], np.load(inputs / "clips" / f"{video_id}.npy"), rtol=1e-6)
        assert np.flatnonzero(batch["labels"][place]).tolist() == ([1, 2] if place % 2 else [0])
    rated = read(dataset, "train", segments=True)
    assert rated["start_times"].tolist() == [0, 1, 6]  # 1 to 11 s are two segments, of the file name's video.
    assert np.argwhere(rated["labels"]).tolist() == [[0, 0]]
    assert np.argwhere(rated["label_weights"]).tolist() == [[0, 0], [1, 2], [2, 2]]
    assert (inputs / "out" / "vocabulary.csv").read_text() == "Index,Name,TrainVideoCount\n0,ant,5\n1,cat,5\n2,dog,5\n"
    assert (inputs / "out" / "segment_label_ids.csv").read_text() == "Index\n0\n2\n"


def test_split_and_normalisation_are_those_of_the_training_videos(inputs):
    dataset, rows = convert(options(inputs, normalize=True, format="quantized", split="0.5,0.2,0.3", seed=4))
    assert [row["videos"] for row in rows] == [5, 2, 3]
    batches = {part: read(dataset, part) for part in dataset.partitions}
    ids = {part: set(batch["ids"].tolist()) for part, batch in batches.items()}
    assert sum(map(len, ids.values())) == 10 == len(set().union(*ids.values()))
    values = records.dequantize(batches["train"]["features"]).reshape(-1, 8)
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(values.std(axis=0), 1, atol=0.15)  # Clipped to [-2, 2].
    again, _ = convert(options(inputs, like=f"{inputs}/out/dataset.json", split="0,0,1", output_dir=f"{inputs}/new"))
    assert again.normalization == dataset.normalization and again.num_classes == 3 and again.quantized
    found = read(again, "test")
    place = found["ids"].tolist().index(batches["train"]["ids"][0])
    np.testing.assert_array_equal(found["features"][place], batches["train"]["features"][0])


def test_goes_on_where_it_was_stopped(inputs, monkeypatch):
    write, written = records.write_shard, []

    def stop(path, serialized):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        return write(path, serialized)

    monkeypatch.setattr(conversion.records, "write_shard", stop)
    wanted = options(inputs, split="1,0,0", videos_per_shard=3)
    with pytest.raises(KeyboardInterrupt):
        convert(wanted)
    assert not os.path.exists(f"{inputs}/out/dataset.json")
    written.clear()
    dataset, _ = convert(wanted)
    assert len(written) == 2 and len(read(dataset, "train")["ids"]) == 10
    with pytest.raises(UserError, match="out holds a conversion of other seed: name a new --output_dir"):
        convert(dataclasses.replace(wanted, seed=1))


def test_several_features(inputs):
    (inputs / "sound").mkdir()
    for video_id in IDS[1:]:
        np.savez(inputs / "sound" / f"{video_id}.npz", vggish=np.ones((6, 3)))
    both = options(inputs, features=f"rgb={inputs}/clips/*.npy,audio={inputs}/sound/*.npz", split="1,0,0")
    with pytest.raises(UserError, match=r"1 videos lack one of the features rgb, audio \(v0\): --missing_features"):
        convert(both)
    dataset, _ = convert(dataclasses.replace(both, missing_features="mean", output_dir=f"{inputs}/both"))
    batch = read(dataset, "train")
    assert dataset.feature_sizes == (8, 3)
    np.testing.assert_allclose(batch["features"][:, :, 8:], 1)  # The mean, where there is none.


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"labels": "id,label\nv0,a\nw9,b\n"}, r"names 1 ids without features \(w9\); 9 videos have no label"),
        ({"labels": "name,label\nv0,a\n"}, "must have the columns id, label; id is missing, it has name, label"),
        ({"labels": "id,label\n"}, "holds no row"),
        ({"vocabulary": "ant\ncat\n"}, r"The vocabulary lacks 1 labels of the tables \(dog\)"),
        (
            {"segments": "id,start,label\nv0,297,ant\n"},
            "line 2: a rated segment must start between 0 and 295 s, got 297",
        ),
        ({"segments": "id,start,label\nv0,x,ant\n"}, 'line 2: start must be a number, got "x"'),
        (
            {"segments": "id,start,end,label\nv0,5,5,ant\n"},
            "line 2: a segment must end after its start of 5 s, got 5 s",
        ),
        ({"segments": "id,start,label,score\nv0,5,ant,2\n"}, "line 2: score must be from 0 to 1, got 2"),
    ],
)
def test_tables_that_do_not_fit(inputs, changes, message):
    for name, text in changes.items():
        (inputs / f"{name}.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        convert(options(inputs, **{name: f"{inputs}/{name}.csv" for name in changes}))
    assert not (inputs / "out").exists()


@pytest.mark.parametrize(
    "array, message",
    [
        (np.ones((6, 7)), 'Feature "features" has 7 values a frame in video "v5" and 8 in "v0"'),
        (np.full((6, 8), np.nan), "v5.npy: frame 0 holds NaN or infinite values"),
        (np.ones((2, 6, 8)), r"v5.npy: expected an array \(frames, size\), got the shape \(2, 6, 8\)"),
        (np.array([["a"]]), "v5.npy: expected numbers, got <U1"),
    ],
    ids=["width", "nan", "rank", "text"],
)
def test_features_that_do_not_fit(inputs, array, message):
    np.save(inputs / "clips" / "v5.npy", array)
    with pytest.raises(UserError, match=message):
        convert(options(inputs))


def test_other_mismatches(inputs):
    with pytest.raises(UserError, match="they would lose most of what they say; --normalize brings them there"):
        convert(options(inputs, format="quantized"))
    with pytest.raises(UserError, match="split must be three shares that sum to 1"):
        convert(options(inputs, split="0.5,0.6,0"))
    (inputs / "labels.csv").write_text("id,label\nv0,ant\nw9,cat\n")
    dataset, rows = convert(options(inputs, allow_mismatches=True, split="1,0,0", output_dir=f"{inputs}/some"))
    assert rows[0]["videos"] == 10 and rows[0]["labels"] == 1 and dataset.num_classes == 1


def test_parquet(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    pandas.DataFrame({"clip": list(values), "name": ["a"] * 4}).drop(columns="name").to_parquet(tmp_path / "a.parquet")
    pandas.DataFrame(values, columns=["x", "y", "z"]).to_parquet(tmp_path / "b.parquet")
    np.testing.assert_array_equal(feature_files.read_features(f"{tmp_path}/a.parquet")["clip"], values)
    np.testing.assert_array_equal(feature_files.read_features(f"{tmp_path}/b.parquet")[""], values)
    pandas.DataFrame({"clip": ["no", "list"]}).to_parquet(tmp_path / "c.parquet")
    with pytest.raises(UserError, match='c.parquet: the column "clip" must hold a list of numbers'):
        feature_files.read_features(f"{tmp_path}/c.parquet")


def test_numbers_are_labels_of_their_own():
    names, class_of = label_tables.vocabulary({"a": ["7", "2"]}, {})
    assert len(names) == 8 and class_of("7") == 7 and class_of("x") is None


def test_tables_as_spreadsheets_save_them(inputs, capsys):
    rows = "v0;ant\r\n\r\nC:\\clips\\v1.mp4;cat\r\n"
    for text in ("\ufeffsep=;\r\nVideo_ID;Label\r\n" + rows, "Video_ID;Label\r\n" + rows):
        (inputs / "labels.csv").write_bytes(text.encode("utf-16" if text[0] == "V" else "utf-8"))
        assert label_tables.read_labels(f"{inputs}/labels.csv") == {"v0": ["ant"], "C:\\clips\\v1.mp4": ["cat"]}
    dataset, _ = convert(options(inputs, allow_mismatches=True, split="1,0,0"))
    assert np.argwhere(read(dataset, "train")["labels"]).tolist() == [[0, 0], [1, 1]]
    (inputs / "segments.csv").write_text("id,start,label,rating\nv0,0,ant,0\n")
    label_tables.read_segments(f"{inputs}/segments.csv")
    assert "nothing is read from the columns rating" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, message",
    [
        ("id,label\nv0,ant,cat\n", 'labels.csv, line 2: expected 2 cells, as the header has, got 3: "v0,ant,cat"'),
        ("id,label\nv0,ant\n\nv1\n", 'line 4: expected 2 cells, as the header has, got 1: "v1"'),
        ("id,label,Label\nv0,ant,cat\n", 'the column "label" occurs 2 times'),
        ("id,label\n,ant\n", "line 2: the id is empty"),
        ("", "labels.csv is not a table with the columns id, label: it is empty"),
        ("id,label\nv0,99999999999\n", "up to 99999999999: a vocabulary has at most 1,000,000 classes"),
    ],
)
def test_damaged_tables(inputs, text, message):
    (inputs / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        convert(options(inputs, allow_mismatches=True))


def test_only_endings_of_files_are_no_part_of_an_id(tmp_path):
    (tmp_path / "clips").mkdir()
    np.save(tmp_path / "clips" / "day.01.npy", np.ones((2, 3)))
    for name, found in (("day.01", True), ("x/day.01.MP4", True), ("day.02", False), ("day", False)):
        (tmp_path / "labels.csv").write_text(f"id,label\n{name},a\n")
        wanted = options(tmp_path, output_dir=f"{tmp_path}/{len(name)}", split="1,0,0")
        if found:
            assert convert(wanted)[1][0]["labels"] == 1
        else:
            with pytest.raises(UserError, match="names 1 ids without features"):
                convert(wanted)


def test_a_name_of_two_classes(inputs):
    (inputs / "names.txt").write_text("ant\ncat\ndog\ncat\n")
    with pytest.raises(UserError, match='The label "cat" is the name of the classes 1 and 3: give its number'):
        convert(options(inputs, vocabulary=f"{inputs}/names.txt"))


def test_changed_features_are_another_conversion(inputs):
    wanted = options(inputs, split="1,0,0")
    convert(wanted)
    os.utime(inputs / "clips" / "v3.npy", (1, 1))
    with pytest.raises(UserError, match="holds a conversion of other files or labels"):
        convert(wanted)


def test_ratings_behind_the_end_and_behind_what_is_read(inputs, capsys):
    np.save(inputs / "clips" / "v9.npy", np.ones((400, 8)))
    (inputs / "segments.csv").write_text("id,start,label\nv0,9,ant\nv9,297.2,ant\nv9,300,ant\nv9,0,ant\n")
    dataset, rows = convert(options(inputs, segments=f"{inputs}/segments.csv", split="1,0,0"))
    told = capsys.readouterr().err
    assert "1 rated segments start behind the end of their video" in told and "(v0; v0 has 6 frames" in told
    assert "2 rated segments (v9) start after second 295" in told and rows[0]["ratings"] == 3
    assert read(dataset, "train", segments=True)["start_times"].tolist() == [9, 0]


def test_two_conversions_at_once(inputs):
    wanted = options(inputs)
    os.makedirs(wanted.output_dir)
    owner = lock._this_process() | {"pid": os.getppid(), "started": lock._started(os.getppid())}
    files.write_json(f"{wanted.output_dir}/lock.json", owner | {"token": "x", "since": "", "beat": 0})
    with pytest.raises(UserError, match="out is in use by process"):
        convert(wanted)
