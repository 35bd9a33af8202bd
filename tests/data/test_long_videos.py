"""Ratings behind the 300 seconds that are read of a video: left out and told, or refused where no second is there."""

import numpy as np
import pytest
import tensorflow as tf

from tests.data.shard_helpers import write
from youtube8m_mod.config import ModelConfig
from youtube8m_mod.data import records
from youtube8m_mod.data.check import check
from youtube8m_mod.data.ground_truth import rated_segments
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.errors import UserError

CONFIG = ModelConfig("test", pooling="dbof", feature_names=("rgb",), feature_sizes=(2,), num_classes=10)
SECOND = 1_000_000


def rated(frames, *ratings):
    return records.frame_level_record("v", [1], {"rgb": np.zeros((frames, 2), np.uint8)}, ratings)


def mediasequence(frames, *spans):
    record = tf.train.SequenceExample.FromString(
        records.frame_level_record("v", [1], {"rgb": np.zeros((frames, 2), np.uint8)})
    )
    for key, values in zip(("start/timestamp", "end/timestamp", "label/index"), zip(*spans)):
        record.context.feature[f"segment/{key}"].int64_list.value.extend(values)
    return record.SerializeToString()


@pytest.mark.parametrize(
    "record, starts, unread, all_starts",
    [
        (rated(400, (0, 2, 1), (300, 3, 1), (350, 4, 1), (295, 5, 1)), [0, 295], 2, [0, 300, 350, 295]),
        (mediasequence(400, (290 * SECOND, 310 * SECOND, 3)), [290, 295], 2, [290, 295, 300, 305]),
        (mediasequence(301, (0, 400 * SECOND, 3)), [*range(0, 300, 5)], 1, [*range(0, 400, 5)]),
        (mediasequence(400, (292 * SECOND, 302 * SECOND, 3)), [292], 1, [292, 297]),
    ],
    ids=["dataset", "spans", "whole", "off the grid"],
)
def test_ratings_behind_what_is_read(tmp_path, record, starts, unread, all_starts):
    path = write(tmp_path, "x", [record])
    batches = Reader(path, CONFIG, segments=True).read(100)
    assert [start for batch in batches for start in batch["start_times"].numpy().tolist()] == starts
    assert batches.counts.unread == unread and f"{unread:,} rated segments start after second 295" in (
        batches.counts.summary()
    )
    assert check(path, CONFIG)["ratings_past_300_s"] == unread
    ((_, found, *_),) = rated_segments(path)  # In the ground truth they count as not found.
    assert found == all_starts


@pytest.mark.parametrize(
    "record, message",
    [
        (rated(300, (300, 2, 1)), "must start between 0 and 295, got 300"),
        (rated(305, (298, 2, 1)), "must start between 0 and 295, got 298"),
        (mediasequence(300, (0, 400 * SECOND, 2)), "0 microseconds and within 305 s, got 400000000"),
        (
            mediasequence(400, (9 * SECOND, 5 * SECOND, 2)),
            "must end after its start of 9000000 microseconds, got 5000000",
        ),
        (mediasequence(400, (-9 * SECOND, -4 * SECOND, 2)), "must start between 0 and 295, got -9"),
    ],
)
def test_ratings_where_nothing_is(tmp_path, record, message):
    path = write(tmp_path, "x", [record])
    with pytest.raises(UserError, match=f"x, record 0 .*{message}"):
        list(Reader(path, CONFIG, segments=True).read(1))


@pytest.mark.parametrize(
    "key, kind, values, message",
    [
        ("segment_labels", "int64_list", [-1], "segment labels must be classes from 0 to 9, got -1"),
        ("segment_labels", "int64_list", [10], "segment labels must be classes from 0 to 9, got 10"),
        ("segment_labels", "float_list", [1.0], '"segment_labels" must hold integers, got floats'),
        ("segment_scores", "float_list", [0.5], "segment scores must be 0 or 1, got 0.5"),
        ("segment_scores", "float_list", [float("nan")], "segment scores must be 0 or 1, got nan"),
        ("segment_start_times", "int64_list", [-5], "must start between 0 and 295, got -5"),
    ],
)
def test_ground_truth_is_as_strict_as_training(tmp_path, key, kind, values, message):
    record = tf.train.SequenceExample.FromString(rated(9, (0, 2, 1)))
    record.context.feature[key].Clear()
    getattr(record.context.feature[key], kind).value.extend(values)
    path = write(tmp_path, "x", [record.SerializeToString()])
    with pytest.raises(UserError, match=f"x, record 0: .*{message}"):
        list(rated_segments(path, num_classes=10))
