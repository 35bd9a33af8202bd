"""Conversion of TensorFlow 1 checkpoints of all forms, and of those that cannot be converted."""

import dataclasses
import functools

import numpy as np
import pytest

from tests import command_line
from tests.tf1 import tf1_writer
from youtube8m_mod import tf1_checkpoint
from youtube8m_mod.config import MODELS, ModelConfig
from youtube8m_mod.errors import UserError
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.tf1 import conversion, variable_names
from youtube8m_mod.training import checkpoints
from youtube8m_mod.training.optimizer import FusedAdam
from youtube8m_mod.training.run import Run

SMALL = ModelConfig(
    "tf1", feature_sizes=(12, 6), num_classes=9, groups=4, clusters=6, expansion=2, hidden_size=8, gating_reduction=4
)
# What is in the checkpoint -> (configuration read from it, whether the towers are leaves, towers).
FORMS = {
    "single": (SMALL, False, 1),
    "single on several GPUs": (dataclasses.replace(SMALL, branching=(3,)), True, 3),
    "one tower": (dataclasses.replace(SMALL, branching=(3,)), False, 1),
    "one tower of one branch": (dataclasses.replace(SMALL, branching=(1,)), False, 1),
    "towers": (dataclasses.replace(SMALL, branching=(2, 3)), False, 2),
    "towers of one branch": (dataclasses.replace(SMALL, branching=(3, 1)), False, 3),
    "rgb alone": (dataclasses.replace(SMALL, feature_names=("rgb",), feature_sizes=(12,)), False, 1),
    "other sizes": (
        ModelConfig(
            "tf1",
            feature_sizes=(10, 4),
            num_classes=5,
            groups=6,
            clusters=5,
            expansion=3,
            hidden_size=10,
            gating_reduction=5,
            branching=(2,),
        ),
        False,
        1,
    ),
    "an expansion that is no whole number": (
        dataclasses.replace(SMALL, feature_sizes=(16, 8), expansion=0.5),
        False,
        1,
    ),
}


@functools.cache
def values_of(form):
    """{TF1 name: array} of a form: not to be changed."""
    config, leaf_towers, towers = FORMS[form]
    weights = tf1_writer.weights_of(config, leaf_towers)
    return weights | (tf1_writer.root_net(config.feature_size) if towers == 1 else {})


def convert(tmp_path, values, **options):
    prefix = tf1_writer.write(str(tmp_path / "tf1"), values)
    return conversion.convert(prefix, str(tmp_path / "run"), **options)


@pytest.mark.parametrize("form", FORMS)
def test_every_form(form, tmp_path):
    config, leaf_towers, towers = FORMS[form]
    values = tf1_writer.with_optimizer(values_of(form))
    table = {row["quantity"]: row["value"] for row in convert(tmp_path, values)}
    run = Run.load(tmp_path / "run")
    assert run.model == config
    assert table["towers"] == towers
    assert ("left out" in table) == (towers == 1)

    model = MOD.for_phase(config, run.phase)
    optimizer = FusedAdam(1.0)
    optimizer.build(model.trainable_variables)
    state = checkpoints.restore_latest(tmp_path / "run", model, optimizer)
    names = variable_names.tree_variables(model, leaf_towers)
    for name, variable in names.items():
        np.testing.assert_array_equal(variable, values[name], err_msg=name)
    by_id = {id(variable): name for name, variable in names.items()}
    for variable, m, v in zip(model.trainable_variables, optimizer.first_moments, optimizer.second_moments):
        np.testing.assert_array_equal(m, values[f"{by_id[id(variable)]}/Adam"])
        np.testing.assert_array_equal(v, values[f"{by_id[id(variable)]}/Adam_1"])
    assert float(optimizer.beta_2_power) == values["beta2_power"]
    assert state["step"] == int(optimizer.iterations) == 7


def test_named_model_is_recognised():
    shapes = {name: value.shape for name, value in tf1_writer.weights_of(MODELS["mix_nextvlad_tiny"]).items()}
    config, towers = conversion.read_config(shapes, "model.ckpt")
    assert (config.name, towers) == ("tf1", 1)  # Its 60 frames are not in the variables, so it is not that one.
    assert dataclasses.replace(config, name="mix_nextvlad_tiny", max_frames=60) == MODELS["mix_nextvlad_tiny"]
    for name, config in MODELS.items():
        if config.max_frames == 300 and config.pooling == "nextvlad":
            assert conversion.read_config(original_shapes(config), "model.ckpt")[0].name == name


def original_shapes(config):
    """Shapes of a NeXtVLAD checkpoint, from the formulas of section 3.2: no weight is made."""
    H, C = config.hidden_size, config.num_classes
    leaf, suffix = {}, "vlad" if config.branching else "VLAD"
    pooled = 0
    for stream, (_, size, groups, clusters) in zip(("video", "audio"), config.streams):
        width = config.expansion * size
        leaf |= {
            f"{stream}_{suffix}/{name}": shape
            for name, shape in {
                "fully_connected/weights": (size, width),
                "fully_connected/biases": (width,),
                "fully_connected_1/weights": (width, groups),
                "fully_connected_1/biases": (groups,),
                "cluster_weights": (width, groups * clusters),
                "cluster_weights2": (1, width // groups, clusters),
            }.items()
        }
        pooled += width // groups * clusters
    leaf |= {
        "hidden1_weights": (pooled, H),
        "gating_weights_1": (H, H // config.gating_reduction),
        "gating_weights_2": (H // config.gating_reduction, H),
        "fully_connected/weights": (H, C),
        "fully_connected/biases": (C,),
    }
    if not config.branching:
        return {f"tower_0/{name}": shape for name, shape in leaf.items()}
    towers, branches = config.branching if len(config.branching) == 2 else (1, *config.branching)
    return {
        f"tower_{t}/branch_{b}/{name}": shape
        for t in range(towers)
        for b in range(branches)
        for name, shape in leaf.items()
    }


@pytest.mark.parametrize("earlier_steps, phase", [(0, "pretrain"), (50, "finetune"), (200_000, "finetune")])
def test_phase_is_told_from_the_powers_of_beta(earlier_steps, phase, tmp_path):
    convert(tmp_path, tf1_writer.with_optimizer(values_of("single"), earlier_steps=earlier_steps))
    assert Run.load(tmp_path / "run").phase.name == phase


def test_long_pretraining_is_not_taken_for_finetuning(tmp_path):
    convert(tmp_path, tf1_writer.with_optimizer(values_of("single"), step=583_000))
    assert Run.load(tmp_path / "run").phase.name == "pretrain"


def test_phase_and_fields_can_be_given(tmp_path):
    convert(
        tmp_path,
        tf1_writer.with_optimizer(values_of("single")),
        phase="finetune",
        changes=["max_frames=30", "batch_size=4", "feature_names=colour,sound"],
    )
    run = Run.load(tmp_path / "run")
    assert (run.phase.name, run.phase.batch_size, run.model.max_frames) == ("finetune", 4, 30)
    assert run.model.feature_names == ("colour", "sound")


def test_weights_without_optimizer(tmp_path, capsys):
    prefix = tf1_writer.write(str(tmp_path / "tf1"), values_of("single") | {"global_step": np.int64(7)})
    command_line.call(tf1_checkpoint, [f"--checkpoint={prefix}.index", f"--train_dir={tmp_path / 'run'}"])
    output = capsys.readouterr()
    assert "they start at 0" in output.out and "--rgb_eigenvalues" in output.err
    model, run = checkpoints.load_model(str(tmp_path / "run"))
    assert run.phase.name == "pretrain"
    np.testing.assert_array_equal(model.scaling.scale, np.ones(SMALL.feature_size))


@pytest.mark.parametrize(
    "change, told",
    [
        (dict(removed="tower_0/branch_1/hidden1_bn/gamma"), "it lacks tower_0/branch_1/hidden1_bn/gamma"),
        (
            dict(removed="tower_0/branch_0/audio_vlad/vlad_bn/beta/Adam_1"),
            "it lacks tower_0/branch_0/audio_vlad/vlad_bn/beta/Adam_1",
        ),
        (
            dict(added={"tower_0/branch_0/se_weights": np.zeros(3, np.float32)}),
            "no model of the original has its tower_0/branch_0/se_weights",
        ),
        (
            dict(added={"tower_0/branch_1/hidden1_weights": np.zeros((3, 8), np.float32)}),
            r"of another shape are tower_0/branch_1/hidden1_weights \[3, 8\] in place of \[",
        ),
        (dict(removed="tower_0/branch_0/gating_weights_1"), "a variable tower_0/branch_0/gating_weights_1 with 2 dim"),
        (dict(removed="beta2_power"), "lacks the variable beta2_power"),
        (dict(removed="global_step"), "lacks the variable global_step"),
        (
            dict(added={"tower_0/branch_0/video_vlad/fully_connected_1/weights": np.zeros((24, 5), np.float32)}),
            "holds a model that cannot be",
        ),
        (dict(added={"tower_0/branch_0/fully_connected/biases": np.full(9, np.nan, np.float32)}), "not finite"),
    ],
)
def test_what_does_not_match_is_listed(change, told, tmp_path):
    values = tf1_writer.with_optimizer(values_of("one tower")) | change.get("added", {})
    values.pop(change.get("removed"), None)
    with pytest.raises(UserError, match=told):
        convert(tmp_path, values)
    assert not (tmp_path / "run").exists()


def test_long_lists_of_names_are_cut(tmp_path):
    values = {
        name: value
        for name, value in tf1_writer.with_optimizer(values_of("one tower")).items()
        if "branch_2" not in name or "cluster" in name
    }
    with pytest.raises(UserError, match=r"it lacks tower_0/branch_2/.* and \d+ more"):
        convert(tmp_path, values)


def test_other_models_are_refused(tmp_path):
    with pytest.raises(UserError, match="not a NeXtVLAD checkpoint of the original"):
        convert(tmp_path, {"tower/cluster_weights": np.zeros((4, 4), np.float32), "global_step": np.int64(1)})


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(UserError, match="nothing.ckpt must be the prefix"):
        conversion.convert(str(tmp_path / "nothing.ckpt"), str(tmp_path / "run"))
    prefix = tf1_writer.write(str(tmp_path / "tf1"), tf1_writer.with_optimizer(values_of("single")))
    data = tmp_path / "tf1" / "model.ckpt-7.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(UserError, match="model.ckpt-7: the variable .* cannot be read"):
        conversion.convert(prefix, str(tmp_path / "run"))
    (tmp_path / "tf1" / "model.ckpt-7.index").write_bytes(b"no table")
    with pytest.raises(UserError, match="model.ckpt-7 must be the prefix"):
        conversion.convert(prefix, str(tmp_path / "run"))


def test_a_run_is_not_written_over(tmp_path):
    values = tf1_writer.with_optimizer(values_of("single"))
    convert(tmp_path, values)
    with pytest.raises(UserError, match="holds a run already"):
        convert(tmp_path, values)
