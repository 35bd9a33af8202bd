"""The file of a page: complete, small, safe, and the same values in it."""

import base64
import json
import re

import numpy as np
import pytest

from tests.command_line import call
from tests.explore.pages import NAMES, SEGMENTS, SUBMISSION, VIDEOS, YOUTUBE, write_predictions
from youtube8m_mod.errors import UserError
from youtube8m_mod.explore import __main__ as command
from youtube8m_mod.explore import page
from youtube8m_mod.explore.contents import Contents, Truth, Video, best_segments
from youtube8m_mod.explore.outputs import read_outputs


def unpack(text):
    return np.frombuffer(base64.b64decode(text), "<u2")


def test_values_in_the_data(tmp_path):
    contents = read_outputs(write_predictions(tmp_path / "s.csv", SEGMENTS))
    contents.names = NAMES
    contents.videos[0].truth = Truth([11], [(11, 5, 10, True), (5, 0, 5, False)])
    data = page.page_data(contents)
    assert [entry["id"] for entry in data["classes"]] == [5, 7, 11]
    assert data["classes"][2]["name"] == "Vehicle"
    video = data["videos"][0]
    assert video["classes"] == [2, 0] and video["segments"] == 3 and video["labels"] == [2]
    assert video["truth"] == [[2, 5, 10, 1], [0, 0, 5, 0]]
    levels = unpack(video["strips"])
    assert levels[-1] == 0  # Unknown.
    np.testing.assert_allclose((levels[:-1].astype(float) - 1) / 65534, [0.25, 0.75, 0.9, 0.5, 0.125], atol=1e-5)
    best = unpack(data["classes"][0]["best"]).reshape(-1, 4)
    assert best[:, [0, 2]].tolist() == [[1, 0], [1, 1], [0, 0], [0, 1]]


def test_ranks_in_the_data(tmp_path):
    (tmp_path / "s.csv").write_text(SUBMISSION)
    data = page.page_data(read_outputs(submission=str(tmp_path / "s.csv")))
    video = next(video for video in data["videos"] if video["id"] == YOUTUBE)
    assert unpack(video["strips"]).tolist() == [3, 1]


def test_nothing_of_the_users_ends_a_script_or_is_loaded(tmp_path):
    contents = read_outputs(write_predictions(tmp_path / "s.csv", SEGMENTS), title="<script>alert(1)</script>@@DATA@@")
    contents.names = NAMES
    size = page.write_page(str(tmp_path / "page.html"), contents)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert size == (tmp_path / "page.html").stat().st_size < 6e6
    assert text.count("</script>") == 3 and "<script>alert" not in text
    own = text.replace(page.drawing_library(), "")
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", own)
    assert "default-src 'none'" in own
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text).group(1)
    assert json.loads(data)["classes"][1]["name"] == NAMES[7]


def test_a_thousand_videos_of_a_thousand_classes():
    random = np.random.default_rng(0)
    values = random.random((60, 20), np.float32)
    videos = [Video(f"{v:04d}", random.choice(1000, 20, replace=False), values) for v in range(1000)]
    data = page.page_data(Contents("", "probability", videos, best_segments(videos, 100)))
    assert len(json.dumps(data)) + len(page.drawing_library()) < 12e6


def test_command(tmp_path, capsys):
    segments = write_predictions(tmp_path / "s.csv", SEGMENTS)
    videos = write_predictions(tmp_path / "v.csv", VIDEOS)
    (tmp_path / "ratings.csv").write_text("SjJ3:5,11,1.0\n")
    call(
        command,
        [
            f"--segment_predictions_file={segments}",
            f"--video_predictions_file={videos}",
            f"--label_cache={tmp_path}/ratings.csv",
            f"--output={tmp_path}/out/page.html",
            "--max_videos=2",
        ],
    )
    assert "The first 2 of 3 videos" in capsys.readouterr().out
    assert (tmp_path / "out" / "page.html").exists()


@pytest.mark.parametrize(
    "flags, message",
    [
        ([], "must name what is to be shown"),
        (["--train_dir=x", "--submission_file=y"], "give one of the two"),
        (["--train_dir=x"], "--input_data_pattern must name"),
        (["--video_predictions_file=x"], "do not say when"),
    ],
)
def test_flags_that_do_not_go_together(tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        call(command, [f"--output={tmp_path}/page.html", *flags])
    assert not (tmp_path / "page.html").exists()
