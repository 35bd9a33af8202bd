"""Golden item 6: what the original's reader returns, in frame and in segment mode, and where it raises."""

import functools
import zlib

import numpy as np
import pytest
import tensorflow as tf

from tests import golden_data
from youtube8m_mod.config import ModelConfig
from youtube8m_mod.data import records
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.errors import UserError

ITEM = golden_data.item("reader")
MODES = {"frame": False, "segment": True}  # Mode of the original -> `segments` of ours.
CASES = [(mode, video_id) for mode, videos in ITEM.info["read"].items() for video_id in videos]
COMPARED = {
    "video_ids",
    "num_frames",
    "shape",
    "dtype",
    "crc32_float32",
    "sum_f64",
    "abs_sum_f64",
    "labels_shape",
    "labels_dtype",
    "labels_nonzero",
    "label_weights_nonzero",
    "label_values_at_rated",
    "per_segment_crc32",
    "per_segment_all_zero_frames",
}
ARRAYS = {"samples", "first_frame_of_each_segment"}


@functools.cache
def serialized_records():
    """Video id -> serialized record, of all files."""
    found = {}
    for name in ITEM.info["files"]:
        for serialized in tf.data.TFRecordDataset(golden_data.path(name)).as_numpy_iterator():
            context = tf.train.SequenceExample.FromString(serialized).context.feature
            found[context["id"].bytes_list.value[0].decode()] = serialized
    return found


def model_config(case):
    lists = tf.train.SequenceExample.FromString(next(iter(serialized_records().values()))).feature_lists.feature_list
    names = ("rgb", "audio")
    sizes = tuple(len(lists[name].feature[0].bytes_list.value[0]) for name in names)
    shape = case.get("shape", [0, records.MAX_FRAMES])
    return ModelConfig(
        "golden",
        feature_names=names,
        feature_sizes=sizes,
        max_frames=shape[1],
        groups=2,
        clusters=2,
        num_classes=case.get("labels_shape", [0, 3862])[1],
    )


def read_alone(tmp_path, mode, video_id, case):
    """The batch of a shard that holds this record only; None where the record gives no example."""
    path = tmp_path / "one.tfrecord"
    records.write_shard(path, [serialized_records()[video_id]])
    batches = list(Reader(str(path), model_config(case), segments=MODES[mode]).read(1000))
    assert len(batches) <= 1
    return {key: value.numpy() for key, value in batches[0].items()} if batches else None


def as_original(batch):
    """The original's float32 features: dequantised, zero where there is no frame."""
    values = records.dequantize(batch["features"])
    absent = np.arange(values.shape[1]) >= batch["present_frames"][:, np.newaxis]
    values[absent] = 0
    return values


def crc32(values):
    return zlib.crc32(np.ascontiguousarray(values).tobytes())


def compare(mode, video_id, case, batch):
    values = as_original(batch)
    assert [video.decode() for video in batch["ids"]] == case["video_ids"]
    assert batch["num_frames"].tolist() == case["num_frames"]
    assert list(values.shape) == case["shape"] and values.dtype == case["dtype"]
    assert crc32(values) == case["crc32_float32"]
    assert values.sum(dtype=np.float64) == pytest.approx(case["sum_f64"], rel=1e-12)
    assert np.abs(values).sum(dtype=np.float64) == pytest.approx(case["abs_sum_f64"], rel=1e-12)
    assert list(batch["labels"].shape) == case["labels_shape"]
    assert np.argwhere(batch["labels"]).tolist() == case["labels_nonzero"]
    if MODES[mode]:
        rated = np.argwhere(batch["label_weights"])
        assert rated.tolist() == case["label_weights_nonzero"]
        assert batch["labels"][tuple(rated.T)].tolist() == case["label_values_at_rated"]
        assert [crc32(segment) for segment in values] == case["per_segment_crc32"]
        zero = [np.flatnonzero((segment == 0).all(axis=-1)).tolist() for segment in values]
        assert zero == case["per_segment_all_zero_frames"]
    for key in ITEM.keys(mode, video_id):
        assert key in ARRAYS, f"unknown array {key}"
        expected = ITEM.array(mode, video_id, key)
        if key == "samples":
            flat = values.ravel()
            actual = flat[np.arange(expected.size) * flat.size // expected.size]
        else:
            actual = values[:, 0, :: values.shape[-1] // expected.shape[-1]]
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("mode, video_id", CASES)
def test_golden_record(tmp_path, mode, video_id):
    assert mode in MODES, f"unknown mode {mode}"
    case = ITEM.info["read"][mode][video_id]
    if "error" in case:
        with pytest.raises(UserError, match=f'one.tfrecord, record 0 \\(id "{video_id}"\\)'):
            read_alone(tmp_path, mode, video_id, case)
        return
    assert set(case) <= COMPARED, f"unknown entries {set(case) - COMPARED}"
    batch = read_alone(tmp_path, mode, video_id, case)
    if batch is None:
        assert not case["video_ids"]
    else:
        compare(mode, video_id, case, batch)


@pytest.mark.parametrize("mode", ITEM.info["read"])
def test_golden_files(mode):
    """All files at once, bad records skipped: every readable video, in order, and no other."""
    cases = ITEM.info["read"][mode]
    pattern = ",".join(golden_data.path(name) for name in ITEM.info["files"])
    first = next(case for case in cases.values() if "error" not in case)
    reader = Reader(pattern, model_config(first), segments=MODES[mode], skip_bad_records=True, max_bad_share=1)
    batches = reader.read(4)
    ids = [video.decode() for batch in batches for video in batch["ids"].numpy()]
    assert ids == [video for video_id in serialized_records() for video in cases[video_id].get("video_ids", [])]
    assert sum(batches.counts.bad.values()) == sum("error" in case for case in cases.values())


def test_golden_dequantize_table():
    table = ITEM.array("dequantize_table_0_255")
    np.testing.assert_array_equal(records.dequantize(np.arange(256)), table)
    np.testing.assert_array_equal(records.quantize(table), np.arange(256))
