"""docs/your_own_features.md: every command of the page, on its made-up encoder."""

import csv
import json
import os
import re
import shlex

import pytest

from tests import command_line
from youtube8m_mod.commands import check, convert, eval_map, finetune, inference, train
from youtube8m_mod.data.video_ids import unescape_id
from youtube8m_mod.explore import __main__ as explore

PAGE = os.path.join(os.path.dirname(__file__), "..", "..", "docs", "your_own_features.md")
COMMANDS = {
    "-m youtube8m_mod.data.convert": convert,
    "-m youtube8m_mod.data.check": check,
    "train.py": train,
    "finetune.py": finetune,
    "inference.py": inference,
    "eval_map.py": eval_map,
    "-m youtube8m_mod.explore": explore,
}
NAMES = {"goal", "dance", "cooking, outdoors", "engine"}


def blocks():
    with open(PAGE, encoding="utf-8") as file:
        return re.findall(r"^```(\w*)\n(.*?)^```", file.read(), re.M | re.S)


def test_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    done = []
    for language, text in blocks():
        if language == "python":
            exec(compile(text, PAGE, "exec"), {})
            continue
        for line in text.splitlines():
            name, module = next((name, COMMANDS[name]) for name in COMMANDS if line.startswith(f"python {name} "))
            assert not command_line.call(module, shlex.split(line)[1 + len(name.split()) :]), line
            done.append(name)
    assert set(done) == set(COMMANDS) and len(done) == 10
    captured = capsys.readouterr()
    assert "variables of the model restored; made anew: " in captured.err and "classifier/kernel" in captured.err
    assert re.search(r"train +24 +1 +48 +96", captured.out) and "cooking, outdoors" in captured.out
    with open("data/dataset.json", encoding="utf-8") as file:
        dataset = json.load(file)
    assert (dataset["feature_sizes"], dataset["num_classes"]) == ([64], 4)
    with open("map.json", encoding="utf-8") as file:
        assert json.load(file)["map"] > 0.7  # Of a rating's two classes a guess finds one in two.
    with open("new_segments.csv", encoding="utf-8") as file:
        lines = file.read().splitlines()[1:]
    assert len(lines) == 10 * 4  # Ten videos of 20 s.
    with open("new_concepts.csv", encoding="utf-8") as file:
        spans = list(csv.DictReader(file))
    assert spans[0]["video"].startswith("clip%200") and {span["name"] for span in spans} <= NAMES
    with open("new.html", encoding="utf-8") as file:
        page = file.read()
    assert all(f'"name":"{name}"' in page for name in NAMES)
    assert unescape_id(lines[0].partition(":")[0].encode()) == b"clip 00"


@pytest.mark.parametrize("text", [text for language, text in blocks() if not language])
def test_commands_are_whole_lines(text):
    assert all(line.startswith("python ") for line in text.splitlines())
