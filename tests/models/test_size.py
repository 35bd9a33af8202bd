"""The size of a model before it is built."""

import math

import pytest

from youtube8m_mod import config
from youtube8m_mod.errors import UserError
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.models.size import below, check_memory, check_memory_together, num_parameters


@pytest.mark.parametrize(
    "name, overrides",
    [
        ("nextvlad_tiny", ()),
        ("nextvlad_large_tiny", ()),
        ("dbof_tiny", ()),
        ("mix_nextvlad_tiny", ()),
        ("mod_nextvlad_tiny", ("branching=2x1x3", "feature_sizes=48,16,8", "feature_names=rgb,audio,a/b", "groups=2")),
    ],
)
def test_counts_what_is_built(name, overrides):
    model_config = config.model_config(name, [*overrides, "num_classes=9"])
    model = MOD(model_config)
    assert num_parameters(model_config) == sum(math.prod(v.shape) for v in model.trainable_variables)


def test_field_notes_counts():
    assert num_parameters(config.MODELS["mod_nextvlad"]) == 1_060_407_976
    assert num_parameters(config.MODELS["mix_nextvlad"]) == 265_100_265
    assert num_parameters(config.MODELS["nextvlad_large"]) == 324_353_826


@pytest.mark.parametrize(
    "overrides",
    [["clusters=10000000000"], ["branching=1000000x1000"], ["max_frames=1000000000"], [f"num_classes={10**15}"]],
)
def test_what_cannot_fit_is_refused_before_it_is_built(monkeypatch, overrides):
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind: [])
    model_config = config.model_config("mod_nextvlad_tiny", overrides)
    with pytest.raises(UserError, match="needs .* GB .* this machine has"):
        check_memory(model_config, 3, 80, model_config.max_frames)
    check_memory(config.MODELS["mod_nextvlad_tiny"], 3, 80, 60)


def test_models_that_score_together_fit_together(monkeypatch):
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind: [])
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 10 * 10**9 // 4096}.get)
    whole = config.MODELS["mod_nextvlad"]  # 4.2 GB
    check_memory_together([whole, whole])
    with pytest.raises(UserError, match="The 3 models that score together need 12 GB .* this machine has 9 GB"):
        check_memory_together([whole] * 3)
    check_memory_together([whole] * 3, weight_bytes=2)
    check_memory_together([whole, whole, below(whole, "0/2")])


@pytest.mark.parametrize("names", ["rgb,rgb", "a/b,a.b"])
def test_feature_names_differ(names):
    with pytest.raises(UserError, match="feature_names must differ"):
        config.model_config("nextvlad_tiny", [f"feature_names={names}"])


@pytest.mark.parametrize("value", ["nan", "inf", "0", "-1", "1e300"])
def test_expansion_is_a_number_above_zero(value):
    with pytest.raises(UserError, match="expansion must be above 0"):
        config.model_config("nextvlad_tiny", [f"expansion={value}"])


@pytest.mark.parametrize("text", [f"num_classes={10**300}", f"feature_sizes=16,{2**63}", f"branching={10**40}"])
def test_counts_are_numbers_that_tensorflow_has(text):
    with pytest.raises(UserError, match=f"{text.partition('=')[0]} must be at most 9223372036854775807, got"):
        config.model_config("nextvlad_tiny", [text])


def test_features_named_as_mediapipe_names_them():
    names = ("RGB/feature/floats", "AUDIO/feature/floats")
    model = MOD(
        config.model_config(
            "nextvlad_tiny", [f"feature_names={','.join(names)}", "feature_sizes=32,32", "num_classes=5"]
        )
    )
    paths = [variable.path for variable in model.variables]
    assert len(set(paths)) == len(paths)
