import json

import numpy as np
import pytest

from tests import command_line
from tests.data.shard_helpers import record, write
from youtube8m_mod.commands import check
from youtube8m_mod.data import records
from youtube8m_mod.errors import UserError

OPTIONS = ["--feature_sizes=8,4", "--num_classes=10"]


def run(folder, pattern, capsys, *options):
    """(exit code, report, what was printed)"""
    output = folder / "report.json"
    arguments = [f"--data_pattern={folder / pattern}", f"--output_file={output}", *OPTIONS, *options]
    code = command_line.call(check, arguments)
    return code, json.loads(output.read_text()), capsys.readouterr().out


def test_clean_shards(tmp_path, capsys):
    ratings = [(0, 2, 1), (5, 4, 0), (0, 3, 1)]
    write(tmp_path, "a.tfrecord", [record("aa", 7, segments=ratings), record("bb", 3, labels=[])])
    write(tmp_path, "b.tfrecord", [record("cc", 2, labels=[1, 2, 9])])
    code, report, printed = run(tmp_path, "*.tfrecord", capsys)
    assert code == 0
    expected = {
        "kind": "frame-level, quantised",
        "files": 2,
        "records": 3,
        "bad": {},
        "problems": [],
        "frames": {"min": 2, "mean": 4.0, "max": 7},
        "labels_per_video": 5 / 3,
        "videos_without_label": 1,
        "classes": 4,
        "rated_videos": 1,
        "ratings": 3,
        "right_ratings": 2,
        "ratings_past_end": 1,
        "rated_classes": 3,
        "duplicate_ids": 0,
        "duplicates": [],
    }
    assert {key: report[key] for key in expected} == expected
    assert report["bytes"] == sum(path.stat().st_size for path in tmp_path.glob("*.tfrecord"))
    assert "frames: max" in printed


def test_problems_are_listed(tmp_path, capsys):
    path = write(
        tmp_path,
        "a.tfrecord",
        [record("aa"), b"garbage", record("bb", labels=[10]), record("cc"), record("dd", segments=[(296, 1, 1)])],
    )
    other = write(tmp_path, "b.tfrecord", [record("ee"), record("cc"), record("aa")])
    damaged = write(tmp_path, "c.tfrecord", [record("ff"), record("gg")])
    (tmp_path / "c.tfrecord").write_bytes((tmp_path / "c.tfrecord").read_bytes()[:-5])
    code, report, printed = run(tmp_path, "*.tfrecord", capsys)
    assert code == 1
    assert report["bad"] == {"malformed": 1, "label out of range": 1, "segment start": 1, "truncated": 1}
    assert [problem.split(": ")[0] for problem in report["problems"]] == [
        f"{path}, record 1",
        f'{path}, record 2 (id "bb")',
        f'{path}, record 4 (id "dd")',
        f"{damaged}, record 1",
    ]
    assert sorted(report["duplicates"]) == [
        f"{other}, record 1 has the id of {path}, record 3.",
        f"{other}, record 2 has the id of {path}, record 0.",
    ]
    assert report["records"] == 10
    assert all(sentence in printed for sentence in report["problems"] + report["duplicates"])


def test_video_level_records(tmp_path, capsys):
    write(
        tmp_path,
        "a.tfrecord",
        [
            records.video_level_record("aa", [1], mean_rgb=np.ones(8), mean_audio=np.ones(4)),
            records.video_level_record("bb", [1], mean_rgb=np.ones(7), mean_audio=np.ones(4)),
        ],
    )
    code, report, _ = run(tmp_path, "a.tfrecord", capsys)
    assert code == 1
    assert report["kind"] == "video-level" and report["bad"] == {"feature size": 1}
    assert "ratings" not in report


@pytest.mark.parametrize("only_bad", [[b"garbage"], [record("aa", labels=[99])]])
def test_nothing_good(tmp_path, capsys, only_bad):
    write(tmp_path, "a.tfrecord", only_bad)
    if only_bad == [b"garbage"]:
        with pytest.raises(UserError, match="a.tfrecord, record 0: it is neither an Example nor a SequenceExample"):
            run(tmp_path, "a.tfrecord", capsys)
    else:
        code, report, _ = run(tmp_path, "a.tfrecord", capsys)
        assert code == 1 and report["records"] == 1 and "frames" not in report
