"""The README's Python runs as it stands there, on a small dataset."""

import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training import tiny
from youtube8m_mod import config
from youtube8m_mod.training.run import Run
from youtube8m_mod.training.trainer import Trainer, TrainingOptions

ROOT = pathlib.Path(__file__).parents[1]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
SIZES = {"feature_names": ("rgb",), "feature_sizes": (8,), "num_classes": 30, "groups": 2, "expansion": 1.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the README's paths are: records under `yt8m/3`, a train_dir `runs/finetune`."""
    folder = tmp_path_factory.mktemp("readme")
    data = tiny.write_data(folder / "yt8m/3")
    for number, path in enumerate(sorted(pathlib.Path(data).glob("validate-*"))):
        path.rename(path.with_name(f"validate{3 * number}-{path.name}"))
    phase = config.phase_config("finetune", {"batch_size": 8, "max_steps": 1})
    run = Run(config.model_config("mod_nextvlad_tiny", SIZES), phase)
    tf.config.run_functions_eagerly(True)
    Trainer(run, str(folder / "runs/finetune"), f"{data}/validate0*", TrainingOptions()).train()
    tf.config.run_functions_eagerly(False)
    return folder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block(folder, monkeypatch, number):
    monkeypatch.chdir(folder)
    # The tiny models of the paper's features, in a size for tests.
    sizes = {name: config.override(model, SIZES | {"branching": (2,)}) for name, model in config.MODELS.items()}
    monkeypatch.setattr(config, "MODELS", sizes)
    tf.config.run_functions_eagerly("fit(" in BLOCKS[number])
    try:
        names = {"features": np.zeros((2, 5, 8), np.uint8)}
        exec(BLOCKS[number], names)
    finally:
        tf.config.run_functions_eagerly(False)
    if "scores" in names:
        assert names["scores"].shape == (2, 30)
    else:
        assert isinstance(names["model"], keras.Model)


def test_there_are_blocks():
    assert len(BLOCKS) >= 3
