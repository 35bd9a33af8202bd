"""The commands that the demo prints are commands that the scripts take."""

import pytest

from tests import command_line
from youtube8m_mod import config, demo, overrides
from youtube8m_mod.commands import finetune, train


@pytest.mark.parametrize("phase, fields", [("pretrain", demo.PRETRAIN), ("finetune", demo.FINETUNE)])
def test_printed_flags(phase, fields):
    flags = demo._flags(fields, num_classes=300)
    assert flags.keys() <= command_line.flag_names(train if phase == "pretrain" else finetune)
    given = {name: value for name, value in flags.items() if name != "set"}
    model, own = overrides.split_overrides(flags["set"], config.model_config(demo.MODEL), config.phase_config(phase))
    assert config.model_config(demo.MODEL, model).num_classes == 300
    assert config.phase_config(phase, own) == config.phase_config(
        phase, {name: value for name, value in fields.items() if name not in given}
    )
    assert fields.keys() <= given.keys() | {text.partition("=")[0] for text in own}
