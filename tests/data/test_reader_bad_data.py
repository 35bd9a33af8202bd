"""Bad records and bad files: each an error that names it, or counted and skipped."""

import dataclasses
import os

import numpy as np
import pytest
import tensorflow as tf

from tests.data.shard_helpers import CONFIG, crc32c, frame, frames, header, ids_of, mutated, record, write
from youtube8m_mod.data import parsing, records, validation
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.errors import UserError

GOOD = record("good", 4, segments=[(0, 2, 1)])


def with_segments(*segments):
    return record("bad1", 4, segments=segments)


def with_context(key, kind, *values):
    def change(message):
        message.context.feature[key].Clear()
        getattr(message.context.feature[key], kind).value.extend(values)

    return mutated(record("bad1", 4, segments=[(0, 2, 1)]), change)


def with_frame(key, i, **lists):
    def change(message):
        frame(message, key, i).Clear()
        for kind, values in lists.items():
            getattr(frame(message, key, i), kind).value.extend(values)

    return mutated(record("bad1", 4), change)


def features_of(rgb, audio):
    features = {"rgb": frames("x", rgb)["rgb"], "audio": frames("x", audio)["audio"]}
    return records.frame_level_record("bad1", [], features)


# A frame that announces 2^63 - 1 bytes; TensorFlow's own parsers end the process at such a length.
_PAYLOAD = frames("good", 4)["rgb"][1].tobytes()
ENDLESS = GOOD.replace(b"\n\x08" + _PAYLOAD, b"\n" + b"\xff" * 8 + b"\x7f")
assert len(ENDLESS) == len(GOOD) and ENDLESS != GOOD

# Reason under which it is counted, part of the sentence, the record.
BAD_VIDEOS = {
    "no protocol buffer": ("malformed", "its bytes are no SequenceExample", b"garbage"),
    "cut off": ("malformed", "are no SequenceExample", GOOD[:-3]),
    "frame without end": ("malformed", "are no SequenceExample", ENDLESS),
    "empty": ("id", 'one id under "id", got none', b""),
    "no id": ("id", 'one id under "id", got none', mutated(GOOD, lambda m: m.context.feature.pop("id"))),
    "empty id": ("id", "got an empty one", record("", 4)),
    "two ids": ("id", "got 2 of them", with_context("id", "bytes_list", b"a", b"b")),
    "id of a number": ("wrong type", '"id" must hold bytes, got integers', with_context("id", "int64_list", 3)),
    "endless id": ("id", "its id must be at most 1000 letters, got 1,001", record("b" * 1001, 4)),
    "id that is no text": ("id", "its id must be UTF-8 text", with_context("id", "bytes_list", b"\xff\xfe")),
    "label too large": (
        "label out of range",
        "labels must be classes from 0 to 9, got 10",
        record("bad1", labels=[2, 10]),
    ),
    "negative label": ("label out of range", "got -1", record("bad1", labels=[-1])),
    "label of text": (
        "wrong type",
        '"labels" must hold integers, got bytes',
        with_context("labels", "bytes_list", b"1"),
    ),
    "no frames": ("no frames", 'no frames of feature "rgb"', features_of(0, 0)),
    "no audio": ("no frames", 'no frames of feature "audio"', features_of(3, 0)),
    "different lengths": ("different lengths", 'got 4 of "rgb", 3 of "audio"', features_of(4, 3)),
    "short frame": (
        "feature size",
        '"rgb" must hold 8 bytes a frame, got 7 bytes in frame 2',
        with_frame("rgb", 2, bytes_list=[b"7 bytes"]),
    ),
    "frame of two strings": (
        "feature size",
        "got 2 strings in frame 1",
        with_frame("audio", 1, bytes_list=[b"four"] * 2),
    ),
    "frame of nothing": ("feature size", "got 0 strings in frame 3", with_frame("audio", 3)),
    "frame of floats": (
        "wrong type",
        '"rgb" must hold bytes, got floats in frame 0',
        with_frame("rgb", 0, float_list=[0.0] * 8),
    ),
    "short frame beyond the last that is read": (
        "feature size",
        "in frame 8",
        mutated(record("bad1", 9), lambda message: frame(message, "rgb", 8).bytes_list.value.__setitem__(0, b"x")),
    ),
}
BAD_SEGMENTS = {
    "start too late": (
        "segment start",
        "must start between 0 and 295, got 296",
        with_segments((0, 1, 1), (296, 1, 1)),
    ),
    "negative start": ("segment start", "got -5", with_segments((-5, 1, 1))),
    "huge start": ("segment start", "got 9000000000", with_segments((9_000_000_000, 1, 1))),
    "class too large": (
        "label out of range",
        "segment labels must be classes from 0 to 9, got 10",
        with_segments((0, 10, 1)),
    ),
    "half a score": ("segment score", "must be 0 or 1, got 0.5", with_segments((0, 1, 0.5))),
    "score that is no number": ("segment score", "must be 0 or 1, got nan", with_segments((0, 1, np.nan))),
    "fewer scores": ("segment lists", "got 1, 1 and 2", with_context("segment_scores", "float_list", 1, 1)),
    "starts of floats": (
        "wrong type",
        '"segment_start_times" must hold integers, got floats',
        with_context("segment_start_times", "float_list", 0),
    ),
}


def cases():
    return [
        pytest.param(segments, *case, id=name)
        for segments, bad in [(False, BAD_VIDEOS), (True, BAD_SEGMENTS)]
        for name, case in bad.items()
    ]


def spec(segments):
    return records.RecordSpec(
        records.QUANTIZED, CONFIG.feature_names, CONFIG.feature_sizes, CONFIG.num_classes, segments
    )


@pytest.mark.parametrize("segments, reason, sentence, serialized", cases())
def test_what_is_wrong_in_words(segments, reason, sentence, serialized):
    found = validation.problem(serialized, spec(segments))
    assert found[0] == reason and sentence in found[1]
    assert "\n" not in found[1] and not found[1].endswith(".")
    assert validation.problem(GOOD, spec(segments)) is None


@pytest.mark.parametrize(
    "bad", ["no protocol buffer", "frame without end", "no id", "label of text", "different lengths", "start too late"]
)
def test_bad_record_ends_the_pass(tmp_path, bad):
    _, sentence, serialized = (BAD_VIDEOS | BAD_SEGMENTS)[bad]
    path = write(tmp_path, "a.tfrecord", [GOOD, serialized, GOOD])
    with pytest.raises(UserError) as raised:
        list(Reader(path, CONFIG, segments=bad in BAD_SEGMENTS).read(1))
    video_id = ' (id "bad1")' if b"bad1" in serialized else ""
    assert str(raised.value).startswith(f"{path}, record 1{video_id}: ") and sentence in str(raised.value)


@pytest.mark.parametrize("segments, bad", [(False, BAD_VIDEOS), (True, BAD_VIDEOS | BAD_SEGMENTS)])
def test_bad_records_are_counted_and_skipped(tmp_path, segments, bad):
    shard = [GOOD] + [serialized for _, _, serialized in bad.values()] + [record("last", 2, segments=[(0, 1, 1)])]
    path = write(tmp_path, "a.tfrecord", shard)
    reader = Reader(path, CONFIG, segments=segments, skip_bad_records=True, max_bad_share=1)
    for _ in range(2):
        batches = reader.read(3)
        assert ids_of(batches) == ["good", "last"]
        expected = [reason for reason, _, _ in bad.values()]
        assert batches.counts.bad == {reason: expected.count(reason) for reason in expected}
        assert batches.counts.records == len(shard)
    assert f"Skipped {len(bad)} bad of {len(shard)} records" in batches.counts.summary()
    assert f"the first: {path}, record 1: " in batches.counts.summary()


def test_bad_values_of_float_records(tmp_path):
    values = frames("bad1", 4, dtype=np.float32)
    values["rgb"][2, 3] = np.inf
    path = write(
        tmp_path, "a.tfrecord", [record("aa", dtype=np.float32), records.frame_level_record("bad1", [], values)]
    )
    with pytest.raises(UserError, match='record 1 \\(id "bad1"\\): "rgb frame 2" holds NaN or infinite values'):
        list(Reader(path, CONFIG).read(2))
    wrong = dataclasses.replace(CONFIG, feature_sizes=(10, 4))
    with pytest.raises(UserError, match='record 0 .*"rgb" must hold 10 values a frame, got 8 in frame 0'):
        list(Reader(path, wrong).read(2))
    means = [
        records.video_level_record("bad1", [], mean_rgb=np.full(size, value), mean_audio=np.zeros(4))
        for size, value in [(8, 1), (8, np.nan), (9, 1)]
    ]
    batches = Reader(write(tmp_path, "b.tfrecord", means), CONFIG, skip_bad_records=True, max_bad_share=1).read(9)
    assert ids_of(batches) == ["bad1"]
    assert batches.counts.bad == {"not finite": 1, "feature size": 1}


def test_share_of_bad_records(tmp_path):
    path = write(tmp_path, "a.tfrecord", [GOOD, b"garbage", GOOD, GOOD])
    assert len(ids_of(Reader(path, CONFIG, skip_bad_records=True, max_bad_share=0.25).read(4))) == 3
    with pytest.raises(
        UserError,
        match="1 of 4 records are bad, .* more than the share 0.2 that may be skipped; the "
        "first: .*a.tfrecord, record 1: ",
    ):
        list(Reader(path, CONFIG, skip_bad_records=True, max_bad_share=0.2).read(4))


def test_share_is_judged_before_the_end(tmp_path):
    """After 1000 records, not after a pass of days."""
    write(tmp_path, "a.tfrecord", [b"garbage", *[GOOD] * 999])
    write(tmp_path, "b.tfrecord", [b"garbage"] * 300 + [GOOD] * 800)
    for name in "cdef":
        write(tmp_path, f"{name}.tfrecord", [GOOD] * 2000)
    seen = []
    with pytest.raises(UserError, match="records are bad"):
        for batch in Reader(str(tmp_path / "*.tfrecord"), CONFIG, skip_bad_records=True).read(100):
            seen.append(batch)
    assert 5 <= len(seen) < 40


def damaged_file(folder, change):
    """A shard of ten records whose bytes went through `change`; (path, offset of each record)."""
    path = write(folder, "damaged.tfrecord", [GOOD] * 10)
    data = bytearray((folder / "damaged.tfrecord").read_bytes())
    (folder / "damaged.tfrecord").write_bytes(change(data, len(data) // 10))
    return path


def flip(data, position):
    data[position] ^= 16
    return data


DAMAGES = {
    "cut off in a record": (lambda data, size: data[: size * 7 + 40], 7, "truncated", "it is cut off at byte"),
    "cut off in a header": (lambda data, size: data[: size * 7 + 5], 7, "truncated", "it is cut off at byte"),
    "flipped bit": (lambda data, size: flip(data, size * 3 + 30), 3, "corrupt", "its checksum is wrong at byte"),
    "flipped length": (lambda data, size: flip(data, size * 3), 3, "corrupt", "its checksum is wrong at byte"),
    "large length": (lambda data, size: flip(data, size * 3 + 5), 3, "truncated", "it is cut off at byte"),
    "announces 32 TB": (
        lambda data, size: data[: size * 4] + header(1 << 45) + b"x" * 50,
        4,
        "truncated",
        "is cut off",
    ),
    "wrong from the start": (lambda data, size: flip(data, 30), 0, "corrupt", "is this a TFRecord file?"),
}


@pytest.mark.parametrize("change, position, reason, sentence", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_file(tmp_path, change, position, reason, sentence):
    path = damaged_file(tmp_path, change)
    offset = position * (len(GOOD) + 16)
    with pytest.raises(UserError) as raised:
        list(Reader(path, CONFIG).read(1))
    assert str(raised.value).startswith(f"{path}, record {position}: ") and sentence in str(raised.value)
    assert f"at byte {offset:,}" in str(raised.value)

    other = write(tmp_path, "other.tfrecord", [GOOD] * 5)
    batches = Reader(f"{path},{other}", CONFIG, skip_bad_records=True, max_bad_share=1).read(2, seed=1)
    assert len(ids_of(batches)) == position + 5
    assert batches.counts.bad == {reason: 1}
    assert batches.counts.records == position + 1 + 5


@pytest.mark.parametrize("position", [0, 3, 11])
def test_records_behind_damage_are_counted_as_lost(tmp_path, position):
    many = [record(f"v{number:02d}", 3 + number % 3) for number in range(24)]
    other = write(tmp_path, "other.tfrecord", [record(f"w{number:02d}", 3 + number % 3) for number in range(600)])
    path = write(tmp_path, "damaged.tfrecord", many)
    data = open(path, "rb").read()
    offset = sum(len(serialized) + 16 for serialized in many[:position])
    (tmp_path / "damaged.tfrecord").write_bytes(flip(bytearray(data), offset + 40))
    batches = Reader(f"{path},{other}", CONFIG, skip_bad_records=True, max_bad_share=0.05).read(64)
    assert len(ids_of(batches)) == position + 600
    counts = batches.counts
    assert counts.bad == {"corrupt": 1} and counts.records == position + 1 + 600
    assert abs(counts.lost - (24 - position - 1)) <= 1
    assert f"Skipped 1 bad of {counts.records:,} records (corrupt 1) and lost about {counts.lost}" in counts.summary()
    refused = Reader(f"{path},{other}", CONFIG, skip_bad_records=True, max_bad_share=0.01).read(64)
    with pytest.raises(UserError, match="1 of .* records are bad and lost about .* more than the share 0.01"):
        list(refused)


def test_checksum_of_the_helper():
    """The huge length above is refused for its size, not for a wrong checksum of its header."""
    assert crc32c(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_files_that_cannot_be_read(tmp_path):
    good = write(tmp_path, "good.tfrecord", [GOOD])
    with pytest.raises(UserError, match='No file matches "/no/such/.*"'):
        Reader("/no/such/*.tfrecord", CONFIG)
    (tmp_path / "folder.tfrecord").mkdir()
    with pytest.raises(UserError, match="folder.tfrecord: it is a directory"):
        Reader(str(tmp_path / "*.tfrecord"), CONFIG)
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(UserError, match="The 1 files hold no record that can be read: .*empty is empty"):
        Reader(str(tmp_path / "empty"), CONFIG)
    (tmp_path / "text.csv").write_text("VideoId,LabelConfidencePairs\nabcd,1 0.5\n")
    with pytest.raises(UserError, match='text.csv, record 0: it is not a TFRecord file but text that begins with "Vid'):
        Reader(str(tmp_path / "text.csv"), CONFIG)
    (tmp_path / "secret").write_bytes(open(good, "rb").read())
    os.chmod(tmp_path / "secret", 0)
    if not os.access(tmp_path / "secret", os.R_OK):  # Root reads it all the same.
        with pytest.raises(UserError, match="secret: permission denied"):
            Reader(str(tmp_path / "secret"), CONFIG)


def test_empty_file_among_others(tmp_path, capsys):
    (tmp_path / "a").write_bytes(b"")
    write(tmp_path, "b", [GOOD])
    assert ids_of(Reader(str(tmp_path / "?"), CONFIG).read(2, seed=1)) == ["good"]
    assert f'warning: of 2 files that match "{tmp_path}/?" 1 hold no bytes: {tmp_path}/a.' in capsys.readouterr().err


def test_each_glob_of_a_list_must_match(tmp_path):
    write(tmp_path, "a", [GOOD])
    with pytest.raises(UserError, match=f'No file matches "{tmp_path}/b\\*", a part of'):
        Reader(f"{tmp_path}/a*,{tmp_path}/b*", CONFIG)


def test_file_that_vanishes(tmp_path):
    write(tmp_path, "a", [GOOD])
    write(tmp_path, "b", [GOOD])
    reader = Reader(str(tmp_path / "?"), CONFIG)
    os.remove(tmp_path / "b")
    with pytest.raises(UserError, match="Cannot read .*b: no such file"):
        list(reader.read(1))


def test_features_that_are_not_there(tmp_path):
    path = write(tmp_path, "a.tfrecord", [GOOD])
    config = dataclasses.replace(CONFIG, feature_names=("rgb", "sound"))
    with pytest.raises(
        UserError,
        match='a.tfrecord, record 0: feature_names "rgb", "sound" .* the feature lists '
        '"audio", "rgb" and the features "id", "labels"',
    ):
        Reader(path, config)
    with pytest.raises(UserError, match="record 0: it is neither an Example nor a SequenceExample"):
        Reader(write(tmp_path, "b.tfrecord", [b"garbage"]), CONFIG)


def test_kind_is_told_by_the_first_sound_record_when_bad_ones_are_skipped(tmp_path):
    write(tmp_path, "a.tfrecord", [b"garbage"])
    write(tmp_path, "b.tfrecord", [b"garbage", GOOD])
    reader = Reader(str(tmp_path / "*"), CONFIG, skip_bad_records=True, max_bad_share=1)
    assert ids_of(reader.read(2)) == ["good"]


def test_errors_inside_another_loop(tmp_path):
    batches = Reader(write(tmp_path, "a.tfrecord", [GOOD, b"garbage"]), CONFIG).read(1)
    with pytest.raises(UserError, match="a.tfrecord, record 1: "):
        with batches.named_errors():
            batches.dataset.reduce(0, lambda count, _: count + 1)


def mutations(count, kind):
    """Records with flipped bits, cut-off ends, inserted and repeated bytes."""
    if kind == records.VIDEO_LEVEL:
        good = records.video_level_record("good", [1, 2], mean_rgb=np.ones(8), mean_audio=np.ones(4))
    else:
        dtype = np.float32 if kind == records.FLOAT else np.uint8
        good = record("good", 3, segments=[(0, 2, 1), (5, 9, 0)], dtype=dtype)
    random = np.random.default_rng(8)
    for i in range(count):
        data = bytearray(good)
        for _ in range(random.integers(1, 4)):
            at = int(random.integers(len(data)))
            if i % 4 < 2:
                data[at] ^= 1 << int(random.integers(8))
            elif i % 4 == 2:
                data[at : at + int(random.integers(2))] = random.bytes(int(random.integers(1, 9)))
            else:
                del data[at : at + int(random.integers(1, 20))]
                data += good[:at] if i % 8 == 7 else b""
        yield bytes(data)


@pytest.mark.parametrize("kind", [records.QUANTIZED, records.FLOAT, records.VIDEO_LEVEL])
def test_mutated_records_end_in_a_result_or_an_error(tmp_path, kind):
    """The graph refuses a record exactly if the words have a reason for it."""
    shard = list(mutations(400, kind))
    segments = kind != records.VIDEO_LEVEL
    keys = ("rgb", "audio") if segments else ("mean_rgb", "mean_audio")
    spec = records.RecordSpec(kind, keys, CONFIG.feature_sizes, CONFIG.num_classes, segments)
    found = [validation.problem(serialized, spec) for serialized in shard]
    data = tf.data.Dataset.from_tensor_slices(shard).map(lambda record: parsing.fields([record], spec)["valid"])
    iterator = iter(data)
    refused = 0
    for serialized, reason in zip(shard, found):
        try:
            valid = bool(next(iterator))
        except tf.errors.InvalidArgumentError:
            valid = None
        # TensorFlow's parser and that of protobuf draw the line of what is malformed differently in places; the reader
        # takes what both take.
        malformed = bool(reason) and reason[0] == "malformed"
        refused += malformed or not valid
        if valid is not None and not malformed:
            assert valid == (reason is None), (reason, serialized)
    assert 20 < sum(reason is None for reason in found) < 380

    path = write(tmp_path, "a.tfrecord", [*shard])
    reader = Reader(path, CONFIG, segments=segments, skip_bad_records=True, max_bad_share=1)
    batches = reader.read(16)
    for batch in batches:
        assert batch["features"].shape[2] == 12
    assert sum(batches.counts.bad.values()) == refused
