"""Embeddings: the vectors of which a leaf's classifier makes its logits, whatever the run was cut into."""

import os

import numpy as np
import pandas
import pytest

from tests import command_line
from tests.inference import small_runs
from tests.inference.small_runs import SMALL, node_output
from youtube8m_mod import files
from youtube8m_mod.commands import inference
from youtube8m_mod.data import records
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.errors import UserError
from youtube8m_mod.inference import embeddings
from youtube8m_mod.inference.run import Inference

SIZE = SMALL.hidden_size


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(folder, {name: model}, {id: frames}, pattern)."""
    folder = tmp_path_factory.mktemp("runs")
    models = {
        "p": small_runs.save_model(folder / "p", False, seed=1, branching=(2, 2)),
        "a": small_runs.save_model(folder / "a", True, seed=3, started_from=folder / "p", branching=(2, 2)),
        "b": small_runs.save_model(folder / "b", True, seed=4, started_from=folder / "p"),
        "narrow": small_runs.save_model(folder / "narrow", True, seed=5, hidden_size=8),
    }
    return folder, models, *small_runs.write_videos(folder)


def hidden(model, frames, leaf):
    """The vector h of a leaf for one video or segment, solved out of its logits z = h W + b: W has full rank."""
    z = node_output(model, frames[np.newaxis], leaf).logits.numpy()[0]
    classifier = model.node(leaf).classifier
    kernel, bias = np.asarray(classifier.kernel, np.float64), np.asarray(classifier.bias)
    vector, residual, rank, _ = np.linalg.lstsq(kernel.T, z - bias, rcond=None)
    assert rank == model.config.hidden_size and residual.max(initial=0) < 1e-6
    return vector


def segments(videos):
    return {
        (name, start): frames[start : start + 5]
        for name, frames in videos.items()
        for start in range(0, len(frames), 5)
    }


def check(vectors, parts, *leaves):
    """Asserts that the rows of `vectors` are the vectors of some (model, leaf), one beside the other."""
    assert vectors.dtype == np.float32 and vectors.shape == (len(parts), SIZE * len(leaves))
    for vector, frames in zip(vectors, parts):
        expected = np.concatenate([hidden(model, frames, leaf) for model, leaf in leaves])
        np.testing.assert_allclose(vector, expected, atol=1e-4)


def test_of_videos_all_leaves_one_beside_the_other(runs, tmp_path):
    folder, models, videos, pattern = runs
    command_line.call(
        inference,
        [f"--train_dir={folder}/a", f"--input_data_pattern={pattern}", f"--embeddings_file={tmp_path}/e.npz"],
    )
    assert os.listdir(tmp_path) == ["e.npz"]
    with np.load(tmp_path / "e.npz") as found:
        assert sorted(found) == ["embedding", "video"]
        assert found["video"].tolist() == list(videos)  # In the order of the input.
        # Of the video-level model, which the other one started from.
        check(found["embedding"], videos.values(), *((models["p"], leaf) for leaf in ("0/0", "0/1", "1/0", "1/1")))


def test_of_segments_and_a_node_in_parquet(runs, tmp_path):
    folder, models, videos, pattern = runs
    Inference(
        f"{folder}/a",
        pattern,
        embeddings_file=f"{tmp_path}/e.parquet",
        embeddings_of="segments",
        node="1",
        segment_batch_size=2,
    ).run()
    table = pandas.read_parquet(tmp_path / "e.parquet")
    assert list(table.columns) == ["video", "start", "embedding"]
    parts = segments(videos)
    assert list(zip(table["video"], table["start"])) == list(parts)
    check(np.stack(table["embedding"]), parts.values(), (models["a"], "1/0"), (models["a"], "1/1"))


def test_of_several_models(runs, tmp_path):
    """Concatenated, and the mean over leaves and, by weight, over models."""
    folder, models, videos, pattern = runs
    found = {}
    for join in ("concatenate", "mean"):
        Inference(
            f"{folder}/a,{folder}/b",
            pattern,
            embeddings_file=f"{tmp_path}/{join}.npz",
            embeddings_of="segments",
            embeddings_join=join,
            model_weights="3,1",
        ).run()
        with np.load(tmp_path / f"{join}.npz") as archive:
            assert list(zip(archive["video"].tolist(), archive["start"].tolist())) == list(segments(videos))
            found[join] = archive["embedding"]
    leaves = [(models["a"], leaf) for leaf in ("0/0", "0/1", "1/0", "1/1")]
    check(found["concatenate"], segments(videos).values(), *leaves, (models["b"], ""))
    parts = found["concatenate"].reshape(-1, 5, SIZE)
    expected = 0.75 * parts[:, :4].mean(axis=1) + 0.25 * parts[:, 4]
    np.testing.assert_allclose(found["mean"], expected, atol=1e-5)


@pytest.mark.parametrize("ending", ("npz", "parquet"))
def test_a_stopped_run_goes_on_and_gives_the_bytes_of_one_that_was_not(runs, tmp_path, ending, monkeypatch):
    folder, _, videos, pattern = runs

    def make(name):
        return Inference(
            f"{folder}/b",
            pattern,
            embeddings_file=f"{tmp_path}/{name}.{ending}",
            embeddings_of="segments",
            segment_predictions_file=f"{tmp_path}/{name}.csv",
            candidates=False,  # Which would take the model of videos: it is of no matter here.
            batch_size=2,
            group_megabytes=1e-6,
        )

    monkeypatch.setattr(embeddings, "_BLOCK_BYTES", 4 * SIZE * 3)
    make("at once").run()

    class Stopped:
        """Localises the last group first, and is interrupted in the one before."""

        files_done_again = 0

        def localize(self, groups):
            worker = make("again").localizer()
            yield groups[1], worker.localize(groups[1])
            worker.localize(groups[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make("again").run(Stopped())
    names = os.listdir(tmp_path / "again.csv.parts")
    assert sum(name.startswith("embeddings-") for name in names) >= 4  # Not all is held in memory.
    assert make("again").run()["videos"] == 2
    for kind in (ending, "csv"):
        assert (tmp_path / f"again.{kind}").read_bytes() == (tmp_path / f"at once.{kind}").read_bytes()
    assert sorted(os.listdir(tmp_path)) == sorted(
        f"{name}.{kind}" for name in ("again", "at once") for kind in (ending, "csv")
    )
    monkeypatch.undo()
    make("at once").run()  # How much is held in memory does not show in an archive; in Parquet it cuts the rows.
    if ending == "npz":
        assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "at once.npz").read_bytes()


@pytest.mark.parametrize("ending", ("npz", "parquet"))
def test_on_a_file_system_that_only_tensorflow_knows(runs, tmp_path, ending):
    folder, _, _, pattern = runs
    found = []
    for root in (f"ram://{tmp_path}", str(tmp_path)):
        Inference(f"{folder}/b", pattern, embeddings_file=f"{root}/e.{ending}", embeddings_of="segments").run()
        with files.open_file(f"{root}/e.{ending}", "rb") as file:
            found.append(file.read())
        assert files.list_dir(root) == [f"e.{ending}"]
    assert found[0] == found[1]


def test_scores_are_those_without_embeddings(runs, tmp_path):
    folder, _, _, pattern = runs
    embeddings = {"embeddings_file": f"{tmp_path}/e.npz"}
    for name, options in {
        "without": {},
        "of videos": embeddings | {"embeddings_of": "videos"},
        "of segments": embeddings | {"embeddings_of": "segments"},
    }.items():
        small_runs.write_all(f"{folder}/a", pattern, tmp_path / name, **options)
    for name in ("of videos", "of segments"):
        for what in ("videos", "segments"):
            first, second = (small_runs.predictions(tmp_path / f"{run} {what}.csv") for run in ("without", name))
            assert first.keys() == second.keys()
            for key in first:
                np.testing.assert_allclose(first[key], second[key], atol=1e-6)
        assert (tmp_path / f"{name}.csv").read_bytes() == (tmp_path / "without.csv").read_bytes()


def test_of_video_level_records(tmp_path):
    model = small_runs.save_model(tmp_path / "p", False, seed=1)
    random = np.random.default_rng(0)
    means = {f"v{n:03d}": random.uniform(-2, 2, SMALL.feature_size).astype(np.float32) for n in range(3)}
    records.write_shard(
        f"{tmp_path}/x.tfrecord",
        [
            records.video_level_record(name, [1], mean_rgb=mean[:24], mean_audio=mean[24:])
            for name, mean in means.items()
        ],
    )
    options = {"input_data_pattern": f"{tmp_path}/x.tfrecord", "embeddings_file": f"{tmp_path}/e.npz"}
    Inference(f"{tmp_path}/p", **options).run()
    with np.load(tmp_path / "e.npz") as found:
        assert found["video"].tolist() == list(means)
        for vector, mean in zip(found["embedding"], means.values()):
            np.testing.assert_allclose(vector, hidden(model, mean[np.newaxis], ""), atol=1e-4)
    with pytest.raises(UserError, match="Segments need frame-level records: .* --embeddings_file of videos"):
        Inference(f"{tmp_path}/p", embeddings_of="segments", **options).run()
    # The mixing nets see one row a video, as they do in training.
    (batch,) = Reader(f"{tmp_path}/x.tfrecord", SMALL).read(8)
    options = {"input_data_pattern": f"{tmp_path}/x.tfrecord", "video_predictions_file": f"{tmp_path}/v.csv"}
    Inference(f"{tmp_path}/p", **options).run()
    found, scores = small_runs.predictions(tmp_path / "v.csv"), model.tree(batch).probabilities.numpy()
    for key, wanted in zip(means, scores):
        np.testing.assert_allclose(found[key], wanted, atol=1e-5)


def test_blocks_on_another_machines_disk_are_told(runs, tmp_path):
    folder, _, _, pattern = runs

    class Elsewhere:
        files_done_again = 0

        def localize(self, groups):
            os.mkdir(tmp_path / "elsewhere")
            there = Inference(f"{folder}/b", pattern, embeddings_file=f"{tmp_path}/elsewhere/e.npz").localizer()
            yield groups[0], there.localize(groups[0])

    with pytest.raises(UserError, match="is missing: --embeddings_file must be in a folder that all machines"):
        Inference(f"{folder}/b", pattern, embeddings_file=f"{tmp_path}/e.npz").run(Elsewhere())


def test_other_embeddings_do_not_go_on_with_its_pieces(runs, tmp_path):
    folder, _, _, pattern = runs
    options = {"train_dir": f"{folder}/b", "input_data_pattern": pattern, "embeddings_file": f"{tmp_path}/e.npz"}

    class Stopped:
        files_done_again = 0

        def localize(self, groups):
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            Inference(**options).run(Stopped())
    with pytest.raises(UserError, match="pieces of another run, which differs in embeddings; remove"):
        Inference(**options, embeddings_join="mean").run(Stopped())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"embeddings_file": "e.csv"}, '--embeddings_file must end in .npz or .parquet, got "e.csv"'),
        ({"embeddings_file": "x.npz", "video_predictions_file": "./x.npz"}, "--embeddings_file would take the"),
        ({"precision": "int8"}, "--embeddings_file takes float32 or bfloat16"),
        ({"segment_shifts": "0,1"}, "--segment_shifts and --context do not go with --embeddings_of=segments"),
        ({"train_dir": "{folder}/b,{folder}/narrow", "embeddings_join": "mean"}, "same hidden_size, got 8 and 16"),
        ({"embeddings_of": "videos", "node": "1", "train_dir": "{folder}/a"}, "scores nothing here: .*/p"),
    ],
)
def test_what_does_not_fit_is_told(runs, tmp_path, options, message):
    folder, _, _, pattern = runs
    given = {"train_dir": "{folder}/b", "embeddings_file": f"{tmp_path}/e.npz", "embeddings_of": "segments"} | options
    given["train_dir"] = given["train_dir"].format(folder=folder)
    with pytest.raises(UserError, match=message):
        Inference(input_data_pattern=pattern, **given).localizer(load=False)


def test_flags_without_the_file_are_told(runs):
    folder, _, _, pattern = runs
    arguments = [f"--train_dir={folder}/b", f"--input_data_pattern={pattern}", "--output_file=s.csv"]
    with pytest.raises(UserError, match="--embeddings_join belongs to --embeddings_file, which is not given"):
        command_line.call(inference, [*arguments, "--embeddings_join=mean"])
