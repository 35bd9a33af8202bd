"""Held-out scores during training: what they are, that they change nothing, the best checkpoint, patience, resume."""

import json

import numpy as np
import pytest

from tests.training import tiny
from youtube8m_mod.data.estimate import estimated_examples
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.errors import UserError
from youtube8m_mod.evaluation.mean_average_precision import average_precision
from youtube8m_mod.evaluation.video_metrics import video_scores
from youtube8m_mod.training import checkpoint_store
from youtube8m_mod.training.callbacks import RunCallback
from youtube8m_mod.training.history import read_history
from youtube8m_mod.training.validation import Scorer, Validation, ValidationOptions
from youtube8m_mod.training.watch import watch

pytestmark = pytest.mark.filterwarnings("ignore:Even though")  # The data's functions stay graphs.
TREE = dict(name="mix_nextvlad_tiny", model=("branching=2",))


def held_out(data, **options):
    return ValidationOptions(f"{data}/validate-*.tfrecord", **{"steps": 2} | options)


def scored(lines, name):
    return {line["step"]: line[name] for line in lines if name in line}


def test_scores_are_those_of_the_evaluation(data, tmp_path):
    trainer = tiny.trainer(data, tmp_path, tiny.run(max_steps=2, **TREE), validation=held_out(data))
    result = trainer.train()
    line = read_history(str(tmp_path))[-1]
    labels, rows = {}, {"root": [], "leaf": [], "average": []}
    for batch in trainer.validation.reader.read(4):
        output = trainer.model.tree(batch)
        leaves = [leaf.logits.numpy() for leaf in output.children]
        scores = (output.probabilities.numpy(), output.children[0].probabilities.numpy())
        scores += (1 / (1 + np.exp(-np.mean(leaves, axis=0))),)
        for index, video_id in enumerate(batch["ids"].numpy()):
            labels[video_id] = np.flatnonzero(batch["labels"][index])
            for own, values in zip(rows.values(), scores):
                own.append((video_id, np.arange(30), values[index]))
    for name, own in rows.items():
        expected = video_scores(labels, own)
        for metric, value in (("gap", expected.gap), ("hit_at_1", expected.hit_at_1), ("perr", expected.perr)):
            assert line[f"val_{name}_{metric}"] == pytest.approx(value, abs=1e-6)
    assert result["best_step"] == 2 and result["best_root_gap"] == line["val_root_gap"]
    assert line["val_loss"] > 0 and result["validation_seconds"] > 0


def test_scores_of_rated_segments(data, tmp_path):
    options = held_out(data, best_metric="leaf_map")
    trainer = tiny.trainer(data, tmp_path, tiny.run("finetune", max_steps=2, **TREE), validation=options)
    trainer.train()
    line, ratings, videos = read_history(str(tmp_path))[-1], {}, {}
    for batch in trainer.validation.reader.read(4):
        probabilities = trainer.model.tree(batch).probabilities.numpy()
        for row, label in np.argwhere(batch["label_weights"].numpy()):
            positive = bool(batch["labels"][row, label])
            ratings.setdefault(label, []).append((-probabilities[row, label], positive))
            rating = (
                label,
                int(batch["start_times"][row]),
                positive,
                pytest.approx(probabilities[row, label], abs=1e-6),
            )
            videos.setdefault(batch["ids"].numpy()[row].decode(), []).append(rating)
    shown = trainer.validation.rated_videos
    assert [video["id"] for video in shown] == list(videos)[:4]
    for video in shown:
        assert video["ratings"] == sorted(videos[video["id"]], key=lambda rating: rating[:2])
    terms = [
        average_precision(np.array([positive for _, positive in sorted(own, key=lambda pair: pair[0])]), count)
        for own in ratings.values()
        if (count := sum(positive for _, positive in own))
    ]
    assert line["val_root_map"] == pytest.approx(np.mean(terms), abs=1e-6)
    assert json.loads((tmp_path / "best.json").read_text())["metric"] == "leaf_map"


@pytest.mark.parametrize("name", ["nextvlad_tiny", "dbof_tiny"])
def test_changes_no_number_of_the_training(data, tmp_path, name, eager):
    """Nor of a model that draws frames at random where it scores."""
    weights = []
    for folder, validation in (("with", held_out(data, steps=1)), ("without", None)):
        run = tiny.run(max_steps=3, name=name)
        tiny.trainer(data, tmp_path / folder, run, validation=validation).train()
        weights.append(tiny.stored(tmp_path / folder, 3))
    tiny.assert_same(*weights)


class Scores(RunCallback):
    """Gives the validations of a run values by their step."""

    def __init__(self, values):
        super().__init__()
        self.values = values

    def on_train_begin(self, logs=None):
        state = self.trainer.state
        self.trainer.validation.evaluate = lambda: {"val_loss": 1.0, "val_root_gap": self.values[state["step"]]}


def test_the_best_checkpoint_stays(data, tmp_path, eager):
    values = {1: 0.1, 2: 0.5, 3: 0.5, 4: 0.3, 5: 0.2, 6: 0.4}
    options = dict(checkpoint_steps=1, keep_checkpoints=2, validation=held_out(data, steps=1))
    tiny.trainer(data, tmp_path, tiny.run(max_steps=6), [Scores(values)], **options).train()
    assert checkpoint_store.steps(tmp_path) == [2, 5, 6]
    best = json.loads((tmp_path / "best.json").read_text())
    assert (best["step"], best["value"], best["metric"]) == (2, 0.5, "root_gap")
    assert scored(read_history(str(tmp_path)), "val_root_gap") == values


def test_a_checkpoint_is_written_for_the_best(data, tmp_path, eager):
    """Where the interval of checkpoints would not have written one."""
    values = {2: 0.1, 4: 0.5, 6: 0.3}
    options = dict(checkpoint_steps=100, validation=held_out(data))
    tiny.trainer(data, tmp_path, tiny.run(max_steps=6), [Scores(values)], **options).train()
    assert {4, 6} <= set(checkpoint_store.steps(tmp_path))


def test_scores_are_the_same_to_the_last_digit_in_every_process(data, tmp_path):
    """The first time that a process scores, before a smaller last batch has come, and later."""
    run = tiny.run(max_steps=1, **TREE)
    trainer = tiny.trainer(data, tmp_path, run, validation=held_out(data))
    trainer.train()
    scorers = [Scorer(trainer.model, run, trainer.validation.reader) for _ in range(2)]
    assert scorers[0]() == scorers[0]() == scorers[1]()


def test_a_kill_before_best_json_names_the_best(data, tmp_path, eager):
    """Its checkpoint is there, best.json still names the one before, and nothing better comes."""
    options = dict(checkpoint_steps=1, keep_checkpoints=1, validation=held_out(data, steps=1))
    values = {1: 0.1, 2: 0.5, 3: 0.3}
    tiny.trainer(data, tmp_path, tiny.run(max_steps=2), [Scores(values)], **options).train()
    best = json.loads((tmp_path / "best.json").read_text())
    (tmp_path / "best.json").write_text(json.dumps(best | {"step": 1}))
    tiny.trainer(data, tmp_path, tiny.run(max_steps=3), [Scores(values)], **options).train()
    assert json.loads((tmp_path / "best.json").read_text()) == best
    assert checkpoint_store.steps(tmp_path) == [2, 3]


def test_scores_of_other_records_do_not_mix(data, tmp_path, eager):
    """The best of them all would be the best on neither."""
    values, options = dict.fromkeys(range(9), 0.5), dict(checkpoint_steps=1)

    def train(steps, pattern=f"{data}/validate-*.tfrecord", **more):
        accepted = more.pop("accept_changed_data", False)
        validation = ValidationOptions(pattern, steps=1, **more)
        run, callbacks = tiny.run(max_steps=steps), [Scores(values)]
        options["accept_changed_data"] = accepted
        return tiny.trainer(data, tmp_path, run, callbacks, validation, **options).train()

    tiny.trainer(data, tmp_path, tiny.run(max_steps=1), **options).train()  # Without any.
    train(1)  # At its end already: it is scored, and remembers by what.
    test = f"{data}/test-*.tfrecord"
    for other, flag in (
        ({"pattern": test}, "--eval_data_pattern .there '2 files, the first .*validate.*, now '1 files"),
        ({"examples": 3}, "--eval_examples .there None, now '3'"),
        ({"best_metric": "loss"}, "--best_metric .there 'root_gap', now 'loss'"),
    ):
        with pytest.raises(UserError, match=f"holds a run that is scored otherwise, it differs in {flag}"):
            train(2, **other)
    tiny.trainer(data, tmp_path, tiny.run(max_steps=2), **options).train()  # Without any.
    with pytest.raises(UserError, match="scored otherwise"):
        train(3, test)
    assert train(3, test, accept_changed_data=True)["step"] == train(3, test)["step"] == 3


def test_patience_stops_and_stays_stopped(data, tmp_path, eager):
    values = {1: 0.3, 2: 0.5, 3: 0.4, 4: 0.5, 5: 0.9}
    options = dict(validation=held_out(data, steps=1, patience=2))
    for _ in range(2):
        result = tiny.trainer(data, tmp_path, tiny.run(max_steps=9), [Scores(values)], **options).train()
        assert result["step"] == 4 and result["best_step"] == 2


def test_a_loss_is_better_where_it_is_lower(data, tmp_path):
    validation = Validation(held_out(data, best_metric="loss"), tiny.run())
    for step, loss in ((1, 3.0), (2, 2.0), (3, 2.5)):
        validation._note({"step": step, "val_loss": loss})
    assert validation.best["step"] == 2 and validation.waited == 1


def test_killed_and_resumed_it_is_as_if_never_interrupted(data, tmp_path):
    """Scores, best checkpoint and weights of a run that was cut twice equal those of a whole one."""
    options = dict(checkpoint_steps=3, validation=held_out(data))

    class Killed(RunCallback):
        def __init__(self, at):
            super().__init__()
            self.at = at

        def on_train_batch_end(self, batch, logs=None):
            if self.trainer.state["step"] == self.at:
                raise KeyboardInterrupt

    tiny.trainer(data, tmp_path / "whole", tiny.run(max_steps=8), **options).train()
    for at in (4, 7):
        with pytest.raises(KeyboardInterrupt):
            tiny.trainer(data, tmp_path / "cut", tiny.run(max_steps=8), [Killed(at)], **options).train()
    tiny.trainer(data, tmp_path / "cut", tiny.run(max_steps=8), **options).train()
    whole, cut = (read_history(str(tmp_path / name)) for name in ("whole", "cut"))
    assert scored(whole, "val_root_gap") == scored(cut, "val_root_gap") and len(scored(whole, "val_loss")) == 4
    assert (tmp_path / "whole" / "best.json").read_text() == (tmp_path / "cut" / "best.json").read_text()
    tiny.assert_same(tiny.stored(tmp_path / "whole", 8), tiny.stored(tmp_path / "cut", 8))


def test_so_many_examples(data, tmp_path):
    trainer = tiny.trainer(data, tmp_path, tiny.run(max_steps=1), validation=held_out(data, examples=5))
    seen = []
    scorer = Scorer(trainer.model, trainer.run, trainer.validation.reader, examples=5)
    function = scorer._function
    scorer._function = lambda batch: seen.append(len(batch["labels"])) or function(batch)
    scorer()
    assert sum(seen) == 5
    trainer.lock.release()


def test_every_checkpoint_is_scored_from_beside(data, tmp_path, capsys):
    """As the run itself scored them; one that training removes meanwhile is passed over."""
    run = tiny.run(max_steps=4)
    options = held_out(data)
    tiny.trainer(data, tmp_path / "run", run, validation=options, checkpoint_steps=2).train()
    rows = watch(str(tmp_path / "run"), options, str(tmp_path / "scores.json"), once=True)
    inside = read_history(str(tmp_path / "run"))
    assert [row["step"] for row in rows] == [2, 4]
    for row in rows:
        line = next(line for line in inside if line["step"] == row["step"])
        for name in ("loss", "root_gap", "leaf_perr", "average_hit_at_1"):
            assert row[name] == pytest.approx(line[f"val_{name}"], abs=1e-6)
    assert json.loads((tmp_path / "scores.json").read_text()) == rows
    assert (tmp_path / "run" / "eval").is_dir()


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(best_metric="gap"), "--best_metric must be one of loss, root_gap, .* got gap"),
        (dict(best_metric="root_map"), "--best_metric must be one of"),
        (dict(patience=0), "patience must be at least 1, got 0"),
        (dict(steps=0), "eval_steps must be at least 1, got 0"),
    ],
)
def test_options_that_cannot_be(data, options, message):
    with pytest.raises(UserError, match=message):
        Validation(held_out(data, **options), tiny.run())


def test_estimated_examples(data):
    """Exact where all files are alike; close where they are not."""
    for pattern, segments in (("train", False), ("validate", True)):
        reader = Reader(f"{data}/{pattern}-*.tfrecord", tiny.run().model, segments=segments)
        count = sum(len(batch["labels"]) for batch in reader.read(4))
        assert estimated_examples(reader.paths, segments) == pytest.approx(count, rel=0.35)
    assert estimated_examples([], False) is None


def test_the_total_of_a_run_by_passes(data, tmp_path, eager):
    totals = []

    class Total(RunCallback):
        def on_train_batch_end(self, batch, logs=None):
            line = next(own for own in self.trainer.callbacks if type(own).__name__ == "ProgressLine")
            totals.append(line._total())

    result = tiny.trainer(data, tmp_path, tiny.run(num_epochs=2), [Total()]).train()
    assert totals[0] is not None and totals[-1] == result["step"]
