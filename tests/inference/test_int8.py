"""Models with 8-bit weights: near float32, kept beside the checkpoint, refused where they are not near."""

import numpy as np
import pytest

from tests.inference.test_fold_checkpoint import save
from tests.inference.test_folded import PRESENT, tree_model
from tests.models.trained_models import batch_of, trained_model
from youtube8m_mod.errors import UserError
from youtube8m_mod.inference import int8
from youtube8m_mod.inference.folded import fold_checkpoint, fold_int8


def arguments(model, present, frames=None):
    batch = batch_of(model, present, frames)
    return batch["features"], batch["num_frames"], batch["present_frames"]


@pytest.mark.parametrize("tree, segments", (("mixture", False), ("leaf", True), ("dbof", False)))
def test_near_float32_and_kept(tree, segments, tmp_path, monkeypatch):
    monkeypatch.setattr(int8, "_ROWS", {True: 3, False: 2})  # More than one part, and one that is filled up.
    model = tree_model(tree, segments)
    save(tmp_path, model)
    sample = arguments(model, PRESENT[segments])
    float_model = fold_checkpoint(str(tmp_path))
    exact = float_model.predict(*sample).numpy()
    quantized = fold_int8(str(tmp_path), sample).predict(*sample).numpy()
    assert 0 < np.abs(quantized - exact).max() < 0.05
    monkeypatch.setattr(int8, "dynamic_range", None)  # Nothing is converted again.
    again = fold_int8(str(tmp_path), sample)
    np.testing.assert_array_equal(again.predict(*sample), quantized)
    shorter = arguments(model, [3, 1], 3)
    difference = np.abs(again.predict(*shorter).numpy() - float_model.predict(*shorter).numpy())
    assert difference.max() < 0.05
    assert again.predict(*(part[:0] for part in sample)).shape == (0, 20)


def test_what_is_kept_is_of_one_checkpoint_and_one_choice(tmp_path):
    model = tree_model("leaf")
    save(tmp_path, model)
    sample = arguments(model, [9, 4])

    def kept():
        return {path.name for path in tmp_path.glob("checkpoint-*/int8-*.tflite")}

    fold_int8(str(tmp_path), sample)
    assert len(first := kept()) == 1
    columns = fold_int8(str(tmp_path), sample, classes=[3, 0])
    assert columns.predict(*sample).shape == (2, 2) and len(kept()) == 2
    save(tmp_path, trained_model(seed=1))
    assert not kept()
    fold_int8(str(tmp_path), sample)
    assert kept() and not kept() & first


def test_the_mean_of_checkpoints(tmp_path):
    for step in (1, 2):
        save(tmp_path, trained_model(seed=step), step)
    sample = arguments(trained_model(seed=1), [9, 4])
    mean, last = (fold_int8(str(tmp_path), sample, checkpoint=name).predict(*sample) for name in ("average:2", "last"))
    exact = fold_checkpoint(str(tmp_path), checkpoint="average:2").predict(*sample).numpy()
    assert np.abs(mean.numpy() - exact).max() < 0.05
    assert np.abs(mean - last).max() > 0.001
    assert len([*tmp_path.glob("checkpoint-00000002/int8-*")]) == 2


def test_a_sample_that_8_bits_change_is_refused(tmp_path, monkeypatch, capsys):
    model = tree_model("mixture")
    for step in (1, 2):
        save(tmp_path, model, step)
    monkeypatch.setattr(int8, "TOLERANCE", 1e-9)
    with pytest.raises(UserError, match="^With 8-bit weights .* leaf 0 differs by .* from float32, expected at most"):
        fold_int8(str(tmp_path), arguments(model, [9]))
    assert not list(tmp_path.glob("checkpoint-*/int8-*")) and "damaged" not in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch, capsys):
    model = tree_model("leaf")
    save(tmp_path, model)

    def refuse(path, mode="w"):
        raise UserError(f"Cannot write {path}.")

    monkeypatch.setattr(int8.files, "write_file", refuse)
    sample = arguments(model, [9, 4])
    assert fold_int8(str(tmp_path), sample).predict(*sample).shape == (2, 20)
    assert "warning: the 8-bit weights are made anew in each run: Cannot write" in capsys.readouterr().err
