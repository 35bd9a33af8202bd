"""A model folded out of its checkpoint is the one folded in memory, and the model itself is never built."""

import numpy as np
import pytest

from tests.inference.test_folded import TREES, tree_model
from tests.models.trained_models import batch_of
from youtube8m_mod.config import PHASES
from youtube8m_mod.distribution.placement import Placement
from youtube8m_mod.errors import UserError
from youtube8m_mod.inference import folded, folded_nodes
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.training import checkpoint_store, checkpoints
from youtube8m_mod.training.optimizer import FusedAdam
from youtube8m_mod.training.run import Run


def save(train_dir, model, step=1):
    optimizer = FusedAdam(1e-3)
    optimizer.build(model.trainable_variables)
    checkpoints.save(str(train_dir), model, optimizer, checkpoint_store.new_state(step), keep=3)
    Run(model.config, PHASES["finetune" if model.segments else "pretrain"]).save(str(train_dir))


def values(model):
    return [variable.numpy() for variable in model.variables]


@pytest.mark.parametrize("tree", TREES)
def test_same_weights_and_scores(tree, tmp_path, monkeypatch):
    model = tree_model(tree)
    node = "/".join("1" for _ in model.config.branching[:1])
    check_same(model, tmp_path, monkeypatch, {}, {"node": node, "classes": [3, 0]})


@pytest.mark.parametrize("tree", TREES)
def test_same_weights_and_scores_in_bfloat16(tree, tmp_path, monkeypatch, bfloat16):
    check_same(tree_model(tree), tmp_path, monkeypatch, {"precision": "bfloat16", "kernels_right": True})


def check_same(model, tmp_path, monkeypatch, *cases):
    save(tmp_path, model)
    monkeypatch.setattr(MOD, "__init__", None)
    for options in cases:
        expected, actual = folded.fold(model, **options), folded.fold_checkpoint(str(tmp_path), **options)
        for own, other in zip(values(expected), values(actual), strict=True):
            np.testing.assert_array_equal(own, other)
        batch = batch_of(model, [9, 4])
        np.testing.assert_array_equal(expected.logits(**batch), actual.logits(**batch))


@pytest.mark.parametrize("block", (1, 5, 10_000))
def test_blocks_of_rows_do_not_show(block, monkeypatch):
    model = tree_model("two levels")
    expected = values(folded.fold(model))
    monkeypatch.setattr(folded_nodes, "_BLOCK", block)
    for own, other in zip(values(folded.fold(model)), expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-6, atol=1e-7)


def test_segments_as_asked(tmp_path):
    save(tmp_path, tree_model("mixture"))
    assert not folded.fold_checkpoint(str(tmp_path)).segments
    model = folded.fold_checkpoint(str(tmp_path), segments=True)
    assert model.segments and model.frames == 5


def test_subtrees_are_read_to_their_devices(tmp_path):
    save(tmp_path, tree_model("two levels"))
    model = folded.fold_checkpoint(str(tmp_path), placement=Placement(("CPU:0", "CPU:1")))
    for index, subtree in enumerate(model.subtrees):
        assert all(variable.device.endswith(f"CPU:{index}") for variable in subtree.variables)


def test_a_damaged_checkpoint_is_told_and_the_one_before_used(tmp_path, capsys):
    model = tree_model("leaf")
    for step in (1, 2):
        save(tmp_path, model, step)
    data = tmp_path / "checkpoint-00000002" / "variables.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[len(content) // 4 :: 97] = bytes(len(content[len(content) // 4 :: 97]))
    data.write_bytes(content)
    actual = folded.fold_checkpoint(str(tmp_path))
    assert "checkpoint-00000002 is damaged" in capsys.readouterr().err
    for own, other in zip(values(actual), values(folded.fold(model)), strict=True):
        np.testing.assert_array_equal(own, other)


def test_another_model_is_refused(tmp_path):
    model = tree_model("leaf")
    save(tmp_path, model)
    for tree, message in (("mixture", "lacks 1 variables of the model"), ("narrowing leaf", "has the shape")):
        Run(tree_model(tree).config, PHASES["finetune" if model.segments else "pretrain"]).save(str(tmp_path))
        with pytest.raises(UserError, match=f"Cannot restore .*: .*{message}"):
            folded.fold_checkpoint(str(tmp_path))


def test_wrong_options_come_before_the_checkpoint_is_read(tmp_path):
    save(tmp_path, tree_model("two levels"))
    for options, message in (({"node": "2"}, "node must be a path"), ({"classes": [20]}, "classes must be different")):
        with pytest.raises(UserError, match=message):
            folded.fold_checkpoint(str(tmp_path), **options)
    with pytest.raises(UserError, match="holds no checkpoint"):
        Run(tree_model("leaf").config, PHASES["pretrain"]).save(f"{tmp_path}/empty")
        folded.fold_checkpoint(f"{tmp_path}/empty")
