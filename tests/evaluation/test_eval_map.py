"""eval_map.py as a user runs it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests import command_line, golden_data
from youtube8m_mod.commands import eval_map
from youtube8m_mod.data import records

SCRIPT = os.path.join(os.path.dirname(__file__), "..", "..", "eval_map.py")


def run(*arguments, code=0):
    done = subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_scores_a_submission(tmp_path):
    (tmp_path / "s.csv").write_text("1,a:0 b:5\n2,a:0\n")
    (tmp_path / "labels.csv").write_text("a:0,1,1.0\nb:5,1,0.0\nc:0,2,1.0\n")
    (tmp_path / "names.txt").write_text("zero\none\ntwo\n")
    done = run(
        f"--submission_file={tmp_path}/s.csv",
        f"--label_cache={tmp_path}/labels.csv",
        f"--output_file={tmp_path}/out/map.json",
        f"--plots={tmp_path}/plots",
        f"--label_names={tmp_path}/names.txt",
        "--num_classes=3",
    )
    assert "MAP@100000" in done.stdout and "0.5000" in done.stdout and "two" in done.stdout
    assert "has no header line" in done.stderr
    result = json.loads((tmp_path / "out" / "map.json").read_text())
    assert result["map"] == 0.5 and result["counts"]["classes_scored"] == 2
    assert result["classes"][0] == {
        "class": 1,
        "name": "one",
        "average_precision": 1.0,
        "positives": 1,
        "rated": 2,
        "listed": 2,
        "rated_listed": 2,
        "found": 1,
        "missing": False,
    }
    for name in ("average_precision.png", "precision_recall.png"):
        assert (tmp_path / "plots" / name).read_bytes()[:4] == b"\x89PNG"


def test_a_submission_of_other_videos_is_told(tmp_path):
    (tmp_path / "s.csv").write_text("Class,Segments\n1,a:0 b:5\n")
    (tmp_path / "labels.csv").write_text("c:0,1,1.0\n")
    done = run(f"--submission_file={tmp_path}/s.csv", f"--label_cache={tmp_path}/labels.csv")
    assert "lists no segment that was rated: it may be of other videos than the labels" in done.stderr


def test_what_is_wrong_ends_with_code_1_and_a_sentence(tmp_path):
    arguments = [
        f"--submission_file={golden_data.path('map_submission.csv')}",
        f"--label_cache={golden_data.path('map_rated_labels.csv')}",
    ]
    done = run(*arguments, code=1)
    assert "error: " in done.stderr and "stands before already" in done.stderr and "line 2, class" in done.stderr
    lenient = run(*arguments, "--nostrict", f"--output_file={tmp_path}/map.json")
    assert "warning: " in lenient.stderr
    assert json.loads((tmp_path / "map.json").read_text())["problems"]["duplicate id"] > 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "--submission_file or --video_predictions_file"),
        (
            ["--submission_file=missing.csv", f"--label_cache={golden_data.path('map_rated_labels.csv')}"],
            "Cannot read missing.csv",
        ),
        (["--submission_file=missing.csv"], "Neither records nor a label cache"),
        (["--video_predictions_file=missing.csv"], "needs --eval_data_pattern"),
    ],
)
def test_wrong_flags(arguments, message):
    assert message in run(*arguments, code=1).stderr


def test_scores_video_predictions(tmp_path, capsys):
    """In this process: one that needs TensorFlow takes seconds to start."""
    frames = {"rgb": np.zeros((1, 2), np.uint8)}
    records.write_shard(
        str(tmp_path / "x.tfrecord"),
        [records.frame_level_record("a", [1, 2], frames), records.video_level_record("b", [3], mean_rgb=[0.5])],
    )
    (tmp_path / "v.csv").write_text("VideoId,LabelConfidencePairs\na,1 0.9 5 0.8\nb,3 0.7\n")
    flags = {"video_predictions_file": "v.csv", "eval_data_pattern": "*.tfrecord", "output_file": "out.json"}
    assert not command_line.call(eval_map, [f"--{name}={tmp_path}/{value}" for name, value in flags.items()])
    scores = json.loads((tmp_path / "out.json").read_text())["videos"]
    assert scores["gap"] == pytest.approx((1 + 2 / 3) / 3)
    assert scores["hit_at_1"] == 1 and scores["perr"] == pytest.approx(3 / 4)
    assert "gap" in capsys.readouterr().out
