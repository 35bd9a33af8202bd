"""The study of distillation: arms start alike, validation chooses, test decides."""

import dataclasses
import zlib

import numpy as np
import pytest

from tests.command_line import call
from tests.eagerly import eagerly
from youtube8m_mod import files
from youtube8m_mod.data import records
from youtube8m_mod.errors import UserError
from youtube8m_mod.reproduce.distillation import __main__, comparison
from youtube8m_mod.reproduce.distillation.arms import ARMS, MAIN, SIZES
from youtube8m_mod.reproduce.distillation.training import Trainings, half_of

QUICK = SIZES["quick"]
TINY = dataclasses.replace(QUICK, scale=dataclasses.replace(QUICK.scale, gap_steps=3, gap_batch=8), score_steps=2)


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """Two files of 24 records; those with the classes 60 and 70 only are not among the commonest 50."""
    folder, random = tmp_path_factory.mktemp("bank"), np.random.default_rng(0)
    for number in range(2):
        serialized = [
            records.video_level_record(
                f"{number}v{index:02d}",
                [60, 70] if index % 8 == 0 else [index % 5, 60],
                mean_rgb=random.normal(size=1024).astype(np.float32),
                mean_audio=random.normal(size=128).astype(np.float32),
            )
            for index in range(24)
        ]
        records.write_shard(str(folder / f"train{number}.tfrecord"), serialized)
    return f"{folder}/train*.tfrecord"


@pytest.fixture(scope="module")
def trained(bank):
    """(trainings, {arm: result}) of two arms, the first of them twice."""
    with eagerly():
        trainings = Trainings(TINY, bank)
        found = {name: trainings.run(arm, 3) for name, arm in (("a", "none"), ("b", "binary, 10"), ("again", "none"))}
    return trainings, found


def test_a_training_repeats_whatever_ran_between(trained):
    _, found = trained
    assert found["a"]["curve"] == found["again"]["curve"] != found["b"]["curve"]
    assert [point["step"] for point in found["a"]["curve"]] == [2, 3]
    assert all(
        0 <= point[half][part] <= 1
        for point in found["a"]["curve"]
        for half in ("validation", "test")
        for part in comparison.PARTS
    )


def test_records_without_the_commonest_classes_are_left_out(trained):
    trainings, found = trained
    train, halves = trainings._data(3)
    assert found["a"]["examples"] == len(train["labels"]) == 21
    assert sum(len(half["labels"]) for half in halves.values()) == 21
    assert train["labels"].shape[1] == 50


def test_halves_depend_on_ids_alone():
    found = [half_of(f"video{number}".encode()) for number in range(2000)]
    assert found.count("test") == pytest.approx(1000, abs=100)
    assert half_of(b"SjJ3") == ("validation", "test")[zlib.crc32(b"SjJ3") % 2]


def test_arms_differ_in_their_recipe_only():
    plain = SIZES["full"].phase("none")
    for arm, fields in ARMS.items():
        assert dataclasses.replace(SIZES["full"].phase(arm), **{name: getattr(plain, name) for name in fields}) == plain
    assert SIZES["full"].phase("paper").distillation_weight_at(1) == 400
    assert SIZES["full"].arms == MAIN and SIZES["full"].model().num_classes == 3862


def curve(*points):
    """A curve from (validation, test) GAPs, the same for all parts."""
    return [
        {"step": step, "disagreement": 0.5}
        | {half: dict.fromkeys(comparison.PARTS, value) for half, value in zip(("validation", "test"), point)}
        for step, point in enumerate(points, 1)
    ]


def write(folder, arm, seed, *points):
    entry = {"size": "full", "arm": arm, "seed": seed, "phase": SIZES["full"].described(arm), "curve": curve(*points)}
    entry["seconds"] = {"tracing": 1.0, "training": 2.0, "scoring": 3.0}
    files.write_json(f"{folder}/full-{arm[:2]}-seed{seed}.json", entry)


def test_validation_chooses_the_step_and_the_recipe(tmp_path):
    """The test half would take another step and another recipe."""
    for seed in range(3):
        write(tmp_path, "none", seed, (0.5, 0.3), (0.4, 0.9 + 0.001 * seed))
        write(tmp_path, "binary, 10", seed, (0.4, 0.1), (0.6, 0.32))
    results = comparison.load(str(tmp_path), SIZES["full"])
    assert list(results) == ["none", "binary, 10"]
    assert comparison.by_seed(results["none"], "root", "best") == {0: 0.3, 1: 0.3, 2: 0.3}
    assert comparison.by_seed(results["none"], "leaf", "end") == {0: 0.9, 1: 0.901, 2: 0.902}
    assert comparison.chosen(results) == "binary, 10"
    (row,) = comparison.differences_table(results, "none")
    assert row["mixture, best"] == "+0.0200 ± 0.0000" and row["seeds"] == 3
    assert row["one leaf, end"].startswith("-0.5810 ± 0.0025")
    assert comparison.differences_table(results, "paper") == []
    text = comparison.write(str(tmp_path), SIZES["full"])
    assert "Best on validation: binary, 10." in text
    assert files.read_json(f"{tmp_path}/tables/full.json")["chosen"] == "Best on validation: binary, 10."


def test_an_undecided_difference_says_what_it_would_take(tmp_path):
    for seed, value in enumerate((0.52, 0.49, 0.51)):
        write(tmp_path, "none", seed, (0.5, 0.5))
        write(tmp_path, "paper", seed, (0.5, value))
    (row,) = comparison.differences_table(comparison.load(str(tmp_path), SIZES["full"]), "none")
    assert row["mixture, best"] == "+0.0067 ± 0.0379, undecided (44 seeds)"


def test_results_of_another_recipe_are_refused(tmp_path):
    write(tmp_path, "none", 0, (0.5, 0.5))
    path = f"{tmp_path}/full-no-seed0.json"
    files.write_json(path, files.read_json(path) | {"phase": {"temperature": 3}})
    with pytest.raises(UserError, match="another recipe"):
        comparison.load(str(tmp_path), SIZES["full"])
    with pytest.raises(UserError, match="no finished training"):
        comparison.write(str(tmp_path / "empty"), SIZES["full"])


def test_tables_of_what_is_there_need_no_records(tmp_path, capsys):
    write(tmp_path, "none", 0, (0.5, 0.5))
    call(__main__, ["--report_only", f"--output_dir={tmp_path}"])
    assert "Best on validation: none." in capsys.readouterr().out
    with pytest.raises(UserError, match="--bank must be given"):
        call(__main__, [f"--output_dir={tmp_path}"])
