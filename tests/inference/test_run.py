"""Inference with models: golden item 9 end to end, and which model scores what."""

import base64
import csv
import dataclasses
import glob
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests import command_line, golden_data
from youtube8m_mod import tf1_checkpoint
from youtube8m_mod.commands import inference
from youtube8m_mod.errors import UserError
from youtube8m_mod.explore import __main__ as explore
from youtube8m_mod.formats.predictions import read_predictions
from youtube8m_mod.formats.submission import read_submission
from youtube8m_mod.inference.run import Inference
from youtube8m_mod.training import checkpoint_store
from youtube8m_mod.training.run import Run

DATA = golden_data.path("checkpoint/data/*.tfrecord")
INFO = golden_data.item("checkpoint").info
TOLERANCE = 1e-5  # Absolute, on probabilities; what the original supports (golden README).
SCRIPT = os.path.join(os.path.dirname(__file__), "..", "..", "inference.py")


@pytest.fixture(scope="module")
def train_dirs(tmp_path_factory):
    """train_dirs of the original's two checkpoints; the second remembers the first."""
    folder = tmp_path_factory.mktemp("converted")
    dirs = {}
    for case in ("video_pretrain", "segment_finetune"):
        dirs[case] = f"{folder}/{case}"
        command_line.call(
            tf1_checkpoint,
            [
                f"--checkpoint={golden_data.path('checkpoint/' + INFO[case]['checkpoint'])}",
                f"--train_dir={dirs[case]}",
                f"--rgb_eigenvalues={golden_data.path('eigenvals.npy')}",
            ],
        )
    run = Run.load(dirs["segment_finetune"])
    dataclasses.replace(run, started_from=dirs["video_pretrain"], classes=[3, 17, 250]).save(dirs["segment_finetune"])
    return dirs


def test_page_and_timeline_of_models(train_dirs, tmp_path):
    """The page holds the same values of Eq. 1 as the timeline, and leaves nothing else behind."""
    train_dir = train_dirs["segment_finetune"]
    models = [f"--train_dir={train_dir}", f"--input_data_pattern={glob.glob(DATA)[0]}", "--top_k=3862"]
    table = f"{tmp_path}/concepts.csv"
    command_line.call(inference, [*models, f"--timeline_file={table}", "--timeline_threshold=0"])
    command_line.call(explore, [*models, f"--output={tmp_path}/page.html", f"--video_ids={_first_video(table)}"])
    assert sorted(os.listdir(tmp_path)) == ["concepts.csv", "page.html"]
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    data = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    (video,) = data["videos"]
    assert video["id"] == _first_video(table)
    first = video["classes"][:3]  # Others behind them are those of rated segments.
    assert [data["classes"][place]["id"] for place in sorted(first)] == [3, 17, 250]
    levels = np.frombuffer(base64.b64decode(video["strips"]), "<u2").reshape(-1, video["segments"])[:3]
    assert (levels > 0).all()
    with open(table, encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["video"] == video["id"]]
    assert len(rows) == 3  # From 0 on: a span a class, over the whole video.
    means = {int(row["class"]): float(row["probability"]) for row in rows}
    for place, strip in zip(first, levels):
        mean = (strip.astype(float) - 1).mean() / 65534
        assert mean == pytest.approx(means[data["classes"][place]["id"]], abs=2e-5)


def _first_video(table):
    with open(table, encoding="utf-8") as file:
        return next(csv.DictReader(file))["video"]


def predictions(path):
    return {
        line_id: dict(zip(classes.tolist(), values.tolist())) for line_id, classes, values in read_predictions(path)
    }


def lists(path):
    return {int(name): ids.decode().split() for _, name, ids in read_submission(path) if name != b"Class"}


def test_golden_video_predictions(train_dirs, tmp_path):
    Inference(train_dirs["video_pretrain"], DATA, video_predictions_file=f"{tmp_path}/v.csv").run()
    actual = predictions(tmp_path / "v.csv")
    expected = predictions(golden_data.path("checkpoint/video_inference.csv"))
    assert actual.keys() == expected.keys()
    for video_id, pairs in expected.items():
        own = actual[video_id]
        assert len(own) == len(pairs)
        for c in own.keys() ^ pairs.keys():  # Only the last ones can be exchanged for their equals.
            assert own.get(c, pairs.get(c)) == pytest.approx(min(pairs.values()), abs=TOLERANCE)
        assert {c: own[c] for c in own if c in pairs} == pytest.approx(
            {c: pairs[c] for c in pairs if c in own}, abs=TOLERANCE
        )


def test_golden_submission_of_the_originals_inference(train_dirs, tmp_path):
    expected = lists(golden_data.path("checkpoint/segment_inference.csv"))
    (tmp_path / "ids.csv").write_text("\n".join(["Index", *map(str, expected)]) + "\n")
    Inference(
        train_dirs["segment_finetune"],
        DATA,
        f"{tmp_path}/s.csv",
        segment_predictions_file=f"{tmp_path}/l.csv",
        segment_label_ids_file=f"{tmp_path}/ids.csv",
        candidates=False,
        top_k=len(expected),
    ).run()
    actual, scores = lists(tmp_path / "s.csv"), predictions(tmp_path / "l.csv")
    assert actual.keys() == expected.keys()
    for c, segments in expected.items():
        assert sorted(actual[c]) == sorted(segments)
        for ours, theirs in zip(actual[c], segments):
            assert ours == theirs or scores[ours][c] == pytest.approx(scores[theirs][c], abs=TOLERANCE)


def test_the_models_and_classes_that_a_train_dir_remembers(train_dirs, tmp_path):
    Inference(
        train_dirs["segment_finetune"],
        DATA,
        f"{tmp_path}/s.csv",
        video_predictions_file=f"{tmp_path}/v.csv",
        top_k=3862,
        segment_predictions_file=f"{tmp_path}/l.csv",
        fill=False,
    ).run()
    assert list(lists(tmp_path / "s.csv")) == [3, 17, 250]
    original = predictions(golden_data.path("checkpoint/video_inference.csv"))
    videos, segments = predictions(tmp_path / "v.csv"), predictions(tmp_path / "l.csv")
    for video_id, pairs in original.items():  # The video-level model is the one that finetuning started from.
        assert {c: videos[video_id][c] for c in pairs} == pytest.approx(pairs, abs=TOLERANCE)
    for c, listed in lists(tmp_path / "s.csv").items():
        values = [videos[segment.split(":")[0]][c] ** 0.05 * segments[segment][c] ** 0.95 for segment in listed]
        np.testing.assert_allclose(values, sorted(values, reverse=True), atol=TOLERANCE)


def test_a_leaf_and_bfloat16(train_dirs, tmp_path, bfloat16):
    class_ids = "\n".join(map(str, range(20)))
    (tmp_path / "ids.csv").write_text(class_ids)
    results = {}
    for name, options in {"root": {}, "leaf": {"node": "1/0"}, "bfloat16": {"precision": "bfloat16"}}.items():
        Inference(
            train_dirs["segment_finetune"],
            DATA,
            segment_predictions_file=f"{tmp_path}/{name}.csv",
            segment_label_ids_file=f"{tmp_path}/ids.csv",
            candidates=False,
            **options,
        ).run()
        results[name] = predictions(tmp_path / f"{name}.csv")
    root, leaf, rounded = (
        np.array([[results[name][segment][c] for c in range(20)] for segment in results["root"]]) for name in results
    )
    assert np.abs(root - leaf).max() > 1e-3
    assert 0 < np.abs(root - rounded).max() < 0.05


def test_dummy_prediction_needs_no_segment_model(train_dirs, tmp_path):
    Inference(
        train_dirs["video_pretrain"],
        DATA,
        f"{tmp_path}/s.csv",
        video_predictions_file=f"{tmp_path}/v.csv",
        top_k=3862,
        video_exponent=1.0,
        segment_exponent=0.0,
    ).run()
    videos = predictions(tmp_path / "v.csv")
    listed = lists(tmp_path / "s.csv")
    assert len(listed) == 3862  # A pretrained model remembers no classes: all of them.
    for c in (0, 1234):
        values = [videos[segment.split(":")[0]][c] for segment in listed[c]]
        np.testing.assert_allclose(values, sorted(values, reverse=True), atol=TOLERANCE)


def test_a_lost_video_model_is_told(train_dirs, tmp_path):
    moved = tmp_path / "moved"
    os.mkdir(moved)
    run = Run.load(train_dirs["segment_finetune"])
    dataclasses.replace(run, started_from="gone").save(str(moved))
    with pytest.raises(UserError, match="started from gone, .* --video_train_dir"):
        Inference(str(moved), DATA, f"{tmp_path}/s.csv").run()


def test_models_that_do_not_fit_are_told(train_dirs, tmp_path):
    run = Run.load(train_dirs["segment_finetune"])
    other = dataclasses.replace(run, model=dataclasses.replace(run.model, max_frames=100), started_from=None)
    other.save(str(tmp_path / "other"))
    (tmp_path / "other" / "checkpoint-00000001").mkdir()
    with pytest.raises(UserError, match="must have the same max_frames, got 100 and 300"):
        Inference(
            train_dirs["segment_finetune"], DATA, f"{tmp_path}/s.csv", video_train_dir=str(tmp_path / "other")
        ).run()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"segment_exponent": -1.0}, "segment_exponent must be finite and not negative"),
        ({"output_file": None}, "At least one output"),
        ({"train_dir": "nowhere"}, "nowhere is not a train_dir"),
    ],
)
def test_wrong_settings(train_dirs, tmp_path, options, message):
    settings = {"train_dir": train_dirs["segment_finetune"], "output_file": f"{tmp_path}/s.csv"} | options
    with pytest.raises(UserError, match=message):
        Inference(input_data_pattern=DATA, **settings).run()


def test_a_train_dir_is_needed():
    done = subprocess.run([sys.executable, SCRIPT, "--output_file=s.csv"], capture_output=True, text=True)
    assert done.returncode == 1 and "--train_dir must be given" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("node", ["7", "1", "0/0/0"])
def test_a_node_that_scores_nothing_is_refused(train_dirs, tmp_path, node):
    options = {"video_predictions_file": f"{tmp_path}/v.csv", "node": node}
    with pytest.raises(UserError, match=f'node "{node}" names a part of the segment model .*, which scores nothing'):
        Inference(train_dirs["segment_finetune"], DATA, **options).localizer()
    with pytest.raises(UserError, match='"7"|node'):
        Inference(train_dirs["video_pretrain"], DATA, video_predictions_file=f"{tmp_path}/v.csv", node="7").localizer()


def test_where_finetuning_started_is_checked(train_dirs, tmp_path):
    started = train_dirs["video_pretrain"]
    step = checkpoint_store.steps(started)[-1]
    run = Run.load(train_dirs["segment_finetune"])
    good = {"started_step": step, "started_fingerprint": checkpoint_store.fingerprint(started, step)}
    for name, changes, message in (
        ("a", good | {"started_step": step + 1}, f"it was step {step + 1} there, .* now is that of step {step}"),
        ("b", good | {"started_fingerprint": "x"}, f"the last checkpoint now is another one of step {step}"),
        ("c", {"started_from": os.path.relpath(started)}, "--video_train_dir: that path means another place"),
    ):
        dataclasses.replace(run, **changes).save(str(tmp_path / name))
        (tmp_path / name / "checkpoint-00000001").mkdir()
        with pytest.raises(UserError, match=f"started from .*{message}"):
            Inference(str(tmp_path / name), DATA, f"{tmp_path}/s.csv").localizer()
