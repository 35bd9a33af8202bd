"""The runner, with functions in place of models."""

import dataclasses
import os
import re

import numpy as np
import pandas
import pytest

from tests import golden_data
from youtube8m_mod import config
from youtube8m_mod.data import records
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.errors import UserError
from youtube8m_mod.formats.class_lists import read_class_ids
from youtube8m_mod.formats.predictions import read_predictions
from youtube8m_mod.formats.submission import read_submission
from youtube8m_mod.inference import localizer as localizer_module
from youtube8m_mod.inference.localizer import Localizer, Outputs
from youtube8m_mod.inference.pieces import Parts
from youtube8m_mod.localization.ranked_lists import LocalizationConfig

CLASSES, SIZE = 12, 3
MODEL = config.ModelConfig(
    "test", pooling="dbof", feature_names=("rgb",), feature_sizes=(SIZE,), num_classes=CLASSES, max_frames=23
)
CLASS_IDS = [1, 4, 5, 9]
CONFIG = LocalizationConfig(top_k=5, segment_max_pred=40)


class FakeModel:
    """Probabilities that depend on the frames that are present."""

    def __init__(self, classes, fail_after=None):
        self.weights = np.random.default_rng(1).normal(size=(SIZE, CLASSES))[:, classes] / 60
        self.fail_after, self.calls = fail_after, 0

    def __call__(self, features, num_frames, present_frames):
        self.calls += 1
        if self.fail_after is not None and self.calls > self.fail_after:
            raise KeyboardInterrupt
        features = np.asarray(features, np.float64)
        mask = np.arange(features.shape[1]) < np.asarray(present_frames)[:, np.newaxis]
        mean = (features * mask[..., np.newaxis]).sum(1) / np.asarray(num_frames)[:, np.newaxis]
        return (1 / (1 + np.exp(-mean @ self.weights))).astype(np.float32)


def write_videos(folder, counts=(3, 1, 4, 2)):
    rng = np.random.default_rng(0)
    number = 0
    for shard, count in enumerate(counts):
        shard_records = []
        for _ in range(count):
            frames = rng.integers(0, 256, (int(rng.integers(1, 30)), SIZE), np.uint8)
            shard_records.append(records.frame_level_record(f"v{number * 7 % 31:02d}", [1], {"rgb": frames}))
            number += 1
        records.write_shard(f"{folder}/x{shard}.tfrecord", shard_records)


@pytest.fixture
def data(tmp_path):
    write_videos(tmp_path)
    return f"{tmp_path}/x*.tfrecord"


def outputs_in(folder):
    names = "submission.csv", "videos.csv", "segments.csv", "concepts.csv"
    return Outputs(*(f"{folder}/{name}" for name in names))


def localizer(data, outputs, settings=CONFIG, video=None, segment=None, **options):
    return Localizer(
        Reader(data, MODEL),
        CLASS_IDS,
        settings,
        outputs,
        video or FakeModel(range(CLASSES)),
        segment or FakeModel(CLASS_IDS),
        {"model": "fake"},
        **options,
    )


def contents(outputs):
    return [open(path, "rb").read() for path in dataclasses.astuple(outputs)]


@pytest.fixture(scope="module")
def at_once(tmp_path_factory):
    """The `Outputs` of a run over the files of `data` that nothing disturbed."""
    folder = tmp_path_factory.mktemp("at_once")
    write_videos(folder)
    outputs = outputs_in(folder / "out")
    counts = localizer(f"{folder}/x*.tfrecord", outputs).run()
    assert counts["videos"] == 10
    assert not os.path.exists(outputs.parts_folder)
    return outputs


@pytest.fixture
def expected(at_once):
    return contents(at_once)


def test_batches_and_groups_do_not_matter(data, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(localizer_module, "_GROUP_BYTES", 1)
    outputs = outputs_in(tmp_path / "other")
    localizer(data, outputs, batch_size=3, segment_batch_size=4).run()
    assert contents(outputs) == expected


class Pool:
    """Localises groups from the last to the first, with a `Localizer` of its own."""

    files_done_again = 0

    def __init__(self, worker, fail_after=None):
        self.worker, self.fail_after = worker, fail_after

    def localize(self, groups):
        for number, group in enumerate(reversed(groups)):
            if number == self.fail_after:
                raise KeyboardInterrupt
            yield group, self.worker.localize(group)


def test_a_pool_gives_the_same_bytes_in_any_order_and_with_interruptions(data, expected, tmp_path):
    outputs = outputs_in(tmp_path / "pool")
    driver = Localizer(Reader(data, MODEL), CLASS_IDS, CONFIG, outputs, None, None, {"model": "fake"}, group_bytes=1)
    with pytest.raises(KeyboardInterrupt):
        driver.run(Pool(localizer(data, outputs), fail_after=1))
    assert len(Parts(outputs.parts_folder, driver._settings()).done()) == 1
    assert driver.run(Pool(localizer(data, outputs)))["videos"] == 10 - 2
    assert contents(outputs) == expected
    assert not os.path.exists(outputs.parts_folder)


def test_a_rerun_continues_where_it_stopped(data, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(localizer_module, "_GROUP_BYTES", 1)
    outputs = outputs_in(tmp_path / "again")
    with pytest.raises(KeyboardInterrupt):
        localizer(data, outputs, segment=FakeModel(CLASS_IDS, fail_after=2)).run()
    assert not any(os.path.exists(path) for path in dataclasses.astuple(outputs))
    assert len(Parts(outputs.parts_folder, localizer(data, outputs)._settings()).done()) == 2
    counts = localizer(data, outputs).run()
    assert counts["videos"] == 4 + 2
    assert contents(outputs) == expected


def test_pieces_of_another_run_are_refused(data, tmp_path):
    outputs = outputs_in(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        localizer(data, outputs, segment=FakeModel(CLASS_IDS, fail_after=0)).run()
    other = dataclasses.replace(CONFIG, video_exponent=0.5)
    with pytest.raises(UserError, match="pieces of another run, which differs in localization; remove the folder"):
        localizer(data, outputs, settings=other).run()


def test_the_outputs_are_what_the_definition_says(data, at_once):
    """Every number again, video by video, in plain Python."""
    video_model, segment_model = FakeModel(range(CLASSES)), FakeModel(CLASS_IDS)
    values, fallback, lines = {c: {} for c in CLASS_IDS}, {c: {} for c in CLASS_IDS}, {}
    for batch in Reader(data, MODEL).read(1):
        frames = int(batch["num_frames"][0])
        video_id = batch["ids"].numpy()[0].decode()
        features = batch["features"].numpy()[:, :frames]
        video = video_model(features, [frames], [frames])[0]
        top = np.argsort(-video)[: CONFIG.top_k]
        for start in range(0, frames, 5):
            part = features[:, start : start + 5]
            scores = segment_model(np.pad(part, ((0, 0), (0, 5 - part.shape[1]), (0, 0))), [5], [part.shape[1]])[0]
            lines[f"{video_id}:{start}"] = dict(zip(CLASS_IDS, scores))
            for c, score in zip(CLASS_IDS, scores):
                if start + 5 <= frames:
                    fallback[c][f"{video_id}:{start}"] = (-video[c], video_id, start)
                    if c in top:
                        values[c][f"{video_id}:{start}"] = (
                            -np.float32(np.float64(video[c]) ** 0.05 * np.float64(score) ** 0.95),
                            video_id,
                            start,
                        )
    lists = {
        int(name): ids.decode().split() for _, name, ids in read_submission(at_once.submission) if name != b"Class"
    }
    assert list(lists) == CLASS_IDS
    assert any(lists.values())
    for c in CLASS_IDS:
        ranked = sorted(values[c], key=values[c].get)
        filled = ranked + [s for s in sorted(fallback[c], key=fallback[c].get) if s not in values[c]] if ranked else []
        assert lists[c] == filled[: CONFIG.segment_max_pred]
    written = {
        name: dict(zip(classes.tolist(), values.tolist()))
        for name, classes, values in read_predictions(at_once.segment_predictions)
    }
    assert list(written) == sorted(written, key=lambda name: (name.split(":")[0], int(name.split(":")[1])))
    assert written.keys() == lines.keys()
    for name, pairs in lines.items():
        assert written[name] == pytest.approx(pairs, abs=1e-6)


def test_without_fill_lists_hold_candidates_only(data, tmp_path):
    outputs = Outputs(f"{tmp_path}/s.csv")
    localizer(data, outputs, dataclasses.replace(CONFIG, fill=False)).run()
    filled = Outputs(f"{tmp_path}/f.csv")
    localizer(data, filled).run()
    short, full = ([ids.split() for _, _, ids in read_submission(path.submission)][1:] for path in (outputs, filled))
    assert all(f[: len(s)] == s for s, f in zip(short, full)) and any(len(s) < len(f) for s, f in zip(short, full))


def test_a_model_that_gives_no_number_is_named(data, tmp_path):
    bad = FakeModel(CLASS_IDS)
    bad.weights[:] = np.nan
    with pytest.raises(UserError, match="The model gives no number for video v00"):
        localizer(data, Outputs(f"{tmp_path}/s.csv"), segment=bad).run()


def test_bad_records_are_skipped_and_judged_over_all_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(localizer_module, "_GROUP_BYTES", 1)
    frames = {"rgb": np.zeros((7, SIZE), np.uint8)}
    for shard in range(3):
        good = [records.frame_level_record(f"{shard}-{i}", [1], frames) for i in range(50)]
        bad = records.frame_level_record("", [1], frames)
        records.write_shard(f"{tmp_path}/x{shard}.tfrecord", good + [bad] * (shard == 1))
    (tmp_path / "x9.tfrecord").touch()

    def run(share):
        monkeypatch.setattr(localizer_module, "_MAX_BAD_SHARE", share)
        reader = Reader(f"{tmp_path}/x*.tfrecord", MODEL, skip_bad_records=True, max_bad_share=1)
        return Localizer(
            reader, CLASS_IDS, CONFIG, Outputs(f"{tmp_path}/s.csv"), FakeModel(range(CLASSES)), FakeModel(CLASS_IDS), {}
        ).run()

    with pytest.raises(UserError, match="1 of 151 records were bad, more than the share 0.001"):
        run(0.001)
    assert "warning: Skipped 1 bad of 51 records" in capsys.readouterr().err
    assert run(0.01)["videos"] == 0  # All was done already.
    assert os.path.exists(tmp_path / "s.csv")


def test_a_video_in_two_files_is_named(data, tmp_path, monkeypatch):
    monkeypatch.setattr(localizer_module, "_GROUP_BYTES", 1)
    os.link(tmp_path / "x1.tfrecord", tmp_path / "x9.tfrecord")
    for outputs in (Outputs(f"{tmp_path}/s.csv"), Outputs(video_predictions=f"{tmp_path}/v.csv")):
        with pytest.raises(UserError, match="Video v21 occurs twice in the input"):
            localizer(data, outputs).run()


def test_an_output_at_least():
    with pytest.raises(UserError, match="At least one output"):
        Outputs()
    with pytest.raises(UserError, match="--segment_predictions_file would take the place of --output_file, ./a.csv"):
        Outputs("a.csv", "b.csv", "./a.csv")


def test_video_level_records_have_no_segments(tmp_path):
    records.write_shard(f"{tmp_path}/x.tfrecord", [records.video_level_record("a", [1], mean_rgb=[0.1, 0.2, 0.3])])
    with pytest.raises(UserError, match="Segments need frame-level records"):
        localizer(f"{tmp_path}/x.tfrecord", outputs_in(tmp_path))
    localizer(f"{tmp_path}/x.tfrecord", Outputs(video_predictions=f"{tmp_path}/v.csv"), segment=False).run()
    assert [name for name, _, _ in read_predictions(tmp_path / "v.csv")] == ["a"]


@pytest.mark.parametrize("text, expected", [("Index\n5\n3\n", [3, 5]), ("7\r\n\n7\n", [7])])
def test_class_ids(tmp_path, text, expected):
    (tmp_path / "ids.csv").write_text(text)
    assert read_class_ids(tmp_path / "ids.csv", 12) == expected


@pytest.mark.parametrize(
    "text, message",
    [
        ("Index\n3\nfive\n", 'line 3: expected a class from 0 to 11, got "five"'),
        ("12\n", "line 1: .* 0 to 11"),
        ("-1\n3", "line 1"),
        ("Index\n", "holds no class"),
    ],
)
def test_wrong_class_ids(tmp_path, text, message):
    (tmp_path / "ids.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_class_ids(tmp_path / "ids.csv", 12)


_TOLERANCE = 1e-5  # Absolute, on probabilities; what the original supports (golden README).
GOLDEN = golden_data.item("segment_inference")
INFERENCE = GOLDEN.info["inference"]


def golden_model(features, num_frames, present_frames):
    """The stand-in model of golden item 8."""
    scale = np.float32(re.search(r"\*\s*float32\(([-+.\de]+)\)", INFERENCE["W"])[1])
    weights = GOLDEN.normal("inference/W", (features.shape[2], INFERENCE["vocab"])) * scale
    frames = records.dequantize(features)
    frames[np.arange(frames.shape[1]) >= np.asarray(present_frames)[:, np.newaxis]] = 0
    logits = frames.mean(axis=1, dtype=np.float32) @ weights
    return (1 / (1 + np.exp(-logits)))[:, INFERENCE["whitelist"]]


@pytest.mark.parametrize("name", INFERENCE["runs"])
def test_golden_inference(name, tmp_path):
    run = INFERENCE["runs"][name]
    values = dict(part.split("=") for part in name.split(","))
    settings = LocalizationConfig(
        top_k=int(values["top_k"]), segment_max_pred=int(values["segment_max_pred"]), candidates=False
    )
    outputs = Outputs(f"{tmp_path}/s.csv", segment_predictions=f"{tmp_path}/lines.csv")
    class_ids = read_class_ids(golden_data.path("segment_inference_label_ids.csv"), 3862)
    assert class_ids == INFERENCE["whitelist"]
    names = [name for name in golden_data.item("reader").info["files"] if "error" not in name]
    reader = Reader(",".join(map(golden_data.path, names)), config.MODELS["nextvlad"])
    counts = Localizer(reader, class_ids, settings, outputs, None, golden_model, {}).run()
    assert counts["segments"] == run["num_segments"]
    lines, expected = (
        {line_id: dict(zip(classes.tolist(), values.tolist())) for line_id, classes, values in read_predictions(path)}
        for path in (outputs.segment_predictions, golden_data.path(run["lines"]))
    )
    assert lines.keys() == expected.keys()
    for line_id, pairs in expected.items():
        assert lines[line_id] == pytest.approx(pairs, abs=_TOLERANCE)
        for ours, theirs in zip(lines[line_id], pairs):
            assert ours == theirs or pairs[ours] == pytest.approx(pairs[theirs], abs=_TOLERANCE)
    lists, expected_lists = (
        {int(c): ids.decode().split() for _, c, ids in read_submission(path) if c != b"Class"}
        for path in (outputs.submission, golden_data.path(run["csv"]))
    )
    assert len(expected_lists) == run["num_classes"]
    assert lists.keys() == expected_lists.keys()
    for c, expected_list in expected_lists.items():
        assert len(lists[c]) == len(set(lists[c])) == len(expected_list)
        for ours, theirs in zip(lists[c], expected_list):  # The original ranks probabilities of six digits.
            assert ours == theirs or expected[ours][c] == pytest.approx(expected[theirs][c], abs=_TOLERANCE)


def test_the_timeline_holds_the_values_of_neighbouring_segments(data, tmp_path):
    """Of candidates those of Eq. 1, from what the predictions of videos and segments say."""
    whole = dataclasses.replace(CONFIG, top_k=CLASSES)  # So that the predictions hold all classes.
    for settings in (whole, dataclasses.replace(CONFIG, candidates=False)):
        folder = tmp_path / str(settings.candidates)
        outputs = outputs_in(folder)
        localizer(data, outputs, settings, timeline_threshold=0.45, label_names={4: "four, or more"}).run()
        videos = {video_id: dict(zip(*found)) for video_id, *found in read_predictions(outputs.video_predictions)}
        values = {}
        for segment_id, classes, probabilities in read_predictions(outputs.segment_predictions):
            video_id, _, start = segment_id.rpartition(":")
            for class_id, probability in zip(classes.tolist(), probabilities):
                if settings.candidates:
                    probability = videos[video_id][class_id] ** 0.05 * probability**0.95
                values[video_id, int(start), class_id] = probability
        table = pandas.read_csv(outputs.timeline)
        told = set()
        for row in table.itertuples():
            starts = range(row.start, row.end, 5)
            found = [values[row.video, start, row[4]] for start in starts]
            told |= {(row.video, start, row[4]) for start in starts}
            assert row.probability == pytest.approx(np.mean(found), rel=1e-5)
            assert row.name == "four, or more" if row[4] == 4 else np.isnan(row.name)
            for outside in (row.start - 5, 5 * len(starts) + row.start):
                assert values.get((row.video, outside, row[4]), 0) < 0.45
        assert told == {key for key, value in values.items() if value >= 0.45}
        assert table["video"].is_monotonic_increasing and 5 < len(table) < len(values)
        assert (table["end"] % 5 > 0).any()  # A last segment that is not whole ends with its video.


def test_a_track_for_each_video(data, tmp_path):
    localizer(data, Outputs(timeline=f"{tmp_path}/tracks.vtt"), timeline_threshold=1).run()
    assert len(os.listdir(tmp_path / "tracks.vtt")) == 10
    assert (tmp_path / "tracks.vtt" / "v00.vtt").read_text() == "WEBVTT\n"
    assert not os.path.exists(tmp_path / "tracks.vtt.parts")


def test_another_threshold_is_another_run(data, tmp_path):
    outputs = Outputs(timeline=f"{tmp_path}/concepts.csv")
    with pytest.raises(KeyboardInterrupt):
        localizer(data, outputs, segment=FakeModel(CLASS_IDS, fail_after=0)).run()
    with pytest.raises(UserError, match="differs in timeline_threshold"):
        localizer(data, outputs, timeline_threshold=0.6).run()


def test_segments_with_the_candidates_of_their_video(data, tmp_path):
    """Each segment has a probability of each candidate: the same as where all classes are listed."""
    found = {}
    for name, changes in (("all", {"top_k": CLASSES}), ("candidates", {"segment_candidates": True})):
        outputs = outputs_in(tmp_path / name)
        localizer(data, outputs, dataclasses.replace(CONFIG, **changes)).run()
        found[name] = {key: dict(zip(*values)) for key, *values in read_predictions(outputs.segment_predictions)}
    videos = {video_id: set(classes) for video_id, classes, _ in read_predictions(outputs.video_predictions)}
    for segment_id, values in found["candidates"].items():
        assert values.keys() == videos[segment_id.rpartition(":")[0]] & set(CLASS_IDS)
        assert values.items() <= found["all"][segment_id].items()
    assert found["candidates"].keys() == found["all"].keys()
    with pytest.raises(UserError, match="segment_candidates asks for candidates"):
        dataclasses.replace(CONFIG, candidates=False, segment_candidates=True)
