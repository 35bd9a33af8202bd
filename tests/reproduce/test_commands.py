import importlib
import shlex

import pytest

from tests import command_line
from youtube8m_mod import config
from youtube8m_mod.errors import UserError
from youtube8m_mod.reproduce import __main__, commands
from youtube8m_mod.reproduce.rows import ROWS, TABLE_TRAININGS, TRAININGS


def parsed(text):
    """[(script, {flag: value})] of shell text."""
    joined = [line for line in text.replace("\\\n", " ").splitlines() if line.startswith("python ")]
    found = []
    for line in joined:
        _, script, *flags = shlex.split(line)
        found.append((script, dict(flag.removeprefix("--").split("=", 1) for flag in flags)))
    return found


def flags_of(script):
    """Names of the flags that a script defines."""
    return command_line.flag_names(importlib.import_module(f"youtube8m_mod.commands.{script.removesuffix('.py')}"))


def test_every_command_uses_flags_that_the_scripts_have():
    found = parsed(commands.full_scale())
    assert {script for script, _ in found} == {"train.py", "finetune.py", "inference.py"}
    for script, flags in found:
        assert flags.keys() <= flags_of(script), (script, flags)


def test_each_training_is_printed_once_and_before_its_use():
    there = set()
    for script, flags in parsed(commands.full_scale()):
        for name in ("pretrained_dir", "video_train_dir"):
            assert flags.get(name) is None or flags[name] in there
        if script == "inference.py":
            assert flags["train_dir"] in there
        else:
            assert flags["train_dir"] not in there
            there.add(flags["train_dir"])
    trained = {TRAININGS[row.training].name for row in ROWS.values() if row.part != "average"}
    assert {f"runs/{name}" for name in trained} <= there == {f"runs/{name}" for name in TABLE_TRAININGS}


def test_rows_of_the_paper_have_their_settings():
    by_dir = {
        flags["train_dir"]: (script, flags)
        for script, flags in parsed(commands.full_scale())
        if script != "inference.py"
    }
    script, flags = by_dir["runs/finetune_mod_nextvlad_T20"]
    assert script == "finetune.py" and flags["temperature"] == "20"
    assert flags["pretrained_dir"] == "runs/pretrain_mod_nextvlad"
    script, flags = by_dir["runs/pretrain_mod_nextvlad"]
    assert script == "train.py" and flags["model"] == "mod_nextvlad" and flags["temperature"] == "1"
    script, flags = by_dir["runs/pretrain_mix_nextvlad_T0"]
    assert flags["temperature"] == "0"
    script, flags = by_dir["runs/pretrain_deep_mod_nextvlad"]
    assert config.model_config(flags["model"], [flags["set"]]).branching == (2, 2, 3)
    assert "pretrained_dir" not in by_dir["runs/scratch_dbof"][1]


def test_a_leaf_is_scored_by_its_path_and_with_a_single_model_at_video_level():
    found = parsed(commands.full_scale(["mod_leaf", "mix_T20_leaf"]))
    inference = {flags["output_file"]: flags for script, flags in found if script == "inference.py"}
    assert inference["runs/mod_leaf.csv"]["node"] == "0/0"
    assert inference["runs/mix_T20_leaf.csv"]["node"] == "0"
    assert inference["runs/mod_leaf.csv"]["video_train_dir"] == "runs/pretrain_nextvlad"


def test_dry_runs_print_and_train_nothing(capsys, tmp_path):
    command_line.call(__main__, ["--scale=full", "--dry_run", "--rows=dummy"])
    out = capsys.readouterr().out
    assert "0.64809" in out and "finetune.py" not in out
    command_line.call(__main__, ["--dry_run", "--seeds=3,4", "--rows=nextvlad", f"--output_dir={tmp_path}"])
    assert capsys.readouterr().out.splitlines() == [
        "pretrain_nextvlad, seed 3",
        "finetune_nextvlad, seed 3",
        "pretrain_nextvlad, seed 4",
        "finetune_nextvlad, seed 4",
    ]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--scale=full"], "--dry_run prints its commands"),
        (["--dry_run", "--rows=dumy"], '--rows must be among .* got "dumy"'),
        (["--dry_run", "--seeds=a"], "--seeds must be integers"),
        (["--dry_run", "--seeds=1,1"], "--seeds must be different integers of at least 0, got 1,1"),
        (["--dry_run", "--seeds=-1"], "--seeds must be different integers of at least 0, got -1"),
        (["--dry_run", "--bank_test=x"], "--bank_test belongs to --bank"),
        (["--dry_run", "--scale=full", "--seeds=0"], "--seeds belongs to --scale=miniature"),
    ],
)
def test_bad_arguments(argv, message):
    with pytest.raises(UserError, match=message):
        command_line.call(__main__, argv)


def test_names_are_those_of_the_commonest_classes_and_are_read_before_anything_is_trained(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(f"class {label}" for label in range(3862)))
    assert __main__.read_names(str(path), 500) == {label: f"class {label}" for label in range(500)}
    path.write_text("Index,Name\n3,three\n600,far\n")
    assert __main__.read_names(str(path), 500) == {3: "three"}
    path.write_text("one\ntwo\n")
    with pytest.raises(UserError, match="names.txt must name the first 500 classes .* got names up to class 1"):
        command_line.call(__main__, [f"--label_names={path}", f"--output_dir={tmp_path}/out"])
    assert not (tmp_path / "out").exists()


def test_the_printed_commands_are_those_of_the_docs():
    with open("docs/full_scale.sh", encoding="utf-8") as file:
        assert file.read() == commands.full_scale() + "\n", (
            "docs/full_scale.sh is what `python -m youtube8m_mod.reproduce --scale=full --dry_run` prints"
        )
