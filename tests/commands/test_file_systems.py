"""Scripts on file systems that only TensorFlow knows, in the home folder, and where nothing can be reached."""

import os

import numpy as np
import pytest
import tensorflow as tf

from tests import command_line
from tests.inference import small_runs
from youtube8m_mod import export, files
from youtube8m_mod.commands import check, convert, eval_map, finetune, inference, train
from youtube8m_mod.data import records
from youtube8m_mod.ensemble import __main__ as ensemble
from youtube8m_mod.errors import UserError
from youtube8m_mod.explore import __main__ as explore
from youtube8m_mod.serving import blessing

TRAINING = ["--rgb_eigenvalues=none", "--max_steps=1"]


@pytest.fixture(params=["file", "ram", "home"])
def root(request, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return {"file": f"file://{tmp_path}", "ram": f"ram:/{tmp_path}", "home": "~"}[request.param] + "/r"


def test_evaluation(root):
    frames = {"rgb": np.zeros((5, 2), np.uint8)}
    rows = [records.frame_level_record(video, [1], frames, [(0, 3, score)]) for video, score in (("a", 1), ("b", 0))]
    records.write_shard(f"{root}/x.tfrecord", rows)
    for name, text in (("s.csv", "Class,Segments\n3,b:0 a:0\n"), ("v.csv", "a,1 0.5\nb,2 0.5\n")):
        with files.write_file(f"{root}/{name}") as file:
            file.write(text)
    for _ in range(2):  # From the records, then from the cache.
        command_line.call(
            eval_map,
            [
                f"--submission_file={root}/s.csv",
                f"--video_predictions_file={root}/v.csv",
                f"--eval_data_pattern={root}/x*.tfrecord",
                f"--label_cache={root}/cache.csv.gz",
                f"--output_file={root}/out/map.json",
                f"--plots={root}/plots",
            ],
        )
        found = files.read_json(f"{root}/out/map.json")
        assert found["map"] == 0.5 and found["videos"]["hit_at_1"] == 0.5
    assert files.list_dir(f"{root}/plots") == ["average_precision.png", "precision_recall.png"]
    assert not os.path.exists("~") and not os.path.exists("ram:")


@pytest.fixture(scope="module")
def localised(tmp_path_factory):
    """(folder with a trained model and records, text of what inference writes of them there)."""
    folder = str(tmp_path_factory.mktemp("localised"))
    small_runs.write_videos(f"{folder}/data")
    small_runs.save_model(f"{folder}/model", True, 1)
    return folder, localise(folder, folder)


def localise(root, target):
    """{name: text} of the outputs in `target` of the model and the records in `root`."""
    names = ("output_file", "video_predictions_file", "segment_predictions_file", "timeline_file")
    command_line.call(
        inference,
        [
            f"--train_dir={root}/model",
            f"--input_data_pattern={root}/data/x*.tfrecord",
            *(f"--{name}={target}/out/{name}.csv" for name in names),
        ],
    )
    assert files.list_dir(f"{target}/out") == sorted(f"{name}.csv" for name in names)
    return {name: files.read_text(f"{target}/out/{name}.csv") for name in names}


def test_localising_and_exporting(localised, root, monkeypatch):
    """All paths of a command are on the other file system; nothing else tells it from a local one."""
    folder, expected = localised
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.relpath(f"{parent}/{name}", folder)
            with open(f"{folder}/{path}", "rb") as source, files.write_file(f"{root}/{path}", "wb") as target:
                target.write(source.read())
    files.remove(f"{root}/out")
    assert localise(root, root) == expected
    # What is in the memory of this process no other one can read.
    monkeypatch.setattr(blessing, "call_in_fresh_process", call_here)
    command_line.call(export, [f"--train_dir={root}/model", f"--output_dir={root}/served/1", "--top_k=3"])
    assert {"saved_model.pb", "variables"} < set(files.list_dir(f"{root}/served/1"))
    assert files.list_dir(f"{root}/served") == ["1"]


def call_here(path, requests):
    signatures = tf.saved_model.load(path).signatures
    answers = []
    for request in requests:
        inputs = {name: tf.constant(value) for name, value in request.inputs.items()}
        answers.append({name: value.numpy() for name, value in signatures[request.signature](**inputs).items()})
    return answers


@pytest.mark.parametrize("scheme", ["s3", "hdfs"])
@pytest.mark.parametrize(
    "module, arguments",
    [
        (train, [*TRAINING, "--train_dir=x", "--train_data_pattern={path}"]),
        (train, [*TRAINING, "--train_dir={path}", "--train_data_pattern=data/x"]),
        (finetune, [*TRAINING, "--train_dir=x", "--train_data_pattern=data/x", "--pretrained_dir={path}"]),
        (inference, ["--train_dir={path}", "--input_data_pattern=data/x", "--output_file=s.csv"]),
        (eval_map, ["--submission_file={path}", "--label_cache=data/labels"]),
        (eval_map, ["--submission_file=data/s.csv", "--label_cache={path}"]),
        (eval_map, ["--submission_file=data/s.csv", "--eval_data_pattern={path}"]),
        (eval_map, ["--submission_file=data/s.csv", "--label_cache=data/labels", "--output_file={path}"]),
    ],
)
def test_what_cannot_be_reached_is_a_sentence(tmp_path, monkeypatch, module, arguments, scheme):
    monkeypatch.chdir(tmp_path)
    names = [("rgb", 1024), ("audio", 128)]
    frames = {name: np.zeros((5, size), np.uint8) for name, size in names}
    records.write_shard("data/x", [records.frame_level_record("a", [1], frames, [(0, 3, 1)])])
    (tmp_path / "data" / "labels").write_text("a:0,3,1.0\n")
    (tmp_path / "data" / "s.csv").write_text("3,a:0\n")
    path = f"{scheme}://bucket/x"
    with pytest.raises(
        UserError, match=f"Cannot .* {scheme}://bucket.*: File system scheme '{scheme}' not implemented"
    ):
        command_line.call(module, [argument.format(path=path) for argument in arguments])


@pytest.mark.parametrize("name", ["submission_file", "video_predictions_file", "label_cache"])
def test_the_results_take_no_input_s_place(tmp_path, name):
    (tmp_path / "x").write_text("3,a:0\n")
    arguments = [f"--{name}={tmp_path}/x", f"--output_file={tmp_path}/y/../x", "--submission_file=s"][
        : 3 - ("sub" in name)
    ]
    with pytest.raises(UserError, match=f"--output_file would take the place of --{name}"):
        command_line.call(eval_map, arguments)


@pytest.mark.parametrize(
    "module, flag, arguments",
    [
        (eval_map, "output_file", ["--submission_file=s", "--eval_data_pattern=*.tfrecord"]),
        (eval_map, "output_file", ["--train_dir=run", "--eval_data_pattern=*.tfrecord"]),
        (check, "output_file", ["--data_pattern=*.tfrecord"]),
        (explore, "output", ["--submission_file=s", "--eval_data_pattern=*.tfrecord"]),
        (ensemble, "report_file", ["--inputs=a,b", "--fit_on=*.tfrecord"]),
    ],
)
def test_records_are_not_overwritten(tmp_path, monkeypatch, module, flag, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.tfrecord").write_bytes(b"records")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UserError, match=f"--{flag} would take the place of a file of --.*, link/x.tfrecord: expected"):
        command_line.call(module, [*arguments, f"--{flag}=link/x.tfrecord"])
    assert (tmp_path / "x.tfrecord").read_bytes() == b"records"


def test_a_vocabulary_is_not_overwritten(tmp_path):
    (tmp_path / "vocabulary.csv").write_text("Index,Name\n0,a\n")
    arguments = [f"--features={tmp_path}/*.npy", f"--vocabulary={tmp_path}/vocabulary.csv", f"--output_dir={tmp_path}"]
    with pytest.raises(UserError, match="--output_dir's vocabulary.csv would take the place of --vocabulary"):
        command_line.call(convert, arguments)


@pytest.mark.parametrize(
    "module, arguments",
    [
        (eval_map, ["--train_dir={}", "--eval_data_pattern=z", "--output_file=file://{}/run.json"]),
        (explore, ["--train_dir=a,{}", "--input_data_pattern=z", "--output={}/../run/best.json"]),
    ],
)
def test_runs_are_not_overwritten(tmp_path, module, arguments):
    folder = tmp_path / "run"
    with pytest.raises(UserError, match="The output .* would take the place of a part of the run in .*/run: expected"):
        command_line.call(module, [text.replace("{}", str(folder)) for text in arguments])


def test_a_folder_is_no_output(tmp_path):
    for module, arguments in ((check, ["--data_pattern=x"]), (explore, ["--submission_file=x"])):
        flag = "output" if module is explore else "output_file"
        with pytest.raises(UserError, match=f"--{flag} {tmp_path} is a folder: the name of a file was expected"):
            command_line.call(module, [*arguments, f"--{flag}={tmp_path}"])


def test_predictions_of_other_videos_are_told(tmp_path, capsys):
    records.write_shard(tmp_path / "x", [records.frame_level_record("a", [1], {"rgb": np.zeros((5, 2), np.uint8)})])
    (tmp_path / "v.csv").write_text("VideoId,LabelConfidencePairs\na:0,1 0.5\n")
    command_line.call(eval_map, [f"--video_predictions_file={tmp_path}/v.csv", f"--eval_data_pattern={tmp_path}/x"])
    assert "v.csv predicts none of the 1 videos of" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["run.json", "checkpoint-00000001/x.csv", "checkpoint-00000001"])
def test_an_output_is_no_part_of_the_model(localised, name):
    folder, _ = localised
    arguments = [f"--train_dir={folder}/model", f"--input_data_pattern={folder}/data/x*.tfrecord"]
    with pytest.raises(UserError, match="would take the place of a part of the run in .*model|is a folder"):
        command_line.call(inference, [*arguments, f"--output_file=file://{folder}/model/{name}"])
