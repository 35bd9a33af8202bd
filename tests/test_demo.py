"""The commands that the demo prints are commands that the scripts take."""

import re

import pytest

from youtube8m_mod import config, demo, overrides


@pytest.mark.parametrize("phase, fields", [("pretrain", demo.PRETRAIN), ("finetune", demo.FINETUNE)])
def test_printed_flags(phase, fields):
    with open("youtube8m_mod/commands/train.py", encoding="utf-8") as file:
        there = set(re.findall(r"DEFINE_\w+\(\s*\"(\w+)\"", file.read()))
    flags = demo._flags(fields, num_classes=300)
    assert flags.keys() <= there
    given = {name: value for name, value in flags.items() if name != "set"}
    model, own = overrides.split_overrides(flags["set"], config.model_config(demo.MODEL), config.phase_config(phase))
    assert config.model_config(demo.MODEL, model).num_classes == 300
    assert config.phase_config(phase, own) == config.phase_config(
        phase, {name: value for name, value in fields.items() if name not in given}
    )
    assert fields.keys() <= given.keys() | {text.partition("=")[0] for text in own}
