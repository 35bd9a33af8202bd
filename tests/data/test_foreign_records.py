"""Records, files and ids of other people: read, or refused by a sentence that says what to do."""

import dataclasses
import gzip
import zlib

import numpy as np
import pytest

from tests.data.shard_helpers import CONFIG, frames, ids_of, joined, mutated, record, write
from youtube8m_mod.data import ground_truth, records, video_ids
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.data.records import ReaderSettings, RecordKeys
from youtube8m_mod.errors import UserError

MEDIAPIPE = dataclasses.replace(CONFIG, feature_names=("RGB/feature/floats", "AUDIO/feature/floats"))


def sequence(path, count=8, scale=1, **context):
    """A record as MediaSequence writes them: floats, and `context` with `__` for a slash."""

    def change(message):
        message.context.Clear()
        message.context.feature["clip/data_path"].bytes_list.value.append(path)
        for key, values in context.items():
            kind = "float_list" if isinstance(values[0], float) else "int64_list"
            getattr(message.context.feature[key.replace("__", "/")], kind).value.extend(values)

    values = {name: scale * value for name, value in frames("x", count, dtype=np.float32).items()}
    return mutated(
        records.frame_level_record("x", [], dict(zip(MEDIAPIPE.feature_names, values.values(), strict=True))), change
    )


def test_floats_are_clipped_as_the_dataset_was(tmp_path):
    low, high = records.FLOAT_RANGE
    assert (low, high) == (-2, records.dequantize(255))  # Dequantised bytes pass unchanged.
    values = {"rgb": np.linspace(-6, 6, 24).reshape(3, 8), "audio": np.full((3, 4), 1.25)}
    video = {name: value.astype(np.float32) for name, value in values.items()}
    path = write(tmp_path, "a.tfrecord", [records.frame_level_record("aa", [1], video, [(0, 1, 1)])])
    expected = np.clip(np.concatenate(list(values.values()), axis=1), low, high).astype(np.float32)
    for segments in (False, True):
        batch = joined(Reader(path, CONFIG, segments=segments).read(1))
        np.testing.assert_array_equal(batch["features"][0, :3], expected)
    means = {f"mean_{name}": value[0] for name, value in values.items()}
    path = write(tmp_path, "b.tfrecord", [records.video_level_record("aa", [1], **means)])
    np.testing.assert_array_equal(joined(Reader(path, CONFIG).read(1))["features"][0], expected[:1])
    unclipped = joined(Reader(path, dataclasses.replace(CONFIG, clip_features=False)).read(1))["features"]
    assert unclipped.min() == -6


def test_labels_and_ratings_of_mediasequence(tmp_path):
    second = 1_000_000
    rated = {
        "segment__start__timestamp": [0, 2 * second + 400_000, 5 * second],
        "segment__end__timestamp": [5 * second, 7 * second + 400_000, 17 * second],
        "segment__label__index": [1, 2, 3],
    }
    path = write(
        tmp_path,
        "a.tfrecord",
        [
            sequence(b"/v/0.mp4", clip__label__index=[4, 7]),
            sequence(b"/v/1.mp4", count=20, **rated),
            sequence(b"/v/2.mp4", **rated, segment__label__confidence=[0.5, 0.49, 1.0]),
        ],
    )
    batch = joined(Reader(path, MEDIAPIPE).read(3))
    assert [np.flatnonzero(row).tolist() for row in batch["labels"]] == [[4, 7], [], []]
    assert batch["ids"].tolist() == [b"/v/0.mp4", b"/v/1.mp4", b"/v/2.mp4"]

    path = write(tmp_path, "b.tfrecord", [sequence(b"/v/1.mp4", count=20, **rated)])
    batch = joined(Reader(path, MEDIAPIPE, segments=True).read(9))
    assert batch["start_times"].tolist() == [0, 2, 5, 10]  # The last rating is of 12 s: two segments.
    assert np.argwhere(batch["labels"]).tolist() == [[0, 1], [1, 2], [2, 3], [3, 3]]
    truth = [(b"/v/1.mp4", [0, 2, 5, 10], [1, 2, 3, 3], [1, 1, 1, 1])]
    assert list(ground_truth.rated_segments(path)) == truth

    path = write(tmp_path, "c.tfrecord", [sequence(b"c", **rated, segment__label__confidence=[0.5, 0.49, 1.0])])
    batch = joined(Reader(path, MEDIAPIPE, segments=True).read(9))
    assert np.argwhere(batch["label_weights"]).tolist() == [[0, 1], [1, 2], [2, 3], [3, 3]]
    assert np.argwhere(batch["labels"]).tolist() == [[0, 1], [2, 3], [3, 3]]
    assert [scores for *_, scores in ground_truth.rated_segments(path)] == [[1, 0, 1, 1]]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"segment__end__timestamp": [0]}, "a rated segment must end after its start of 0 microseconds, got 0"),
        ({"segment__end__timestamp": [5, 6]}, "as many ends as starts, got 2"),
        ({"segment__start__timestamp": [301_000_000], "segment__end__timestamp": [306_000_000]}, "0 and 295, got 301"),
        ({"segment__label__confidence": [1.5]}, "segment scores must be from 0 to 1, got 1.5"),
    ],
)
def test_bad_ratings_of_mediasequence(tmp_path, change, message):
    good = {
        "segment__start__timestamp": [0],
        "segment__end__timestamp": [5_000_000],
        "segment__label__index": [1],
        "segment__label__confidence": [1.0],
    }
    path = write(tmp_path, "a.tfrecord", [sequence(b"aa", **good), sequence(b"bb", **good | change)])
    with pytest.raises(UserError, match=rf'a.tfrecord, record 1 \(id "bb"\): .*{message}'):
        list(Reader(path, MEDIAPIPE, segments=True).read(2))


def test_keys_are_settings(tmp_path):
    def rename(message):
        for old, new in (("id", "name"), ("labels", "tags"), ("segment_labels", "what")):
            message.context.feature[new].CopyFrom(message.context.feature[old])
            del message.context.feature[old]

    path = write(tmp_path, "a.tfrecord", [mutated(record("aa", segments=[(0, 2, 1)]), rename)])
    keys = RecordKeys(id="name", labels="tags", segment_labels="what")
    batch = joined(Reader(path, CONFIG, settings=ReaderSettings(keys)).read(1))
    assert batch["ids"].tolist() == [b"aa"] and np.flatnonzero(batch["labels"]).tolist() == [1, 3]
    batch = joined(Reader(path, CONFIG, segments=True, settings=ReaderSettings(keys)).read(1))
    assert np.flatnonzero(batch["labels"]).tolist() == [2]
    assert list(ground_truth.rated_segments(path, keys=keys)) == [(b"aa", [0], [2], [1])]
    with pytest.raises(
        UserError, match='must have one id under "id" or "video_id".*got none; it has the features "name"'
    ):
        list(Reader(path, CONFIG).read(1))
    assert len(joined(Reader(path, CONFIG, training=True).read(1))["ids"]) == 1  # Training asks for none.
    wrong = ReaderSettings(RecordKeys(labels="classes"))
    with pytest.raises(UserError, match='None of the first 1 records of .* has the key "classes" .* "name", .*"tags"'):
        Reader(path, CONFIG, settings=wrong)


@pytest.mark.parametrize("kind", ["bytes", "floats", "means"])
def test_videos_that_lack_a_feature(tmp_path, kind):
    def shard(names):
        if kind == "means":
            values = {"rgb": np.full(8, 0.5), "audio": np.full(4, 0.25)}
            return records.video_level_record("aa", [1], **{f"mean_{name}": values[name] for name in names})
        values = frames("aa", 7, dtype=np.uint8 if kind == "bytes" else np.float32)
        return records.frame_level_record("aa", [1], {name: values[name] for name in names}, [(5, 1, 1)])

    path = write(tmp_path, "a.tfrecord", [shard(["rgb"]), shard(["rgb", "audio"]), shard(["audio"])])
    with pytest.raises(UserError, match="--missing_features=mean reads videos"):
        Reader(path, CONFIG)
    middle = write(tmp_path, "b.tfrecord", [shard(["rgb", "audio"]), shard(["rgb"])])
    if kind != "means":
        with pytest.raises(UserError, match='record 1 .* no frames of feature "audio"; --missing_features=mean'):
            list(Reader(middle, CONFIG).read(2))
    means = {"rgb": [0.5] * 8, "audio": [-1.0] * 4}
    for settings, filled in (
        (ReaderSettings(missing_features="zeros"), {"rgb": 0, "audio": 0}),
        (ReaderSettings(missing_features="mean"), {"rgb": 0, "audio": 0}),
        (ReaderSettings(missing_features="mean", feature_means=means), {"rgb": 0.5, "audio": -1}),
    ):
        batches = Reader(path, CONFIG, settings=settings).read(3)
        batch = joined(batches)
        values = batch["features"].astype(np.float32)
        if kind == "bytes":  # 127 is the byte of a dequantised 0, to 3e-5.
            values = records.dequantize(values)
        count = 1 if kind == "means" else 6
        np.testing.assert_allclose(values[0, :count, 8:], filled["audio"], atol=0.0079)
        np.testing.assert_allclose(values[2, :count, :8], filled["rgb"], atol=0.0079)
        np.testing.assert_array_equal(values[0, :, :8], values[1, :, :8])
        np.testing.assert_array_equal(values[2, :, 8:], values[1, :, 8:])
        assert batches.counts.filled == 2 and "lack a feature, which was filled in: 2" in batches.counts.summary()
    if kind != "means":
        batch = joined(Reader(path, CONFIG, segments=True, settings=settings).read(3))
        assert batch["present_frames"].tolist() == [2, 2, 2]


def test_ids_are_escaped_where_a_submission_could_not_hold_them(tmp_path):
    names = ["/home/me/my holiday, part 1.mp4", "a:b", 'say "x"', "100%", "100%20", "tab\tline\n", "ü", "plain"]
    written = [video_ids.escape_id(name.encode()) for name in names]
    assert written[:5] == [b"/home/me/my%20holiday%2C%20part%201.mp4", b"a%3Ab", b"say%20%22x%22", b"100%", b"100%2520"]
    assert [video_ids.unescape_id(text).decode() for text in written] == names
    path = write(tmp_path, "a.tfrecord", [record(name, segments=[(0, 1, 1)]) for name in names])
    for segments in (False, True):
        assert joined(Reader(path, CONFIG, segments=segments).read(3))["ids"].tolist() == written
    assert [video_id for video_id, *_ in ground_truth.rated_segments(path)] == written
    assert [video_id for video_id, _ in ground_truth.video_labels(path)] == written


def test_what_was_not_looked_at_is_counted(tmp_path):
    path = write(tmp_path, "a.tfrecord", [record("aa", 302), record("bb", 300, labels=[]), record("cc", 310)])
    batches = Reader(path, CONFIG, training=True).read(2)
    list(batches)
    assert "Videos without a label: 1." in batches.counts.summary()
    batches = Reader(path, CONFIG).read(2)
    list(batches)
    assert (batches.counts.cut, batches.counts.cut_seconds, batches.counts.unlabelled) == (2, 600, 1)
    assert "longer than 300 seconds: 2; 600 of their seconds were not looked at" in batches.counts.summary()
    assert "label" not in batches.counts.summary()  # Only training asks for labels.


def compressed(kind):
    return gzip.compress if kind == "gzip" else zlib.compress


@pytest.mark.parametrize("kind", ["gzip", "zlib"])
def test_compressed_shards(tmp_path, kind):
    plain = write(tmp_path, "plain", [record("aa"), record("bb", segments=[(0, 1, 1)])])
    content = compressed(kind)((tmp_path / "plain").read_bytes())
    (tmp_path / "packed").write_bytes(content)
    reader = Reader(f"{tmp_path}/p*", CONFIG)
    for seed in (None, 1):
        assert sorted(ids_of(reader.read(3, seed=seed))) == ["aa", "aa", "bb", "bb"]
    assert len(list(ground_truth.video_labels(f"{tmp_path}/packed"))) == 2
    (tmp_path / "packed").write_bytes(content[:-20])
    with pytest.raises(
        UserError, match=f"packed, record [12]: its {kind if kind == 'gzip' else 'ZLIB'} data are damaged"
    ):
        list(Reader(f"{tmp_path}/packed,{plain}", CONFIG).read(1))


@pytest.mark.parametrize(
    "serialized",
    [record("aa", 3), records.video_level_record("aa", [1], mean_rgb=np.ones(8), mean_audio=np.ones(4))],
    ids=["SequenceExample", "Example"],
)
def test_a_serialized_record_without_a_tfrecord(tmp_path, serialized):
    (tmp_path / "features.pb").write_bytes(serialized)
    reader = Reader(f"{tmp_path}/features.pb", CONFIG)
    for seed in (None, 1):
        assert ids_of(reader.read(3, seed=seed)) == ["aa"]


@pytest.mark.parametrize(
    "content, what",
    [
        (b'{"train0000.tfrecord": "d41d8cd98f00"}', "but JSON text: name the shards alone"),
        (b"<!DOCTYPE html><html><body>Not found", "but an HTML page"),
        (b"VideoId,LabelConfidencePairs\nabcd,1 0.5\n", 'but text that begins with "VideoId'),
        (b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'", "youtube8m_mod.data.convert"),
        (gzip.compress(b"hello, hello, hello"), "but a gzip file of something else"),
        (bytes(range(255, 155, -1)), "or its first bytes are damaged"),
    ],
    ids=["json", "html", "csv", "npy", "gzip", "bytes"],
)
def test_files_that_are_no_tfrecords(tmp_path, content, what):
    path = tmp_path / "a_file"
    path.write_bytes(content)
    write(tmp_path, "shard", [record("aa")])
    with pytest.raises(UserError, match=f"a_file, record 0: it is not a TFRecord file.*{what}"):
        Reader(f"{tmp_path}/*", CONFIG)
    with pytest.raises(UserError, match=f"a_file, record 0: it is not a TFRecord file.*{what}"):
        Reader(f"{tmp_path}/a_file", CONFIG, skip_bad_records=True)
    reader = Reader(f"{tmp_path}/*", CONFIG, skip_bad_records=True, max_bad_share=1)
    batches = reader.read(2)
    assert ids_of(batches) == ["aa"] and batches.counts.bad == {"not a TFRecord": 1}


def test_kinds_that_are_mixed(tmp_path):
    means = records.video_level_record("bb", [1], mean_rgb=np.ones(8), mean_audio=np.ones(4))
    mixed = write(tmp_path, "a", [record("aa"), means]), write(tmp_path, "b", [means, record("aa")])
    for path, found in zip(mixed, ("video-level record, frame-level", "frame-level record, video-level")):
        with pytest.raises(UserError, match=f"record 1 .*: it is a {found} ones were expected"):
            list(Reader(path, CONFIG).read(2))


@pytest.mark.parametrize(
    "label, hint", [(4700, "num_classes=4716"), (4790, "num_classes=4800"), (9000, "num_classes=...")]
)
def test_labels_of_a_larger_vocabulary(tmp_path, label, hint):
    path = write(tmp_path, "a", [record("aa", labels=[1, label])])
    with pytest.raises(UserError, match=f"got {label}; .*--set {hint}"):
        list(Reader(path, CONFIG).read(2))
