"""What a run writes for TensorBoard."""

import glob

import numpy as np
import pytest
import tensorflow as tf

from tests.training import tiny
from youtube8m_mod import figures
from youtube8m_mod.training.callbacks import RunCallback
from youtube8m_mod.training.validation import ValidationOptions
from youtube8m_mod.training.watch import watch

pytestmark = pytest.mark.filterwarnings("ignore:Even though")


def summaries(folder):
    """{tag: [(step, value)]}"""
    found = {}
    for path in sorted(glob.glob(f"{folder}/events.out*")):
        for event in tf.compat.v1.train.summary_iterator(path):
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value))
    return found


class OwnGradients(RunCallback):
    """Norms of the gradients of each step by plain arithmetic, {subtree: [norm]}."""

    def __init__(self):
        super().__init__()
        self.norms = {}

    def on_train_batch_begin(self, batch, logs=None):
        data = {name: value for name, value in self.trainer.batch.items() if value.dtype != tf.string}
        _, gradients, _ = self.model.losses_and_gradients(data)
        squares = {}
        for variable, gradient in zip(self.model.trainable_variables, gradients):
            names = variable.path.removeprefix("mod/").split("/")
            subtree = names[0] if names[0] in ("0", "1") else "root"
            squares[subtree] = squares.get(subtree, 0.0) + np.sum(np.square(gradient, dtype=np.float64))
        for subtree, square in squares.items():
            self.norms.setdefault(subtree, []).append(np.sqrt(square))


def test_what_tensorboard_shows(data, tmp_path):
    run = tiny.run(max_steps=10, name="mod_nextvlad_tiny", model=("branching=2x2",))
    tiny.trainer(data, tmp_path, run, log_steps=1).train()
    found = summaries(f"{tmp_path}/events")
    sections = {"bce/level_2", "kl/level_1", "kl/level_2"}
    assert {"configuration", "loss", "learning_rate", "examples_per_second", *sections} <= set(found)
    assert "mod_nextvlad_tiny" in str(found["configuration"][0][1].tensor.string_val)
    for node in ("root", "0", "1"):
        assert [step for step, _ in found[f"mixing/{node}"]] == [10]
        means = [tf.make_ndarray(found[f"mixing/{node}/child_{child}"][0][1].tensor) for child in (0, 1)]
        assert sum(means) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("clip_norm", [0.0, 0.01])
def test_norms_of_gradients_are_those_before_clipping(data, tmp_path, clip_norm):
    run = tiny.run(
        max_steps=2, name="mix_nextvlad_tiny", model=("branching=2",), dropout=0, clip_gradient_norm=clip_norm
    )
    own = OwnGradients()
    tiny.trainer(data, tmp_path, run, [own], log_steps=1).train()
    found = summaries(f"{tmp_path}/events")
    assert own.norms.keys() == {"0", "1", "root"}
    for subtree, norms in own.norms.items():
        written = [(step, float(tf.make_ndarray(v.tensor))) for step, v in found[f"gradient_norm/{subtree}"]]
        assert [step for step, _ in written] == [1, 2]
        np.testing.assert_allclose([norm for _, norm in written], norms, rtol=1e-4)
        assert min(norms) > 0.01


def test_rated_segments_are_drawn(data, tmp_path):
    """In training and beside it; what is drawn is tested with `Scorer` and below."""
    options = ValidationOptions(f"{data}/validate-*.tfrecord", steps=1, examples=12)
    tiny.trainer(data, tmp_path, tiny.run("finetune", max_steps=2), validation=options).train()
    watch(str(tmp_path), options, once=True)
    for folder, steps in (("events", [1, 2]), ("eval", [1, 2])):
        found = summaries(f"{tmp_path}/{folder}")
        images = found["rated segments"]
        assert [step for step, _ in found["validation/root_map"]] == steps
        assert [step for step, _ in images] == steps
        width, height = map(int, images[0][1].tensor.string_val[:2])
        assert width == 900 and height > 400


def test_figure_of_rated_segments():
    ratings = [(3, 5, True, 0.75), (3, 10, False, 0.5), (8, 5, True, 0.25)]
    figure = figures.rated_segments_figure([{"id": "abcd", "ratings": ratings}], {8: "Piano"})
    (axes,) = figure.axes
    drawn = {tuple(np.concatenate(line.get_data())) for line in axes.lines if line.get_marker() == "o"}
    assert {(7.5, 0.75), (12.5, 0.5), (7.5, 0.25)} <= drawn
    hollow = [line.get_xdata().tolist() for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert hollow == [[12.5], []]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["class 3", "Piano"]
    assert axes.get_title(loc="left") == "abcd"
