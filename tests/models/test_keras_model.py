"""A `MOD` is a Keras model like any other: fit, evaluate, predict, save, load, callbacks."""

import csv
import gc

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.distribution.placed_models import FOUR
from tests.training import tiny
from youtube8m_mod.config import PHASES, Recipe
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.distribution.placement import DataParallelPlacement, Placement
from youtube8m_mod.evaluation.video_metrics import video_scores
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.training.optimizer import FusedAdam, StaircaseDecay, optimizer_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:Your input ran out of data"),
    pytest.mark.filterwarnings("ignore:.*shuffle=True"),
    pytest.mark.filterwarnings("ignore:Even though"),
]
CONFIG = tiny.run(name="mix_nextvlad_tiny", model=("branching=2",)).model
LOSSES = {"loss", "bce_level_0", "bce_level_1", "kl_level_1", "l2"}
SCORES = {"gap", "hit_at_1", "perr"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def dataset(data):
    """Batches as the reader gives them, ids among them; the last of 4 and 2 videos is smaller. They are read once."""
    return Reader(f"{data}/validate-*.tfrecord", CONFIG).read(4).dataset.cache()


@pytest.fixture
def arrays():
    """(features, multi-hot labels, rated classes) of 10 videos."""
    random = np.random.default_rng(0)
    features = random.integers(0, 256, (10, 12, 8), np.uint8)
    return features, *((random.random((10, 30)) < share).astype(np.float32) for share in (0.1, 0.5))


def compiled(optimizer=None, placement=None, **options):
    keras.utils.set_random_seed(1)
    placement = placement or Placement()
    model = MOD(CONFIG, placement=placement)
    with placement.variables():
        model.compile(optimizer or FusedAdam(1e-3), **options)
    return model


@pytest.mark.parametrize(
    "optimizer, placement",
    [
        ("adam", lambda: None),
        (None, lambda: Placement(FOUR)),
        (None, lambda: DataParallelPlacement(FOUR[:2])),
    ],
    ids=["Keras' Adam", "four devices", "data parallel"],
)
def test_fit_with_validation_evaluate_and_predict(dataset, optimizer, placement):
    placement = placement()
    with placement.variables() if placement else tf.device("CPU:0"):
        optimizer = optimizer or FusedAdam(1e-3)
    model = compiled(optimizer, placement)
    before = [variable.numpy() for variable in model.trainable_variables]
    history = model.fit(dataset, epochs=2, validation_data=dataset, verbose=0).history
    gc.collect(1)  # The older an iterator of TensorFlow's strategies is, the longer its end may wait.
    assert set(history) == LOSSES | {f"val_{name}" for name in LOSSES | SCORES}
    assert np.isfinite(list(history.values())).all()
    assert all(np.any(variable != start) for variable, start in zip(model.trainable_variables, before))
    values = model.evaluate(dataset, verbose=0, return_dict=True)
    gc.collect(1)
    assert values == {name: history[f"val_{name}"][-1] for name in LOSSES | SCORES}
    assert model.predict(dataset, verbose=0).shape == (6, 30)


def test_scores_are_those_of_the_evaluation(dataset, eager):
    model = compiled()
    values = model.evaluate(dataset, verbose=0, return_dict=True)
    assert model.evaluate(dataset, verbose=0)[:4] == [values[name] for name in ("loss", "gap", "hit_at_1", "perr")]
    labels = np.concatenate([batch["labels"] for batch in dataset])
    predictions = model.predict(dataset, verbose=0)
    scores = video_scores(
        {str(number): np.flatnonzero(row) for number, row in enumerate(labels)},
        ((str(number), np.arange(30), row) for number, row in enumerate(predictions)),
    )
    np.testing.assert_allclose(
        [values[name] for name in sorted(SCORES)], [scores.gap, scores.hit_at_1, scores.perr], rtol=1e-6
    )


def test_fit_takes_the_step_of_the_trainer(dataset, data, tmp_path, eager):
    run = tiny.run(max_steps=3, name="mix_nextvlad_tiny", model=("branching=2",))
    trainer = tiny.trainer(data, tmp_path, run)
    keras.utils.set_random_seed(run.seed)
    model = MOD.for_phase(run.model, run.phase, seed=run.seed)
    model.compile(optimizer_of(run.phase))
    model.fit(trainer.reader.read(4, seed=run.seed, epoch=0).dataset.take(3), verbose=0)
    trainer.train()
    for ours, theirs in zip(model.variables, trainer.model.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)


def test_arrays_as_a_keras_user_has_them(arrays, eager):
    features, labels, rated = arrays
    area = keras.metrics.AUC(multi_label=True, num_labels=30, name="auc")
    model = compiled(weighted_metrics=[area])
    history = model.fit(features, labels, batch_size=4, validation_split=0.2, verbose=0).history
    assert set(history) == {f"{prefix}{name}" for prefix in ("", "val_") for name in LOSSES | {"auc"}}
    videos = {"features": features, "num_frames": np.full(10, 7), "present_frames": np.full(10, 7)}
    model.fit(videos, labels, sample_weight=rated, verbose=0)
    assert set(model.evaluate(videos, labels, verbose=0, return_dict=True)) == LOSSES | {"auc"}
    assert model.predict(videos, verbose=0).shape == model(features).shape == (10, 30)
    assert np.isfinite(model.train_on_batch(features, labels)).all()


def test_sample_weights_are_label_weights(arrays, eager):
    features, labels, rated = arrays
    model = compiled()
    weighted = model.evaluate(features, labels, sample_weight=rated, batch_size=10, verbose=0, return_dict=True)
    batch = {"features": features, "labels": labels, "label_weights": rated}
    assert weighted == model.evaluate(tf.data.Dataset.from_tensors(batch), verbose=0, return_dict=True)
    p = model.predict(features, verbose=0)
    bce = -(labels * np.log(p + 1e-5) + (1 - labels) * np.log(1 - p + 1e-5))
    np.testing.assert_allclose(weighted["bce_level_0"], (bce * rated).sum(1).mean(), rtol=1e-5)
    of_examples = model.evaluate(features, labels, sample_weight=np.arange(10) % 2, batch_size=10, verbose=0)
    np.testing.assert_allclose(of_examples[4], bce[1::2].sum() / 10, rtol=1e-5)


def test_evaluation_averages_over_examples(arrays, eager):
    features, labels, _ = arrays
    model = compiled()
    np.testing.assert_allclose(
        model.evaluate(features, labels, batch_size=4, verbose=0),
        model.evaluate(features, labels, batch_size=10, verbose=0),
        rtol=1e-5,
    )


def test_saved_and_loaded(dataset, tmp_path, eager):
    schedule = StaircaseDecay(1e-3, 4, 0.8, 100)
    model = compiled(FusedAdam(schedule, clip_norm=0.5), recipe=PHASES["finetune"])
    model.fit(dataset, verbose=0)
    model.summary(print_fn=lambda *_, **__: None)
    model.save(tmp_path / "mod.keras")
    again = keras.models.load_model(tmp_path / "mod.keras", safe_mode=True)
    np.testing.assert_array_equal(model.predict(dataset, verbose=0), again.predict(dataset, verbose=0))
    assert again.recipe == model.recipe == Recipe(l2_penalty=1e-4, temperature=20)
    assert again.get_config() == model.get_config()
    assert again.optimizer.get_config() == model.optimizer.get_config()
    for ours, theirs in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)
    assert again.evaluate(dataset, verbose=0) == model.evaluate(dataset, verbose=0)


def test_weights_and_configuration(tmp_path, arrays, bfloat16):
    model = MOD(CONFIG, dropout=0.3, momentum=0.9, dtype="mixed_bfloat16")
    again = MOD.from_config(model.get_config())
    assert again.get_config() == model.get_config() and again.compute_dtype == "bfloat16"
    model.save_weights(tmp_path / "mod.weights.h5")
    of_segments = MOD(CONFIG, frames=5, dtype="mixed_bfloat16")
    of_segments.load_weights(tmp_path / "mod.weights.h5")
    np.testing.assert_array_equal(model(arrays[0][:, :5]), of_segments(arrays[0][:, :5]))


def test_within_a_functional_model(arrays, tmp_path):
    inputs = keras.Input((12, 8), dtype="uint8")
    model = keras.Model(inputs, keras.layers.Dense(3)(MOD(CONFIG)(inputs)))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(model(arrays[0]), again(arrays[0]))


def test_keras_callbacks_do_their_work(dataset, tmp_path, eager):
    model, never = compiled(), dict(monitor="val_loss", min_delta=1e9)
    history = model.fit(
        dataset.take(1),
        epochs=8,
        validation_data=dataset.take(1),
        verbose=0,
        callbacks=[
            keras.callbacks.EarlyStopping(patience=3, **never),
            keras.callbacks.ReduceLROnPlateau(patience=1, factor=0.5, **never),
            keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True, monitor="val_loss"),
            keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True),
            keras.callbacks.CSVLogger(tmp_path / "log.csv"),
            keras.callbacks.TensorBoard(tmp_path / "events", update_freq=1),
        ],
    ).history
    assert len(history["loss"]) == 4
    np.testing.assert_allclose(history["learning_rate"], [1e-3, 1e-3, 5e-4, 2.5e-4])
    assert float(model.optimizer.learning_rate) == pytest.approx(1.25e-4)
    assert {path.name for path in tmp_path.iterdir()} >= {"best.keras", "4.weights.h5", "log.csv", "events"}
    with open(tmp_path / "log.csv") as file:
        assert [float(row["val_gap"]) for row in csv.DictReader(file)] == history["val_gap"]


def test_backup_and_restore(dataset, tmp_path, eager):
    class Interrupted(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def fit(model, *callbacks):
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        return model.fit(dataset.take(2), epochs=3, verbose=0, callbacks=[backup, *callbacks]).epoch

    with pytest.raises(KeyboardInterrupt):
        fit(compiled(), Interrupted())
    model = compiled()
    assert fit(model) == [2] and int(model.optimizer.iterations) == 6


def test_gradient_accumulation(dataset, eager):
    """A step of accumulated gradients is one step of Adam, its bias correction included."""
    model = compiled(FusedAdam(1e-3, gradient_accumulation_steps=2))
    model.fit(dataset.take(2), verbose=0)
    assert float(model.optimizer.beta_1_power) == pytest.approx(0.9**2)


def test_errors_say_what_was_expected(arrays, eager):
    features, labels, _ = arrays
    model = compiled()
    with pytest.raises(ValueError, match="expected recipe=..., got loss"):
        model.compile("adam", loss="binary_crossentropy")
    with pytest.raises(ValueError, match='Expected "labels" in the batch, or y, .*; got features'):
        model.fit(features, verbose=0)
    with pytest.raises(ValueError, match='Expected a batch with "features", got labels'):
        model({"labels": labels})


def test_replicas_of_a_last_batch_of_one_example(arrays, eager):
    """One replica has nothing to do: its share is nothing, and what all share stays finite."""
    features, labels, rated = (values[:5] for values in arrays)
    placement = DataParallelPlacement(FOUR[:2])
    with placement.variables():
        optimizer = FusedAdam(1e-3)
    model, alone = compiled(optimizer, placement), compiled()
    arguments = dict(x=features, y=labels, sample_weight=rated, batch_size=4, verbose=0)
    found, expected = (each.evaluate(**arguments) for each in (model, alone))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.isfinite(list(model.fit(**arguments).history.values())).all()
    assert all(np.isfinite(variable).all() for variable in model.variables)
