import numpy as np
import pytest

from tests import golden_data
from youtube8m_mod.localization.segments import split_segments

ITEM = golden_data.item("segment_inference")
CASES = [key.partition("/")[2] for key in ITEM.info if key.startswith("get_segments/")]


@pytest.mark.parametrize("case", CASES)
def test_golden_segments(case):
    features = ITEM.array("get_segments", case, "in")
    segments, present, videos, starts = split_segments(features, ITEM.array("get_segments", case, "num_frames"))
    np.testing.assert_array_equal(segments, ITEM.array("get_segments", case, "video_batch"))
    np.testing.assert_array_equal(present, ITEM.array("get_segments", case, "num_frames_batch"))
    ids = ITEM.array("get_segments", case, "video_segment_ids")
    np.testing.assert_array_equal(np.stack([videos, starts], axis=1), ids)


def test_bytes_stay_bytes_and_a_width_that_five_does_not_divide_is_padded():
    features = np.arange(1, 8, dtype=np.uint8).reshape(1, 7, 1)
    segments, present, videos, starts = split_segments(features, [9])
    assert segments.dtype == np.uint8
    assert segments.numpy()[..., 0].tolist() == [[1, 2, 3, 4, 5], [6, 7, 0, 0, 0]]
    assert (present.numpy().tolist(), videos.numpy().tolist(), starts.numpy().tolist()) == ([5, 2], [0, 0], [0, 5])


def test_no_videos():
    segments, present, videos, starts = split_segments(np.zeros((0, 10, 3), np.uint8), np.zeros(0, np.int32))
    assert segments.shape == (0, 5, 3) and present.shape == videos.shape == starts.shape == (0,)
