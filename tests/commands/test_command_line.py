"""Every word of a command line counts, in every command."""

import dataclasses
import importlib
import os
import subprocess
import sys
import types

import pytest
from absl import flags

from tests import command_line
from youtube8m_mod import overrides
from youtube8m_mod.config import MODELS, PHASES
from youtube8m_mod.errors import UserError

ROOT = os.path.join(os.path.dirname(__file__), "..", "..")
COMMANDS = (
    "youtube8m_mod.commands.train",
    "youtube8m_mod.commands.finetune",
    "youtube8m_mod.commands.inference",
    "youtube8m_mod.commands.eval_map",
    "youtube8m_mod.commands.check",
    "youtube8m_mod.commands.convert",
    "youtube8m_mod.export",
    "youtube8m_mod.tf1_checkpoint",
    "youtube8m_mod.demo",
    "youtube8m_mod.miniature.__main__",
    "youtube8m_mod.ensemble.__main__",
    "youtube8m_mod.explore.__main__",
    "youtube8m_mod.reproduce.__main__",
)
SCRIPTS = ("train.py", "finetune.py", "inference.py", "eval_map.py")


def define_flags():
    flags.DEFINE_string("pattern", None, "")
    flags.DEFINE_string("part", "", "")
    flags.DEFINE_integer("size", 3, "")
    flags.DEFINE_float("rate", None, "")
    flags.DEFINE_list("names", None, "")
    flags.DEFINE_bool("fill", True, "")
    flags.DEFINE_enum("kind", "one", ["one", "two"], "")
    flags.DEFINE_multi_string("set", [], "")
    flags.DEFINE_alias("old_pattern", "pattern")


NAMES = ("pattern", "part", "size", "rate", "names", "fill", "kind", "set")
COMMAND = types.SimpleNamespace(
    __name__="command",
    define_flags=define_flags,
    main=lambda _: {name: flags.FLAGS[name].value for name in NAMES},
)


def call(*arguments):
    return command_line.call(COMMAND, arguments)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--pattern", "a.x", "b.x"], 'expected flags only, got "b.x": put a value with blanks or \\* in quotes'),
        (["a.x", "--size=4"], 'got "a.x"'),
        (["--pattern=a", "–size=4"], 'got "–size=4"'),  # A dash that a text program made long.
        (["--fill", "False"], 'got "False": --fill is a switch, write --fill=False or --nofill'),
        (["--fill", "true"], "write --fill=true or --fill"),
        (["--set", "a=1", "b=2"], 'got "b=2": each field=value needs a --set of its own, as in --set b=2'),
        (["--", "--size=4"], 'got "--size=4"'),
        (["--size=4", "--size=5"], "--size is given twice, as 4 and as 5"),
        (["--fill", "--nofill"], "--fill is given twice, as True and as False"),
        (["--names=a,b", "--names", "b"], "--names is given twice, as a,b and as b"),
        (["--kind=two", "--kind=one"], "--kind is given twice"),
        (["--rate=1", "--rate=2"], "--rate is given twice"),
        (["--pattern=a", "--old_pattern=b"], "--pattern is given twice, as a and as b"),
        (["--pattern="], "--pattern is empty: give it a value, or leave it out"),
        (["--names="], "--names is empty"),
        (["--set="], "--set is empty"),
        (["--pattern", " "], "--pattern is empty"),
        (["--pattern", "--size=4"], '--pattern has no value: what follows is "--size=4"'),
        (["--pattern", "-nofill"], "--pattern has no value"),
        (["--names", "--part", "x"], "--names has no value"),
        (["--siez=4"], "Unknown command line flag 'siez'"),
        (["--size=many"], "flag --size=many"),
        (["--fill="], "--fill is empty: give it a value"),
        (["--nofill=1"], "--nofill=1 does not take an argument"),
    ],
)
def test_what_is_wrong_is_told(arguments, message):
    with pytest.raises(UserError, match=message):
        call(*arguments)


def test_what_is_right_is_taken(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert call("--size=4", "--size=4", "--fill", "--fill=true", "--part=", "--rate=-1") == {
        "pattern": None,
        "part": "",
        "size": 4,
        "rate": -1.0,
        "names": None,
        "fill": True,
        "kind": "one",
        "set": [],
    }
    found = call("--pattern", "~/a*, ~/b,c~", "--set", "a=1", "--set=b=2", "--old_pattern=~/a*,~/b,c~")
    assert found["pattern"] == "/home/somebody/a*,/home/somebody/b,c~" and found["set"] == ["a=1", "b=2"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_refuses_what_is_left_over(name):
    module = importlib.import_module(name)
    for argument in ("b.tfrecord", "hidden_size=32", "False"):
        with pytest.raises(UserError, match=f'expected flags only, got "{argument}"'):
            command_line.call(module, _required(module) + [argument])


def _required(module):
    """Flags without which absl itself ends a command."""
    before = set(flags.FLAGS)
    module.define_flags()
    names = sorted(set(flags.FLAGS) - before)
    needed = [name for name in names if flags.FLAGS[name].validators]
    for name in names:
        delattr(flags.FLAGS, name)
    return [f"--{name}=1" for name in needed]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_ends_with_a_sentence(script):
    command = [sys.executable, os.path.join(ROOT, script)]
    required = ["--train_data_pattern=x", "--train_dir=y"] if script in SCRIPTS[:2] else []
    for arguments, message in ((["a", "b"], 'expected flags only, got "a"'), (["--nothing=1"], "Unknown command line")):
        done = subprocess.run([*command, *required, *arguments], capture_output=True, text=True)
        assert done.returncode == 1 and not done.stdout
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and message in done.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--set", "batch_size=16", "--batch_size=8"], "batch_size is given twice, as 8 and as 16"),
        (["--set", "clusters=8", "--set", "clusters=16"], "clusters is given twice, as 8 and as 16"),
        (["--feature_names=rgb", "--set", "feature_names=audio"], "feature_names is given twice, as rgb and as audio"),
        (["--temperature=2", "--set=temperature=1"], "temperature is given twice"),
        (["--record_keys=labels=a,labels=b"], "labels is given twice, as a and as b"),
    ],
)
@pytest.mark.parametrize("name", COMMANDS[:2])
def test_flags_and_fields_that_clash(name, arguments, message, tmp_path):
    required = [f"--train_data_pattern={tmp_path}/x", f"--train_dir={tmp_path}/y", "--rgb_eigenvalues=none"]
    with pytest.raises(UserError, match=message):
        command_line.call(importlib.import_module(name), required + arguments)


def test_a_field_may_be_given_twice_alike():
    model = MODELS["nextvlad"]
    assert overrides.override(model, ["clusters=8", "clusters=8", ("clusters", 8)], once=True).clusters == 8
    assert overrides.override(model, ["clusters=16", "clusters=8"]).clusters == 8
    with pytest.raises(UserError, match="feature_sizes is given twice, as 8,4 and as 8,5"):
        overrides.override(model, ["feature_sizes=8,4", "feature_sizes=8x5"], once=True)


@pytest.mark.parametrize("name, own, other", [("train", "pretrain", "finetune"), ("finetune", "finetune", "pretrain")])
def test_a_training_takes_the_phases_of_its_kind(name, own, other, monkeypatch, tmp_path):
    command = importlib.import_module(f"youtube8m_mod.commands.{name}")
    seen = []
    monkeypatch.setattr(command, "train", lambda run, options: seen.append(run.phase))
    paths = [f"--train_data_pattern={tmp_path}/x", f"--train_dir={tmp_path}/run", "--rgb_eigenvalues=none"]
    for phase in (None, f"{own}_plus"):
        command_line.call(command, [*paths, *([f"--phase={phase}"] if phase else []), "--batch_size=7"])
        expected = PHASES[phase or own]
        assert seen.pop() == dataclasses.replace(expected, batch_size=7)
    with pytest.raises(UserError, match="phase"):
        command_line.call(command, [*paths, f"--phase={other}"])


LOCALISING = ("inference", ["--train_dir=t", "--input_data_pattern=x"])
SUBMISSION, VIDEOS = "--output_file=s.csv", "--video_predictions_file=v.csv"


@pytest.mark.parametrize(
    "command, needed, arguments, message",
    [
        (*LOCALISING, [VIDEOS, "--segment_label_ids_file=x"], "--segment_label_ids_file belongs to --output_file or "),
        (*LOCALISING, [VIDEOS, "--nofill"], "--fill belongs to --output_file, which"),
        (*LOCALISING, [VIDEOS, "--segment_max_pred=5"], "--segment_max_pred belongs to --output_file"),
        (
            *LOCALISING,
            [SUBMISSION, "--segment_candidates"],
            "--segment_candidates belongs to --segment_predictions_file",
        ),
        (*LOCALISING, [SUBMISSION, "--label_names=x"], "--label_names belongs to --timeline_file"),
        (*LOCALISING, [SUBMISSION, "--nocandidates", "--video_exponent=1"], "--video_exponent belongs to --candidates"),
        (
            *LOCALISING,
            [SUBMISSION, "--nocandidates", "--video_train_dir=v"],
            "--video_train_dir belongs to --candidates",
        ),
        ("eval_map", [], [VIDEOS, "--label_cache=c"], "--label_cache belongs to --submission_file, which"),
        ("eval_map", [], [VIDEOS, "--top_n=5"], "--top_n belongs to --submission_file"),
        ("eval_map", ["--train_dir=t"], ["--plots=p"], "--plots belongs to --submission_file, which does not go with"),
        ("eval_map", ["--train_dir=t"], ["--nostrict"], "--strict belongs to --submission_file"),
        (
            "train",
            ["--train_data_pattern=x", "--train_dir=t"],
            ["--logical_gpu_megabytes=5"],
            "belongs to --logical_gpus",
        ),
        ("explore", ["--output=p.html", "--submission_file=s"], ["--node=7"], "--node belongs to --train_dir"),
        ("explore", ["--output=p.html", "--submission_file=s"], ["--video_exponent=-1"], "video_exponent must be fin"),
        ("explore", ["--output=p.html", "--submission_file=s"], ["--missing_features=mean"], "belongs to --train_dir"),
        ("export", ["--train_dir=t", "--output_dir=e"], ["--max_map_loss=1"], "belongs to --format=tflite"),
        ("convert", ["--features=f", "--output_dir=o", "--like=d"], ["--normalize"], "--normalize is that of --like"),
    ],
)
def test_a_flag_that_would_do_nothing(tmp_path, monkeypatch, command, needed, arguments, message):
    monkeypatch.chdir(tmp_path)
    name = {"explore": "explore.__main__", "export": "export"}.get(command, f"commands.{command}")
    if command == "train":
        needed = [*needed, "--rgb_eigenvalues=none"]
    with pytest.raises(UserError, match=message):
        command_line.call(importlib.import_module(f"youtube8m_mod.{name}"), [*needed, *arguments])
