"""Which checkpoint scores: last, best, a step, the mean of several, averaged weights; and where training starts."""

import json

import numpy as np
import pytest

from tests.training import tiny
from youtube8m_mod.errors import UserError
from youtube8m_mod.inference.folded import fold, fold_checkpoint
from youtube8m_mod.training import checkpoint_store, checkpoints
from youtube8m_mod.training.callbacks import RunCallback

pytestmark = pytest.mark.filterwarnings("ignore:Even though")
FEATURES = np.random.default_rng(0).integers(0, 256, (3, 12, 8), np.uint8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data):
    """A run of 4 steps with a checkpoint at each; the best, says its file, was step 2."""
    folder = tmp_path_factory.mktemp("choice")
    tiny.trainer(data, folder / "run", tiny.run(max_steps=4), checkpoint_steps=1, keep_checkpoints=9).train()
    (folder / "run" / "best.json").write_text(json.dumps({"step": 2}))
    return folder / "run"


@pytest.mark.parametrize(
    "choice, steps",
    [("last", [4]), ("best", [2]), ("3", [3]), ("00003", [3]), ("average:2", [3, 4]), ("average:4", [1, 2, 3, 4])],
)
def test_weights_of_a_choice(trained, choice, steps):
    assert checkpoint_store.chosen_steps(str(trained), choice) == steps
    model, _ = checkpoints.load_model(str(trained), checkpoint=choice)
    stored = [tiny.stored(trained, step) for step in steps]
    for path, variable in checkpoints.model_variables(model).items():
        key = next(name for name in stored[0] if name.startswith(f"model/{path.replace('/', '.S')}/."))
        expected = np.mean([values[key] for values in stored], axis=0, dtype=np.float64)
        np.testing.assert_allclose(variable, expected, rtol=1e-6, err_msg=path)
    folded = fold_checkpoint(str(trained), checkpoint=choice)
    np.testing.assert_allclose(folded.predict(FEATURES), fold(model).predict(FEATURES), atol=1e-6)


@pytest.mark.parametrize(
    "choice, message",
    [
        ("newest", '--checkpoint must be last, best, a step or average:<n>, got "newest"'),
        ("average:0", "--checkpoint must be"),
        ("average:9", "holds 4 checkpoints only"),
        ("7", "holds no checkpoint of step 7, but of 1, 2, 3, 4"),
    ],
)
def test_choices_that_cannot_be(trained, choice, message):
    with pytest.raises(UserError, match=message):
        checkpoints.load_model(str(trained), checkpoint=choice)


def test_best_without_a_validation(data, tmp_path, eager):
    tiny.trainer(data, tmp_path, tiny.run(max_steps=1)).train()
    with pytest.raises(UserError, match="best.json does not exist, which a run with --eval_data_pattern writes"):
        checkpoints.load_model(str(tmp_path), checkpoint="best")


def test_finetuning_starts_from_the_chosen_checkpoint(data, trained, tmp_path, eager):
    run = tiny.run("finetune", max_steps=1)
    run.started_from = str(trained)
    trainer = tiny.trainer(data, tmp_path, run, pretrained_checkpoint="best")
    expected, _ = checkpoints.load_model(str(trained), checkpoint="2")
    for own, other in zip(trainer.model.trainable_variables, expected.trainable_variables):
        np.testing.assert_array_equal(own, other)
    assert run.started_step == 2
    trainer.lock.release()


class Weights(RunCallback):
    """The weights after each step."""

    def on_train_begin(self, logs=None):
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append([variable.numpy() for variable in self.model.trainable_variables])


def test_averaged_weights_score_and_are_resumed_exactly(data, tmp_path, eager):
    """a <- m a + (1 - m) w after each step, begun with the first weights; cut and resumed it is the same."""
    momentum, seen = 0.75, Weights()
    fields = dict(max_steps=5, ema_momentum=momentum)
    tiny.trainer(data, tmp_path / "whole", tiny.run(**fields), [seen], checkpoint_steps=3).train()
    average = seen.seen[0]
    for weights in seen.seen[1:]:
        average = [momentum * own + (1 - momentum) * new for own, new in zip(average, weights)]
    model, _ = checkpoints.load_model(str(tmp_path / "whole"))
    for variable, expected in zip(model.trainable_variables, average):
        np.testing.assert_allclose(variable, expected, rtol=1e-5, atol=1e-7)
    folded = fold_checkpoint(str(tmp_path / "whole"))
    np.testing.assert_allclose(folded.predict(FEATURES), fold(model).predict(FEATURES), atol=1e-6)

    tiny.trainer(data, tmp_path / "cut", tiny.run(**fields | dict(max_steps=2)), checkpoint_steps=2).train()
    tiny.trainer(data, tmp_path / "cut", tiny.run(**fields), checkpoint_steps=3).train()
    tiny.assert_same(tiny.stored(tmp_path / "whole", 5), tiny.stored(tmp_path / "cut", 5))


def test_averaging_leaves_the_weights_of_training_alone(data, tmp_path):
    weights = []
    for name, momentum in (("with", 0.9), ("without", 0.0)):
        seen = Weights()
        tiny.trainer(data, tmp_path / name, tiny.run(max_steps=3, ema_momentum=momentum), [seen]).train()
        weights.append(seen.seen[-1])
    for own, other in zip(*weights):
        np.testing.assert_array_equal(own, other)


def test_a_run_with_averages_starts_from_one_without(data, trained, tmp_path, eager):
    run = tiny.run("finetune", max_steps=2, ema_momentum=0.5)
    run.started_from = str(trained)
    assert tiny.trainer(data, tmp_path, run).train()["step"] == 2
