"""The commands that the demo prints are commands that the scripts take."""

import pytest

from tests import command_line
from youtube8m_mod import config, demo, overrides
from youtube8m_mod.commands import finetune, inference, train
from youtube8m_mod.explore import __main__ as explore
from youtube8m_mod.miniature import __main__ as miniature


@pytest.mark.parametrize("phase, fields", [("pretrain", demo.PRETRAIN), ("finetune", demo.FINETUNE)])
def test_printed_flags(phase, fields):
    flags = demo._flags(fields, num_classes=300, max_frames=demo.MAX_FRAMES)
    assert flags.keys() <= command_line.flag_names(train if phase == "pretrain" else finetune)
    given = {name: value for name, value in flags.items() if name != "set"}
    model, own = overrides.split_overrides(flags["set"], config.model_config(demo.MODEL), config.phase_config(phase))
    made = config.model_config(demo.MODEL, model)
    assert (made.num_classes, made.max_frames) == (300, demo.MAX_FRAMES)
    assert config.phase_config(phase, own) == config.phase_config(
        phase, {name: value for name, value in fields.items() if name not in given}
    )
    assert fields.keys() <= given.keys() | {text.partition("=")[0] for text in own}


def test_printed_flags_of_what_is_looked_at(monkeypatch, tmp_path):
    made = demo.Demo(str(tmp_path), None, 0)
    assert made._data_flags().keys() <= command_line.flag_names(miniature)
    assert made.localised.keys() <= command_line.flag_names(inference)
    printed = []
    monkeypatch.setattr(made, "_say", lambda command, **given: printed.append((command, given)))
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "segments.csv").write_text("v:0,1 0.5\n")
    (tmp_path / "scores" / "videos.csv").write_text("v,1 0.5\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "truth.json").write_text('{"videos": {}}')
    assert made.explore() == f"{tmp_path}/videos.html" and (tmp_path / "videos.html").exists()
    (command, given) = printed[0]
    assert command == "python -m youtube8m_mod.explore" and given.keys() <= command_line.flag_names(explore)
