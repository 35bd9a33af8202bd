"""What a train_dir is taken for at the beginning of a run."""

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.eagerly import eagerly
from tests.training import tiny
from youtube8m_mod import files
from youtube8m_mod.data.records import ReaderSettings, RecordKeys
from youtube8m_mod.errors import UserError
from youtube8m_mod.lock import NAME, FolderLock
from youtube8m_mod.training import checkpoint_store
from youtube8m_mod.training.run import Run
from youtube8m_mod.training.train_dir import belongs_to_run, note_start, prepare
from youtube8m_mod.training.trainer import Trainer, TrainingOptions


@pytest.fixture
def shards(tmp_path):
    paths = []
    for number in range(3):
        paths.append(f"{tmp_path}/data/x{number}.tfrecord")
        with files.write_file(paths[-1]) as file:
            file.write("x" * (10 + number))
    return paths


def begin(folder, paths, **options):
    """run.json of a run that was begun in `folder` and came to a checkpoint."""
    prepare(tiny.run(max_steps=1), str(folder), TrainingOptions(**options), paths).release()
    os.makedirs(folder / "checkpoint-00000001", exist_ok=True)
    return Run.load(folder)


def test_the_files_are_part_of_the_run(tmp_path, shards):
    run = begin(tmp_path / "run", shards)
    assert {path: size for path, (size, _) in run.data_files.items()} == dict(zip(shards, (10, 11, 12)))
    assert begin(tmp_path / "run", shards) == run


def lengthen(path):
    with open(path, "a") as file:
        file.write("x")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda paths: paths[:2], "x2.tfrecord is not among them any more"),
        (lambda paths: [*paths, shutil.copy(paths[0], f"{paths[0]}9")], "x0.tfrecord9 was not among them"),
        (lambda paths: lengthen(paths[1]) or paths, "x1.tfrecord had 11 bytes and has 12"),
        (
            lambda paths: [
                shutil.copytree(os.path.dirname(paths[0]), f"{os.path.dirname(paths[0])}2") + "/x0.tfrecord"
            ],
            "data/x0.tfrecord is not among them any more",
        ),
    ],
    ids=["one less", "one more", "another content", "another folder"],
)
def test_other_files_are_refused_or_accepted(tmp_path, shards, change, message):
    begin(tmp_path / "run", shards)
    others = change(shards)
    with pytest.raises(UserError, match=f"holds a run on other training files: .*{message}; .*--accept_changed_data"):
        begin(tmp_path / "run", others)
    assert not os.path.exists(tmp_path / "run" / NAME)
    begin(tmp_path / "run", others, accept_changed_data=True)
    run = begin(tmp_path / "run", others)  # Now they are the files of the run.
    assert sorted(run.data_files) == sorted(others)


def test_files_of_another_time_are_told(tmp_path, shards, capsys):
    begin(tmp_path / "run", shards)
    os.utime(shards[1], ns=(1, 1))
    begin(tmp_path / "run", shards)
    assert "1 of 3 training files have another time than when the run" in capsys.readouterr().err


def test_another_process_trains_there(tmp_path, shards, monkeypatch):
    monkeypatch.setattr("youtube8m_mod.lock._same", lambda *_: False)
    with FolderLock(tmp_path / "run"):
        with pytest.raises(UserError, match="run is in use by process .*: wait for its end, or name another folder"):
            begin(tmp_path / "run", shards, start_new_model=True)


def test_the_lock_is_held_while_it_trains(tmp_path_factory, tmp_path):
    with eagerly():
        trainer = tiny.trainer(tiny.write_data(tmp_path_factory.mktemp("data")), tmp_path, tiny.run(max_steps=1))
        assert os.path.exists(tmp_path / NAME)
        trainer.train()
    assert not os.path.exists(tmp_path / NAME) and checkpoint_store.steps(tmp_path) == [1]


def write_checkpoint(train_dir, step, value):
    tf.train.Checkpoint(v=tf.Variable(float(value))).write(f"{train_dir}/checkpoint-{step:08d}/variables")


def test_where_a_run_started_means_one_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_checkpoint("p", 7, 1)
    run = tiny.run(phase="finetune", max_steps=1)
    run.started_from = "p"
    prepare(run, "f", TrainingOptions()).release()
    note_start(run, "f", 7)
    stored = Run.load("f")
    assert stored.started_from == f"{tmp_path}/p" and stored.started_step == 7
    assert stored.started_fingerprint == checkpoint_store.fingerprint("p", 7) != ""
    note_start(stored, "f", 7)
    write_checkpoint("f", 1, 1)
    for place in ("p", "./p", f"{tmp_path}/f/../p", "~/p"):
        monkeypatch.setenv("HOME", str(tmp_path))
        again = tiny.run(phase="finetune", max_steps=1)
        again.started_from = place
        prepare(again, "f", TrainingOptions()).release()
        assert (again.started_from, again.started_step) == (f"{tmp_path}/p", 7)
        again.started_from = place
        with pytest.raises(UserError, match="needs a --train_dir of its own"):
            prepare(again, "p", TrainingOptions())
    for other, options, message in (
        ("q", {}, f"--pretrained_dir .there '{tmp_path}/p', now '{tmp_path}/q'"),
        ("p", {"pretrained_checkpoint": "best"}, "--checkpoint .there 'last', now 'best'"),
    ):
        again = tiny.run(phase="finetune", max_steps=1)
        again.started_from = other
        with pytest.raises(UserError, match=f"another configuration, it differs in {message}.; use another"):
            prepare(again, "f", TrainingOptions(**options))


def write_eigenvalues(path, value):
    np.save(path, np.full(8, value, np.float32))
    return str(path)


def test_a_run_goes_on_with_records_read_as_they_were(tmp_path, shards):
    means = {"rgb": [0.5] * 8}
    eigenvalues = write_eigenvalues(tmp_path / "a.npy", 1)
    settings = ReaderSettings(RecordKeys(labels="tags"), "mean", means)
    begin(tmp_path / "run", shards, eigenvalues=eigenvalues, reader=settings)
    moved = write_eigenvalues(tmp_path / "moved.npy", 1)
    again = ReaderSettings(RecordKeys(labels="tags"), "mean", {"rgb": [0.5] * 8})
    begin(tmp_path / "run", shards, eigenvalues=moved, reader=again)
    for other, message in (
        ({"reader": ReaderSettings(RecordKeys(), "mean", means)}, "--record_keys=labels .there 'tags', now None"),
        (
            {"reader": ReaderSettings(RecordKeys(id="name", labels="tags"), "mean", means)},
            "--record_keys=id .there None, now 'name'",
        ),
        ({"reader": ReaderSettings(RecordKeys(labels="tags"), "zeros")}, "--missing_features .there 'mean', now 'zero"),
        ({"reader": ReaderSettings(RecordKeys(labels="tags"), "mean", {"rgb": [0.6] * 8})}, "feature_means of"),
        ({"eigenvalues": None}, "--rgb_eigenvalues .there '.*moved.npy with digest .*', now 'none'"),
        ({"eigenvalues": write_eigenvalues(tmp_path / "b.npy", 2)}, "--rgb_eigenvalues .there '.*', now '.*b.npy with"),
    ):
        with pytest.raises(UserError, match=f"another configuration, it differs in {message}"):
            begin(tmp_path / "run", shards, **{"eigenvalues": eigenvalues, "reader": settings} | other)
    begin(tmp_path / "run", shards, reader=ReaderSettings(), start_new_model=True)
    with pytest.raises(UserError, match="Cannot read .*missing.npy"):
        begin(tmp_path / "run", shards, eigenvalues=f"{tmp_path}/missing.npy")


def test_what_belongs_to_a_run():
    for path in ("r/run.json", "./r/checkpoint-00000007/variables.index", "file:///r/../r/events/x"):
        assert belongs_to_run(path, "r/" if path[0] != "f" else "/r"), path
    for path in ("r/submission.csv", "r2/run.json", "run.json", "r/out/run.json", "r"):
        assert not belongs_to_run(path, "r"), path


def test_a_run_that_left_no_checkpoint_binds_nobody(tmp_path, shards):
    begin(tmp_path / "run", shards[:1], reader=ReaderSettings(RecordKeys(labels="lables")))
    os.rmdir(tmp_path / "run" / "checkpoint-00000001")
    corrected = begin(tmp_path / "run", shards, reader=ReaderSettings(RecordKeys(labels="labels")))
    assert corrected.reading["--record_keys=labels"] == "labels" and sorted(corrected.data_files) == sorted(shards)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.json").write_text("{")
    begin(tmp_path / "other", shards)


def test_a_train_dir_without_what_came_later_is_read(tmp_path):
    tiny.run(max_steps=1).save(tmp_path)
    values = files.read_json(tmp_path / "run.json")
    later = ("started_step", "started_fingerprint", "data_files", "reading", "eigenvalues", "checkpoint", "held_out")
    for name in later:
        del values[name]
    files.write_json(tmp_path / "run.json", values)
    assert Run.load(tmp_path).data_files is None
    os.makedirs(tmp_path / "checkpoint-00000001")
    eigenvalues = write_eigenvalues(tmp_path / "a.npy", 1)
    run = begin(tmp_path, [], eigenvalues=eigenvalues, reader=ReaderSettings(missing_features="zeros"))
    assert run.eigenvalues is None and run.reading is None  # Not known how it began: nothing is claimed.


@pytest.mark.parametrize(
    "name, value",
    [
        ("data_files", {"x": 3}),
        ("data_files", []),
        ("started_step", "7"),
        ("started_fingerprint", 7),
        ("reading", ["x"]),
        ("reading", {"x": 3}),
        ("held_out", {"x": None}),
        ("eigenvalues", ["x"]),
        ("eigenvalues", "xy"),
        ("checkpoint", 7),
    ],
)
def test_wrong_values_are_named(tmp_path, name, value):
    tiny.run(max_steps=1).save(tmp_path)
    files.write_json(tmp_path / "run.json", files.read_json(tmp_path / "run.json") | {name: value})
    with pytest.raises(UserError, match=f"run.json: {name} must "):
        Run.load(tmp_path)


@pytest.mark.parametrize("scheme", ["file:/", "ram:/"])
def test_training_on_a_remote_file_system(tmp_path_factory, tmp_path, scheme):
    data = tiny.write_data(tmp_path_factory.mktemp("data"))
    remote = f"{scheme}{tmp_path}"
    for name in os.listdir(data):
        with open(f"{data}/{name}", "rb") as source, files.write_file(f"{remote}/data/{name}", "wb") as target:
            target.write(source.read())
    with eagerly():
        for steps in (2, 3):
            options = TrainingOptions(log_steps=1, checkpoint_steps=1, keep_checkpoints=2)
            trainer = Trainer(tiny.run(max_steps=steps), f"{remote}/run", f"{remote}/data/train-*.tfrecord", options)
            assert trainer.state["step"] == (0 if steps == 2 else 2)
            trainer.train()
    assert checkpoint_store.steps(f"{remote}/run") == [2, 3]
    assert len(files.read_text(f"{remote}/run/history.jsonl").splitlines()) == 3
    assert NAME not in files.list_dir(f"{remote}/run") and "events" in files.list_dir(f"{remote}/run")
