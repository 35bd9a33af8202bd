"""What a Keras user gives a `MOD`, its parts and metrics: other forms of input, loss scaling, and clear refusals."""

import importlib
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.optimizers.schedules import LearningRateSchedule

import youtube8m_mod
from tests.training import tiny
from youtube8m_mod import registered
from youtube8m_mod.inference.folded import fold
from youtube8m_mod.metrics import GAP, PERR, HitAt1
from youtube8m_mod.models.batch import without_texts
from youtube8m_mod.models.mixture import Mixture
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.models.nextvlad import DBoFModel, NeXtVLADModel
from youtube8m_mod.training.optimizer import FusedAdam

CONFIG = tiny.run().model
BAG = tiny.run(name="dbof_tiny").model
random = np.random.default_rng(0)
FEATURES = random.integers(0, 256, (6, 12, 8), np.uint8)
LABELS = (random.random((6, 30)) < 0.1).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = MOD(CONFIG)
    model.compile(FusedAdam(1e-3), run_eagerly=True)
    return model


@pytest.mark.parametrize(
    "optimizer", [lambda: keras.optimizers.SGD(1e-2, loss_scale_factor=8), lambda: FusedAdam(1e-3, loss_scale_factor=8)]
)
def test_a_scaled_loss_trains_as_any_other(optimizer):
    weights = []
    for factor in (8, None):
        keras.utils.set_random_seed(0)
        scaled = MOD(CONFIG)
        scaled.compile(optimizer(), run_eagerly=True)
        scaled.optimizer.loss_scale_factor = factor
        scaled.fit(FEATURES, LABELS, shuffle=False, verbose=0)
        weights.append(scaled.get_weights())
    for with_factor, without in zip(*weights, strict=True):
        np.testing.assert_allclose(with_factor, without, rtol=1e-5, atol=1e-7)


def test_float16_is_trained_with_a_scaled_loss():
    model = MOD(CONFIG, dtype="mixed_float16", dropout=0.0)
    model.compile(keras.optimizers.LossScaleOptimizer(FusedAdam(1e-3), initial_scale=4.0), run_eagerly=True)
    before = model.get_weights()
    terms, gradients, _ = model.losses_and_gradients({"features": FEATURES, "labels": LABELS})
    assert np.isfinite(float(sum(terms.values())))
    _, scaled, _ = model.losses_and_gradients({"features": FEATURES, "labels": LABELS}, model.optimizer.scale_loss(1.0))
    norms = [sum(np.linalg.norm(gradient) for gradient in each) for each in (gradients, scaled)]
    assert norms[1] == pytest.approx(4 * norms[0], rel=0.05)
    model.fit(FEATURES, LABELS, verbose=0)
    assert any(np.any(old != new) for old, new in zip(before, model.get_weights()))


def test_lengths_as_columns(model):
    """As a functional model with `keras.Input((1,))` hands them on."""
    rows = {"features": FEATURES, "num_frames": np.arange(6) + 1, "present_frames": np.arange(6) + 2}
    columns = {name: values if name == "features" else values[:, None] for name, values in rows.items()}
    np.testing.assert_array_equal(model(rows), model(columns))


def test_texts_are_left_out(model):
    """As the ids that the reader gives."""
    batch = {"features": FEATURES, "ids": np.array([b"a"] * 6)}
    dataset = tf.data.Dataset.from_tensor_slices((batch, LABELS)).batch(3)
    assert set(model.fit(batch, LABELS, validation_data=(batch, LABELS), verbose=0).history) >= {"loss", "val_gap"}
    assert model.evaluate(dataset, verbose=0, return_dict=True) == model.evaluate(
        FEATURES, LABELS, batch_size=3, verbose=0, return_dict=True
    )
    assert without_texts(dataset).element_spec[0].keys() == {"features"}
    np.testing.assert_array_equal(model.predict(batch, verbose=0), model.predict(FEATURES, verbose=0))


def test_shapes_are_known(model):
    assert model.compute_output_shape((None, 12, 8)) == (None, 30)
    assert model.compute_output_shape({"features": (4, 12, 8), "num_frames": (4,)}) == (4, 30)
    spec = MOD(CONFIG, dtype="mixed_bfloat16").compute_output_spec(keras.KerasTensor((None, 12, 8), "uint8"))
    assert spec.shape == (None, 30) and spec.dtype == "float32"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(y=LABELS[:, :29]), r"Expected labels of shape \(batch, 30\), got shape \(6, 29\)"),
        (dict(y=np.arange(6)), r"Expected labels of shape \(batch, 30\), got shape \(6,\)"),
        (dict(sample_weight=np.ones((6, 7))), r"Expected label_weights of shape \(batch, 30\), got shape \(6, 7\)"),
        (dict(class_weight={0: 2.0}), r"expected sample_weight \(batch, classes\), got class_weight"),
        (dict(x=[FEATURES, FEATURES]), "Expected x to be features, or a dict of them and others, got 2 arrays"),
        (dict(x=FEATURES[..., :7]), "expected axis -1 of input shape to have value 8"),
        (dict(x=FEATURES.astype(np.int32)), "Expected stored features, uint8, or dequantised ones, float; got int32"),
    ],
)
def test_what_does_not_fit_is_refused(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        model.fit(**dict(x=FEATURES, y=LABELS, verbose=0) | arguments)


def test_configurations_and_recipes_are_no_names(model):
    with pytest.raises(
        ValueError, match=r"Expected a ModelConfig, as model_config\(name\) gives it, got 'mod_nextvlad'"
    ):
        MOD("mod_nextvlad")
    with pytest.raises(ValueError, match="Expected frames of at least 1, got -3"):
        MOD(CONFIG, frames=-3)
    with pytest.raises(ValueError, match="Expected a Recipe, as .* is one, got 'finetune'"):
        model.compile("adam", recipe="finetune")


def test_a_folded_model_refuses_what_is_no_features_either(model):
    for features in (FEATURES[..., :7], FEATURES[0], np.repeat(FEATURES, 2, axis=2)):
        with pytest.raises(ValueError, match=r"Expected features of shape \(batch, frames, 8\), got shape"):
            fold(model).logits(features)
    with pytest.raises(ValueError, match="Expected stored features, uint8, or dequantised ones, float; got int32"):
        fold(model).logits(FEATURES.astype(np.int32))


@pytest.mark.parametrize(
    "part",
    [
        lambda: NeXtVLADModel(CONFIG, dropout=0.3, seed=7),
        lambda: DBoFModel(BAG, unbiased_moving_variance=True),
        lambda: Mixture([NeXtVLADModel(CONFIG, name="0"), DBoFModel(BAG, name="1")], momentum=0.9),
    ],
    ids=["leaf", "bag", "mixture"],
)
def test_parts_of_the_tree_are_saved_within_other_models(part, tmp_path):
    inputs = keras.Input((None, 8))
    layer = part()
    model = keras.Model(inputs, layer(inputs).probabilities)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    frames = random.normal(size=(3, 12, 8)).astype(np.float32)
    np.testing.assert_array_equal(model(frames), again(frames))
    assert again.layers[-1].get_config() == layer.get_config()


@pytest.mark.parametrize("metric", [GAP, HitAt1, PERR])
def test_metrics_say_what_they_expect(metric):
    with pytest.raises(ValueError, match=r"one shape \(batch, classes\), got \(6, 30\) and \(6, 29\)"):
        metric().update_state(LABELS, LABELS[:, :29])
    with pytest.raises(ValueError, match=r"one shape \(batch, classes\), got \(6,\) and \(6,\)"):
        metric().update_state(LABELS[:, 0], LABELS[:, 0])
    with pytest.raises(ValueError, match=r"Expected sample_weight of shape .* got \(6, 7\)"):
        metric().update_state(LABELS, LABELS, np.ones((6, 7)))


def test_an_embedding_is_trained_by_fused_adam():
    """Its gradient is `IndexedSlices`."""
    weights = []
    for optimizer in (FusedAdam(1e-2, clip_norm=0), keras.optimizers.Adam(1e-2, epsilon=1e-8)):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.layers.Embedding(9, 4), keras.layers.Flatten(), keras.layers.Dense(1)])
        model.compile(optimizer, "mse", run_eagerly=True)
        model.fit(np.array([[1, 2, 4], [3, 6, 5]]), np.ones((2, 1)), verbose=0)
        weights.append(model.get_weights())
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_evaluation_of_a_model_that_is_compiled_by_xla():
    """GAP is computed in Python: the step of `evaluate` is left to TensorFlow."""
    model = MOD(CONFIG)
    model.compile("sgd", jit_compile=True)
    assert 0 <= model.evaluate(FEATURES, LABELS, verbose=0, return_dict=True)["gap"] <= 1
    assert model.jit_compile


def test_exported_by_keras(model, tmp_path):
    model.export(tmp_path / "model", verbose=False)
    artifact = keras.layers.TFSMLayer(str(tmp_path / "model"), call_endpoint="serve")
    np.testing.assert_allclose(artifact(FEATURES), model(FEATURES), atol=1e-6)


def test_all_classes_of_a_saved_model_are_registered():
    for cls in registered.REGISTERED:
        name = keras.saving.get_registered_name(cls)
        assert name == f"youtube8m_mod>{cls.__name__}" and keras.saving.get_registered_object(name) is cls
    kinds = (keras.Layer, keras.metrics.Metric, keras.optimizers.Optimizer, LearningRateSchedule)
    public = [getattr(youtube8m_mod, name) for name in youtube8m_mod.__all__]
    classes = {value for value in public if isinstance(value, type) and issubclass(value, kinds)}
    assert len(classes) > 10 and classes <= {*registered.REGISTERED}


def test_they_are_registered_where_keras_is_there_first(monkeypatch):
    monkeypatch.delitem(sys.modules, "youtube8m_mod.registered")
    monkeypatch.delattr(youtube8m_mod, "registered")
    importlib.reload(youtube8m_mod)
    assert "youtube8m_mod.registered" in sys.modules
