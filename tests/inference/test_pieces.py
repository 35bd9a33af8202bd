"""Runs that are interrupted, whose files change, that skip bad records: nothing is dropped, doubled or mixed."""

import dataclasses
import os
import shutil

import numpy as np
import pytest

from tests.inference.test_localizer import (  # noqa: F401  `at_once`, `data` and `expected` are fixtures.
    CLASS_IDS,
    CLASSES,
    CONFIG,
    MODEL,
    FakeModel,
    at_once,
    contents,
    data,
    expected,
    outputs_in,
)
from youtube8m_mod import files
from youtube8m_mod.data import records
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.errors import UserError
from youtube8m_mod.formats.predictions import read_predictions
from youtube8m_mod.inference.localizer import Localizer, Outputs
from youtube8m_mod.lock import FolderLock


def run(pattern, outputs, fail_after=None, skip=False, **options):
    return Localizer(
        Reader(pattern, MODEL, skip_bad_records=skip, max_bad_share=1),
        CLASS_IDS,
        CONFIG,
        outputs,
        FakeModel(range(CLASSES)),
        FakeModel(CLASS_IDS, fail_after),
        {"model": "fake"},
        group_bytes=1,
        **options,
    ).run()


def interrupt(pattern, outputs, after=2, **options):
    with pytest.raises(KeyboardInterrupt):
        run(pattern, outputs, fail_after=after, **options)


def ids(outputs):
    return [line_id for line_id, _, _ in read_predictions(outputs.video_predictions)]


def shard(path, names, frames=10):
    random = np.random.default_rng(len(names))
    features = [{"rgb": random.integers(0, 256, (frames, 3), np.uint8)} for _ in names]
    records.write_shard(
        path, [records.frame_level_record(name, [1], own) for name, own in zip(names, features, strict=True)]
    )


def damage(path, position):
    with open(path, "r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 16]))


def test_another_folder_of_the_same_names_is_another_run(data, tmp_path):  # noqa: F811
    outputs = outputs_in(tmp_path / "out")
    interrupt(data, outputs)
    os.mkdir(tmp_path / "3")
    for name in ("x0", "x1", "x2", "x3"):
        shutil.copy2(tmp_path / f"{name}.tfrecord", tmp_path / "3")
    with pytest.raises(UserError, match=r"another run, which differs in input_files \(there .*/x0.*, here .*/3/x0"):
        run(f"{tmp_path}/3/x*.tfrecord", outputs)
    assert not os.path.exists(outputs.submission)


def test_a_file_that_has_changed_is_read_again(data, expected, tmp_path, capsys):  # noqa: F811
    outputs = outputs_in(tmp_path / "out")
    good = (tmp_path / "x0.tfrecord").read_bytes()
    shard(str(tmp_path / "x0.tfrecord"), ["other"])
    interrupt(data, outputs)
    (tmp_path / "x0.tfrecord").write_bytes(good)
    run(data, outputs)
    assert "x0.tfrecord has changed since it was read: it is read again" in capsys.readouterr().err
    assert contents(outputs) == expected


def test_a_file_that_changes_while_it_is_read(data, tmp_path):  # noqa: F811
    outputs = outputs_in(tmp_path / "out")

    class Changing(FakeModel):
        def __call__(self, *arguments):
            os.utime(tmp_path / "x0.tfrecord", ns=(1, self.calls))
            return super().__call__(*arguments)

    localizer = Localizer(
        Reader(data, MODEL), CLASS_IDS, CONFIG, outputs, Changing(range(CLASSES)), FakeModel(CLASS_IDS), {}
    )
    with pytest.raises(UserError, match="x0.tfrecord has changed while it was read: the same command reads it again"):
        localizer.run()


def test_too_many_bad_records_are_refused_until_they_are_mended(tmp_path):
    pattern, outputs = f"{tmp_path}/x*.tfrecord", outputs_in(tmp_path / "out")
    for number in range(3):
        shard(f"{tmp_path}/x{number}.tfrecord", [f"v{number}{place:02d}" for place in range(30)])
    size = os.path.getsize(tmp_path / "x1.tfrecord") // 30
    damage(f"{tmp_path}/x1.tfrecord", 10 * size + 40)
    with pytest.raises(UserError, match=r"x1.tfrecord, record 10: its checksum is wrong"):
        run(pattern, outputs)
    message = (
        "1 of 71 records were bad and about 19 lost behind them, more than the share 0.01 .*x1.tfrecord, record 10"
    )
    for _ in range(2):
        with pytest.raises(UserError, match=message):
            run(pattern, outputs, skip=True)
        assert not os.path.exists(outputs.submission)
    with pytest.raises(UserError, match=r"x1.tfrecord, record 10: its checksum is wrong"):
        run(pattern, outputs)  # What was skipped is not taken for read where nothing may be skipped.
    with pytest.raises(UserError, match=message):
        run(pattern, outputs, skip=True)
    damage(f"{tmp_path}/x1.tfrecord", 10 * size + 40)
    counts = run(pattern, outputs, skip=True)
    assert counts["videos"] == 30 and len(ids(outputs)) == 90


def test_few_bad_records_are_skipped_and_told_over_interruptions(tmp_path, capsys):
    pattern, outputs = f"{tmp_path}/x*.tfrecord", Outputs(video_predictions=f"{tmp_path}/v.csv")
    for number in range(3):
        shard(f"{tmp_path}/x{number}.tfrecord", [f"v{number}{place:02d}" for place in range(100)], frames=1)
    damage(f"{tmp_path}/x1.tfrecord", os.path.getsize(tmp_path / "x1.tfrecord") * 99 // 100 + 20)
    counts = run(pattern, outputs, skip=True)
    assert counts["records"] == 300 and counts["bad_records"] == 1 and counts["lost_records"] == 0
    assert len(ids(outputs)) == 299 and "Skipped 1 bad of 100 records" in capsys.readouterr().err


@pytest.mark.parametrize(
    "where, kind",
    [
        ("one file", "video_predictions"),
        ("two files", "submission"),
        ("two files", "timeline"),
        ("over an interruption", "segment_predictions"),
    ],
)
def test_an_id_that_occurs_twice_is_named_with_both_places(tmp_path, where, kind):
    outputs, pattern = Outputs(**{kind: f"{tmp_path}/out.csv"}), f"{tmp_path}/x*.tfrecord"
    names = {"one file": (["a", "b", "b", "c"], ["d"])}.get(where, (["a", "b"], ["c", "b"]))
    for number, own in enumerate(names):
        shard(f"{tmp_path}/x{number}.tfrecord", own)
    if where == "over an interruption":
        interrupt(pattern, outputs, after=1)
    last = "x0.tfrecord, record 2" if where == "one file" else "x1.tfrecord, record 1"
    places = f"x0.tfrecord, record 1 and .*{last}"
    for _ in range(2):
        with pytest.raises(UserError, match=f"Video b occurs twice in the input: .*{places}"):
            run(pattern, outputs)
    assert not os.path.exists(f"{tmp_path}/out.csv")


@pytest.mark.parametrize("folder", ["run[1]", "a*b", "c?", "with blank"])
def test_outputs_are_taken_literally(data, expected, tmp_path, folder):  # noqa: F811
    outputs = outputs_in(tmp_path / folder)
    interrupt(data, outputs)
    counts = run(data, outputs)
    assert counts["videos"] == 6 and contents(outputs) == expected
    assert sorted(os.listdir(tmp_path / folder)) == ["concepts.csv", "segments.csv", "submission.csv", "videos.csv"]


@pytest.mark.parametrize("scheme", ["file:/", "ram:/"])
def test_a_remote_file_system(data, expected, tmp_path, scheme):  # noqa: F811
    remote = f"{scheme}{tmp_path}/remote"
    for name in ("x0", "x1", "x2", "x3"):
        with files.write_file(f"{remote}/{name}.tfrecord", "wb") as file:
            file.write((tmp_path / f"{name}.tfrecord").read_bytes())
    outputs = outputs_in(f"{remote}/out[1]")
    interrupt(f"{remote}/x*.tfrecord", outputs)
    assert run(f"{remote}/x*.tfrecord", outputs)["videos"] == 6
    found = []
    for path in dataclasses.astuple(outputs):
        with files.open_file(path, "rb") as file:
            found.append(file.read())
    assert found == expected


def test_two_processes_at_one_output(data, tmp_path, monkeypatch):  # noqa: F811
    outputs = outputs_in(tmp_path / "out")
    monkeypatch.setattr("youtube8m_mod.lock._same", lambda *_: False)
    with FolderLock(outputs.parts_folder):
        with pytest.raises(UserError, match="submission.csv.parts is in use by process"):
            run(data, outputs)


def test_pieces_of_no_run_are_refused(data, tmp_path):  # noqa: F811
    outputs = outputs_in(tmp_path / "out")
    files.write_json(f"{outputs.parts_folder}/settings.json", [1])
    with pytest.raises(UserError, match="settings.json is not what a run writes"):
        run(data, outputs)
