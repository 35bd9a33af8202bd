"""Named models and phases: parameter counts, overrides, what is refused, run.json."""

import dataclasses
import json
import math

import keras
import pytest

from youtube8m_mod.config import MODELS, PHASES, ModelConfig, PhaseConfig, model_config, phase_config
from youtube8m_mod.errors import UserError
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.overrides import differences, from_dict, override, split_overrides, to_dict
from youtube8m_mod.training.run import Run

# Trainable parameters. The original counts 88,892,835 for the single model: 3,457 are its root net over one tower.
PARAMETERS = {
    "nextvlad": 88_889_378,
    "nextvlad_large": 324_353_826,
    "mix_nextvlad": 265_100_265,
    "mix_nextvlad_large": 1_295_324_044,
    "mod_nextvlad": 1_060_407_976,
    "dbof": 47_985_774,
    "nextvlad_tiny": 434_252,
    "nextvlad_large_tiny": 709_340,
    "mix_nextvlad_tiny": 1_308_519,
    "mix_nextvlad_large_tiny": 2_844_276,
    "mod_nextvlad_tiny": 5_240_992,
    "dbof_tiny": 1_401_900,
}


def shapes_of(config):
    """{path: shape} of the trainable variables; nothing is allocated."""
    with keras.StatelessScope(initialize_variables=False):
        model = MOD(config)
    shapes = {variable.path: tuple(variable.shape) for variable in model.trainable_variables}
    # Else the next scope of Keras in this process would initialise these variables. Garbage can wait.
    keras.utils.clear_session(free_memory=False)
    return shapes


def parameters(config):
    return sum(map(math.prod, shapes_of(config).values()))


def test_every_named_model_is_pinned():
    assert set(PARAMETERS) == set(MODELS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name):
    assert parameters(MODELS[name]) == PARAMETERS[name]


def test_parameters_of_the_original():
    """The counts of the original's graphs: a leaf with r = 16, and the single model with its net over one tower."""
    leaf = dataclasses.replace(MODELS["nextvlad"], gating_reduction=16)
    assert parameters(leaf) == 88_364_834
    root_net_over_one_tower = 2 * leaf.feature_size + leaf.feature_size + 1
    assert PARAMETERS["nextvlad"] + root_net_over_one_tower == 88_892_835
    mixing_net_of_three = 2 * leaf.feature_size + 3 * leaf.feature_size + 3
    assert PARAMETERS["mix_nextvlad"] == 3 * parameters(leaf) + mixing_net_of_three


@pytest.mark.parametrize(
    "name, millions, parts",
    [
        ("nextvlad", 83, ("/hidden/", "/classifier/")),
        ("mix_nextvlad", 250, ("/hidden/", "/classifier/")),
        ("mod_nextvlad", 1000, ("/hidden/", "/classifier/")),
        ("nextvlad_large", 320, ("",)),
        ("mix_nextvlad_large", 1280, ("",)),
    ],
)
def test_parameters_of_the_paper(name, millions, parts):
    """Tables 1 and 2 round, and count hidden layers and classifiers; of the large model everything."""
    counted = sum(
        math.prod(shape) for path, shape in shapes_of(MODELS[name]).items() if any(part in path for part in parts)
    )
    assert counted / 1e6 == pytest.approx(millions, rel=0.015)


def test_numbers_of_the_paper():
    """Sections 3.1, 3.2, 4.2 and the captions of Tables 1 and 2."""
    single, large, mod = (MODELS[name] for name in ("nextvlad", "nextvlad_large", "mod_nextvlad"))
    assert (single.groups, single.clusters, single.expansion, single.hidden_size) == (8, 128, 2, 2048)
    assert (large.groups, large.clusters, large.expansion, large.hidden_size) == (8, 256, 4, 2048)
    assert mod.branching == (4, 3) and mod.num_leaves == 12 and mod.feature_size == 1152
    assert mod.streams == (("rgb", 1024, 8, 128), ("audio", 128, 4, 64))
    pretrain, finetune = PHASES["pretrain"], PHASES["finetune"]
    assert (pretrain.batch_size, pretrain.max_steps, pretrain.temperature, pretrain.distillation_weight_at(1)) == (
        80,
        500_000,
        1,
        1,
    )
    assert (finetune.batch_size, finetune.num_epochs, finetune.dropout, finetune.l2_penalty) == (512, 10, 0.75, 1e-4)
    assert (finetune.temperature, finetune.distillation_weight_at(2)) == (20, 400)
    assert finetune.learning_rate_decay_examples == 1_000_000 and finetune.base_learning_rate == 2e-4


@pytest.mark.parametrize("name", ["pretrain", "finetune"])
def test_the_recipe_beyond_the_paper_changes_the_distillation_only(name):
    plus = PHASES[f"{name}_plus"]
    assert set(differences(PHASES[name], plus)) - {"temperature"} == {"name", "distillation", "distillation_weight"}
    assert (plus.distillation, plus.temperature) == ("binary", 1)
    assert plus.distillation_weight_at(1) == plus.distillation_weight_at(2) == 10


def test_no_distillation_without_temperature():
    assert dataclasses.replace(PHASES["finetune"], temperature=0).distillation_weight_at(1) == 0
    assert dataclasses.replace(PHASES["finetune"], distillation_weight=3.0).distillation_weight_at(1) == 3


def test_overrides():
    config = model_config(
        "mod_nextvlad", ["branching=2x2", "feature_sizes=64,16", "clusters=4", "groups=4", "expansion=0.5"]
    )
    assert (config.branching, config.feature_sizes, config.clusters, config.expansion) == ((2, 2), (64, 16), 4, 0.5)
    assert model_config("mix_nextvlad", ["branching="]).branching == ()
    assert model_config("nextvlad", {"hidden_size": 64}).hidden_size == 64
    phase = phase_config("finetune", ["max_steps=7", "num_epochs=none", "original_accidents=true", "temperature=0"])
    assert (phase.max_steps, phase.num_epochs, phase.original_accidents, phase.temperature) == (7, None, True, 0)
    assert override(phase, []) == phase
    assert differences(PHASES["finetune"], phase)["max_steps"] == (None, 7)


def test_overrides_are_sorted_to_model_and_phase():
    model, phase = split_overrides(["clusters=4", "batch_size=8"], MODELS["nextvlad"], PHASES["pretrain"])
    assert (model, phase) == (["clusters=4"], ["batch_size=8"])
    with pytest.raises(UserError, match='"epochs=3" must be field=value with one of the fields'):
        split_overrides(["epochs=3"], MODELS["nextvlad"], PHASES["pretrain"])


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["clusters=many"], 'clusters must be int, got "many"'),
        (["clusters"], "must be field=value"),
        (["name=other"], "must be field=value"),
        (["clusters=0"], "clusters must be at least 1, got 0"),
        (["groups=7"], 'The feature "rgb" of 1024 values expanded by 2 to 2048 must split into 7 groups'),
        (["groups=1"], 'The feature "audio" .* must split into 0 groups'),
        (["clusters=1"], "got 0 clusters"),
        (["feature_sizes=1024"], "feature_sizes must have one size for each of feature_names"),
        (["feature_names=rgb"], "feature_sizes must have one size for each of feature_names"),
        (["feature_sizes=1024,0"], "feature_sizes must all be at least 1"),
        (["branching=4x0"], "branching must name at least one child"),
        (["branching=4y3"], "branching must be"),
        (["pooling=average"], 'pooling must be "nextvlad" or "dbof", got "average"'),
        (["gating_reduction=4096"], "gating_reduction must be at most hidden_size 2048"),
        ({"clusters": 4.0}, "clusters must be int, got 4.0"),
        ({"branching": [4, 3]}, "branching must be"),
    ],
)
def test_models_that_cannot_be(overrides, message):
    with pytest.raises(UserError, match=message):
        model_config("nextvlad", overrides)


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["batch_size=0"], "batch_size must be at least 1"),
        (["max_steps=0"], "max_steps must be at least 1"),
        (["dropout=1"], r"dropout must be in \[0, 1\), got 1.0"),
        (["dropout=nan"], "dropout must be in"),
        (["batch_norm_momentum=1"], r"batch_norm_momentum must be in \[0, 1\), got 1.0"),
        (["temperature=-1"], "temperature must be finite and not negative"),
        (["temperature=inf"], "temperature must be finite and not negative"),
        (["l2_penalty=nan"], "l2_penalty must be finite"),
        (["base_learning_rate=0"], "base_learning_rate must be finite and above 0"),
        (["distillation_weight=-1"], "distillation_weight must be finite"),
        (["original_accidents=perhaps"], 'original_accidents must be bool, got "perhaps"'),
        ({"segments": 1}, "segments must be bool, got 1"),
    ],
)
def test_phases_that_cannot_be(overrides, message):
    with pytest.raises(UserError, match=message):
        phase_config("pretrain", overrides)


def test_unknown_names():
    with pytest.raises(UserError, match='Unknown model "nextvald": expected one of nextvlad, nextvlad_large'):
        model_config("nextvald")
    with pytest.raises(UserError, match='Unknown phase "train": expected one of pretrain, finetune'):
        phase_config("train")


@pytest.mark.parametrize("config", [*MODELS.values(), *PHASES.values()], ids=lambda config: config.name)
def test_json_round_trip(config):
    assert from_dict(type(config), json.loads(json.dumps(to_dict(config))), "run.json") == config


@pytest.mark.parametrize(
    "change, message",
    [
        ({"clusters": "four"}, "run.json: clusters must be int, got 'four'"),
        ({"layers": 3}, "run.json holds fields that ModelConfig does not have: layers"),
        ({"name": None}, "run.json: name must be str, got None"),
    ],
)
def test_json_that_cannot_be(change, message):
    with pytest.raises(UserError, match=message):
        from_dict(ModelConfig, to_dict(MODELS["nextvlad"]) | change, "run.json")


def test_json_lacks_fields():
    with pytest.raises(UserError, match="run.json lacks the fields batch_size, dropout"):
        from_dict(
            PhaseConfig,
            {key: value for key, value in to_dict(PHASES["pretrain"]).items() if key not in ("dropout", "batch_size")},
            "run.json",
        )
    with pytest.raises(UserError, match="run.json must hold the fields of a ModelConfig, got list"):
        from_dict(ModelConfig, [1], "run.json")


def test_run_round_trip(tmp_path):
    run = Run(
        MODELS["mod_nextvlad"],
        PHASES["finetune"],
        seed=3,
        precision="mixed_bfloat16",
        started_from="runs/pretrain",
        classes=[3, 17],
    )
    run.save(tmp_path)
    assert Run.load(tmp_path) == run
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match="run.json must hold the fields"):
        Run.load(tmp_path)
