"""Several models in one run: the weighted mean of their logits, from each model's own, unfolded ones."""

import base64
import csv
import dataclasses
import json

import numpy as np
import pytest

from tests import command_line
from tests.inference import small_runs
from tests.inference.small_runs import logits, predictions, sigmoid
from youtube8m_mod.commands import inference
from youtube8m_mod.distribution.placement import Placement
from youtube8m_mod.errors import UserError
from youtube8m_mod.explore import __main__ as explore
from youtube8m_mod.inference.run import Inference
from youtube8m_mod.training.run import Run

ALL = {"candidates": False, "top_k": 20}  # Lines hold every class.


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(folder, {name: model}, {id: frames}, pattern): three finetuned models, of which two started from one model."""
    folder = tmp_path_factory.mktemp("runs")
    models = {
        "p": small_runs.save_model(folder / "p", False, seed=1),
        "q": small_runs.save_model(folder / "q", False, seed=2, branching=(2,)),
        "a": small_runs.save_model(folder / "a", True, seed=3, started_from=folder / "p"),
        "b": small_runs.save_model(folder / "b", True, seed=4, started_from=folder / "q", branching=(2,)),
        "c": small_runs.save_model(folder / "c", True, seed=5, started_from=folder / "p", step=1, branching=(2,)),
        "c2": small_runs.save_model(folder / "c", True, seed=6, started_from=folder / "p", step=2, branching=(2,)),
    }
    return folder, models, *small_runs.write_videos(folder)


def dirs(folder, *names):
    return ",".join(f"{folder}/{name}" for name in names)


def check(path, expected):
    found = predictions(path)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=2e-6, err_msg=name)


def of_segments(videos, *weighted):
    """{segment: probabilities} of (weight, model, node)."""
    return {
        f"{name}:{start}": sigmoid(
            sum(weight * logits(model, frames[start : start + 5], node) for weight, model, node in weighted)
        )
        for name, frames in videos.items()
        for start in range(0, len(frames), 5)
    }


def of_videos(videos, *weighted):
    return {
        name: sigmoid(sum(weight * logits(model, frames, node) for weight, model, node in weighted))
        for name, frames in videos.items()
    }


def test_logits_are_averaged_by_weight_and_those_that_one_started_from_too(runs, tmp_path):
    folder, models, videos, pattern = runs
    arguments = [
        f"--train_dir={dirs(folder, 'a', 'b', 'c')}",
        "--model_weights=2,1,1",
        f"--input_data_pattern={pattern}",
        f"--segment_predictions_file={tmp_path}/s.csv",
        f"--video_predictions_file={tmp_path}/v.csv",
        "--nocandidates",
        "--top_k=20",
        "--batch_size=4",
        "--segment_batch_size=3",
    ]
    command_line.call(inference, arguments)
    check(
        tmp_path / "s.csv",
        of_segments(videos, (0.5, models["a"], ""), (0.25, models["b"], ""), (0.25, models["c2"], "")),
    )
    # a and c started from p, b from q.
    check(tmp_path / "v.csv", of_videos(videos, (0.75, models["p"], ""), (0.25, models["q"], "")))


def test_equal_weights_checkpoints_and_nodes_of_each(runs, tmp_path):
    folder, models, videos, pattern = runs
    Inference(
        dirs(folder, "a", "c", "c"),
        pattern,
        segment_predictions_file=f"{tmp_path}/s.csv",
        checkpoint="last,1,2",
        node=",1,",
        **ALL,
        placement=Placement(("CPU:0", "CPU:1")),
    ).run()
    third = 1 / 3
    check(
        tmp_path / "s.csv",
        of_segments(videos, (third, models["a"], ""), (third, models["c"], "1"), (third, models["c2"], "")),
    )


def test_video_models_of_their_own_and_one_of_weight_0(runs, tmp_path):
    folder, models, videos, pattern = runs
    Inference(
        dirs(folder, "a"),
        pattern,
        video_predictions_file=f"{tmp_path}/v.csv",
        video_train_dir=dirs(folder, "q", "p", "a"),
        video_model_weights="3,1,0",
        **ALL,
    ).run()
    check(tmp_path / "v.csv", of_videos(videos, (0.75, models["q"], ""), (0.25, models["p"], "")))


def test_a_list_of_one_model_gives_the_bytes_of_that_model(runs, tmp_path):
    folder, _, _, pattern = runs
    for name, options in {
        "one": {"train_dir": dirs(folder, "c")},
        "others of weight 0": {"train_dir": dirs(folder, "a", "c"), "model_weights": "0,3"},
    }.items():
        Inference(
            input_data_pattern=pattern,
            output_file=f"{tmp_path}/{name}.csv",
            segment_predictions_file=f"{tmp_path}/{name} segments.csv",
            **options,
        ).run()
    for what in ("", " segments"):
        first, second = (tmp_path / f"{name}{what}.csv" for name in ("one", "others of weight 0"))
        assert first.read_bytes() == second.read_bytes()


def test_a_stopped_run_goes_on_with_the_same_models_only(runs, tmp_path):
    folder, _, _, pattern = runs
    options = {"train_dir": dirs(folder, "a", "b"), "input_data_pattern": pattern, "group_megabytes": 1e-6}

    class Stopped:
        """Localises the first group, as an actor does, and is interrupted."""

        files_done_again = 0

        def localize(self, groups):
            yield groups[0], Inference(output_file=f"{tmp_path}/s.csv", **options).localizer().localize(groups[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Inference(output_file=f"{tmp_path}/s.csv", **options).run(Stopped())
    for changes, what in (
        ({"model_weights": "1,2"}, "model_weights, video_model_weights"),
        ({"train_dir": dirs(folder, "b", "a")}, ".*train_dir.*"),
        ({"train_dir": dirs(folder, "a")}, ".*checkpoint, model_weights, .*train_dir.*"),
        ({"node": ",1"}, "node"),
    ):
        with pytest.raises(UserError, match=f"pieces of another run, which differs in {what}; remove"):
            Inference(output_file=f"{tmp_path}/s.csv", **options | changes).run()
    counts = Inference(output_file=f"{tmp_path}/s.csv", **options).run()
    assert counts["videos"] == len(small_runs.LENGTHS) - 2
    Inference(output_file=f"{tmp_path}/at once.csv", **options).run()
    assert (tmp_path / "s.csv").read_bytes() == (tmp_path / "at once.csv").read_bytes()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"model_weights": "1,2,3"}, "--model_weights: expected 2 numbers, one a model, got 3"),
        ({"model_weights": "1,x"}, '--model_weights: expected numbers separated by commas, got "1,x"'),
        ({"model_weights": "1,-1"}, "--model_weights: expected numbers of at least 0, not all 0"),
        ({"model_weights": "0,0"}, "not all 0"),
        ({"model_weights": "nan,1"}, "--model_weights: expected numbers of at least 0"),
        ({"checkpoint": "1,last,1"}, "--checkpoint: expected one value, or 2, one a model, got 3"),
        ({"checkpoint": "1,2"}, "b holds no checkpoint of step 2"),
        ({"video_checkpoint": "1,1,1"}, "--video_checkpoint: expected one value, or 2"),
        ({"node": ",7"}, 'b: node must be a path in the tree .*, got "7"'),
        ({"node": "1"}, 'a: node must be a path in the tree .*, got "1"'),
        ({"video_model_weights": "1,1"}, "--video_model_weights are those of --video_train_dir, which is not given"),
        ({"train_dir": "{a},{a}"}, "--train_dir names .*a twice"),
        ({"train_dir": "{a},"}, "--train_dir: expected train_dirs separated by commas"),
        ({"train_dir": "{a},{a}x"}, "ax is not a train_dir"),
        ({"video_train_dir": "{a},{b},{a}"}, "--video_train_dir names .*a twice"),
    ],
)
def test_what_does_not_fit_is_told(runs, tmp_path, options, message):
    folder, _, _, pattern = runs
    given = {"train_dir": dirs(folder, "a", "b"), "output_file": f"{tmp_path}/s.csv"} | options
    places = {"a": f"{folder}/a", "b": f"{folder}/b"}
    given = {name: value.format(**places) for name, value in given.items()}
    with pytest.raises(UserError, match=message):
        Inference(input_data_pattern=pattern, **given).localizer()


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"num_classes": 21}, "other and .*/[ap] must have the same num_classes, got 21 and 20"),
        ({"feature_sizes": (20, 12)}, r"same feature_sizes, got \(20, 12\) and \(24, 8\)"),
        ({"feature_names": ("rgb", "sound")}, "same feature_names"),
    ],
)
def test_models_of_another_vocabulary_or_other_features_are_told(runs, tmp_path, fields, message):
    folder, _, _, pattern = runs
    small_runs.save_model(tmp_path / "other", True, seed=0, **fields)
    options = {"input_data_pattern": pattern, "output_file": f"{tmp_path}/s.csv"}
    with pytest.raises(UserError, match=message):
        Inference(f"{folder}/a,{tmp_path}/other", **options).localizer()
    with pytest.raises(UserError, match=message):
        Inference(f"{folder}/a", video_train_dir=f"{folder}/p,{tmp_path}/other", **options).localizer()


def test_models_finetuned_on_other_classes_need_a_list(runs, tmp_path):
    folder, _, videos, pattern = runs
    small_runs.save_model(tmp_path / "rated", True, seed=0)
    dataclasses.replace(Run.load(f"{tmp_path}/rated"), classes=[3, 5]).save(f"{tmp_path}/rated")
    options = {"input_data_pattern": pattern, "segment_predictions_file": f"{tmp_path}/s.csv", "candidates": False}
    train_dir = f"{folder}/a,{tmp_path}/rated"
    with pytest.raises(UserError, match="different segment classes .none and 2 classes.*--segment_label_ids_file"):
        Inference(train_dir, **options).localizer()
    (tmp_path / "ids.csv").write_text("Index\n5\n7\n")
    Inference(train_dir, segment_label_ids_file=f"{tmp_path}/ids.csv", **options).run()
    assert len(predictions(tmp_path / "s.csv")) == sum(-(-len(frames) // 5) for frames in videos.values())


def test_a_page_of_several_models(runs, tmp_path):
    """The strips of the page are the values of the timeline."""
    folder, _, videos, pattern = runs
    models = [
        f"--train_dir={dirs(folder, 'a', 'b')}",
        f"--input_data_pattern={pattern}",
        "--segment_shifts=0,1",
        "--context=0.1,0.1",
        "--top_k=20",
    ]
    command_line.call(explore, [*models, f"--output={tmp_path}/page.html"])
    command_line.call(inference, [*models, f"--timeline_file={tmp_path}/t.csv", "--timeline_threshold=0"])
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    found = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    assert {video["id"] for video in found["videos"]} == set(videos)
    means = {}
    for video in found["videos"]:
        strips = np.frombuffer(base64.b64decode(video["strips"]), "<u2").reshape(-1, video["segments"])
        for place, strip in zip(video["classes"], strips):
            means[video["id"], found["classes"][place]["id"]] = (strip.astype(float) - 1).mean() / 65534
    with open(tmp_path / "t.csv", encoding="utf-8") as file:
        rows = {(row["video"], int(row["class"])): float(row["probability"]) for row in csv.DictReader(file)}
    assert len(rows) == 20 * len(videos)
    for key, mean in means.items():
        assert mean == pytest.approx(rows[key], abs=2e-5)


def test_a_train_dir_with_a_comma_in_its_name(tmp_path):
    small_runs.save_model(tmp_path / "x,y", True, seed=0)
    _, pattern = small_runs.write_videos(tmp_path, [3, 6])
    Inference(f"{tmp_path}/x,y", pattern, segment_predictions_file=f"{tmp_path}/s.csv", candidates=False).run()
    assert len(predictions(tmp_path / "s.csv")) == 1 + 2
