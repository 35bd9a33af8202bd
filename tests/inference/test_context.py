"""Windows moved in time, neighbours and the video in a segment's score: by the definition, segment by segment."""

import numpy as np
import pytest

from tests import command_line
from tests.inference import small_runs
from tests.inference.small_runs import logits, predictions, sigmoid
from youtube8m_mod.commands import inference
from youtube8m_mod.errors import UserError
from youtube8m_mod.inference.context import Context
from youtube8m_mod.inference.run import Inference


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(folder, model of videos, model of segments that started from it, {id: frames}, pattern)."""
    folder = tmp_path_factory.mktemp("runs")
    video = small_runs.save_model(folder / "p", False, seed=1)
    segment = small_runs.save_model(folder / "a", True, seed=3, started_from=folder / "p")
    return folder, video, segment, *small_runs.write_videos(folder)


def segment_predictions(runs, path, *flags):
    folder, _, _, _, pattern = runs
    arguments = [f"--train_dir={folder}/a", f"--input_data_pattern={pattern}", f"--segment_predictions_file={path}"]
    command_line.call(inference, [*arguments, "--nocandidates", "--top_k=20", *flags])
    return predictions(path)


def expected(runs, shifts=(0,), neighbours=0.0, video=0.0, reach=1):
    _, video_model, model, videos, _ = runs
    found = {}
    for name, frames in videos.items():
        last = len(frames) - 5
        own = []
        for start in range(0, len(frames), 5):
            windows = []
            for shift in shifts:
                moved = start + shift
                if moved < 0:
                    moved = 0
                if moved > last:  # It would reach past the end.
                    moved = min(moved, max(last, start))
                windows.append(logits(model, frames[moved : moved + 5]))
            own.append(np.mean(windows, axis=0))
        whole = logits(video_model, frames)
        for i, z in enumerate(own):
            others = [own[j] for j in range(i - reach, i + reach + 1) if j != i and 0 <= j < len(own)]
            around = np.mean(others, axis=0) if others else z
            mixed = (1 - neighbours - video) * z + neighbours * around + video * whole
            found[f"{name}:{5 * i}"] = sigmoid(mixed)
    return found


def check(found, wanted):
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, atol=2e-6, err_msg=name)


@pytest.mark.parametrize(
    "flags, options",
    [
        (["--segment_shifts=-2,0,1"], {"shifts": (-2, 0, 1)}),
        (["--segment_shifts=7"], {"shifts": (7,)}),
        (["--context=0.3,0"], {"neighbours": 0.3}),
        (["--context=0,0.25"], {"video": 0.25}),
        (
            ["--segment_shifts=-5,0,5", "--context=0.5,0.1", "--context_reach=3"],
            {"shifts": (-5, 0, 5), "neighbours": 0.5, "video": 0.1, "reach": 3},
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_by_the_definition(runs, tmp_path, flags, options):
    found = segment_predictions(runs, tmp_path / "s.csv", *flags, "--batch_size=4", "--segment_batch_size=3")
    check(found, expected(runs, **options))


def test_switched_off_the_bytes_are_those_without(runs, tmp_path):
    segment_predictions(runs, tmp_path / "without.csv")
    segment_predictions(runs, tmp_path / "off.csv", "--segment_shifts=0", "--context=0,0")
    assert (tmp_path / "without.csv").read_bytes() == (tmp_path / "off.csv").read_bytes()


def test_predictions_of_videos_stay_and_all_outputs_follow(runs, tmp_path):
    """Eq. 1 with the mixed scores, in the submission and the timeline as in the predictions."""
    folder, _, _, _, pattern = runs
    for name, options in {
        "plain": {},
        "context": {"segment_shifts": "-1,0,1", "context": "0.2,0.2", "timeline_file": f"{tmp_path}/t.csv"},
    }.items():
        small_runs.write_all(f"{folder}/a", pattern, tmp_path / name, fill=False, timeline_threshold=0.0, **options)
    plain, mixed = (predictions(tmp_path / f"{name} videos.csv") for name in ("plain", "context"))
    for video_id, values in plain.items():
        np.testing.assert_allclose(mixed[video_id], values, rtol=1e-6)
    segments = predictions(tmp_path / "context segments.csv")
    check(segments, expected(runs, (-1, 0, 1), 0.2, 0.2))
    for line in (tmp_path / "context.csv").read_text().splitlines()[1:]:
        label, listed = line.split(",")
        videos = [segment.split(":")[0] for segment in listed.split()]
        scores = [segments[segment][int(label)] for segment in listed.split()]
        values = [mixed[video][int(label)] ** 0.05 * score**0.95 for video, score in zip(videos, scores)]
        np.testing.assert_allclose(values, sorted(values, reverse=True), rtol=1e-5)
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 1 + 20 * len(small_runs.LENGTHS)


def test_several_models_with_context(runs, tmp_path):
    """Logits are averaged over models first, which changes nothing: all steps are linear in them."""
    folder, _, _, _, pattern = runs
    small_runs.save_model(tmp_path / "b", True, seed=8, started_from=folder / "p")
    found = []
    for train_dir in (f"{folder}/a", f"{tmp_path}/b", f"{folder}/a,{tmp_path}/b"):
        Inference(
            train_dir,
            pattern,
            segment_predictions_file=f"{tmp_path}/s.csv",
            candidates=False,
            top_k=20,
            segment_shifts="-2,2",
            context="0.2,0.2",
        ).run()
        found.append({name: np.log(p) - np.log1p(-p) for name, p in predictions(tmp_path / "s.csv").items()})
    for name, values in found[2].items():
        np.testing.assert_allclose(values, (found[0][name] + found[1][name]) / 2, atol=2e-4)


def test_windows_at_the_ends_of_a_video():
    context = Context((-2, 0, 2))
    assert context.windows(17).tolist() == [[0, 0, 2], [3, 5, 7], [8, 10, 12], [13, 15, 15]]
    assert context.windows(10).tolist() == [[0, 0, 2], [3, 5, 5]]
    assert context.windows(3).tolist() == [[0, 0, 0]]
    assert Context((99,)).windows(17).tolist() == [[12], [12], [12], [15]]


def test_other_settings_do_not_go_on_with_its_pieces(runs, tmp_path):
    folder, _, _, _, pattern = runs
    options = {"train_dir": f"{folder}/a", "input_data_pattern": pattern, "output_file": f"{tmp_path}/s.csv"}

    class Stopped:
        files_done_again = 0

        def localize(self, groups):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Inference(**options, segment_shifts="0,1").run(Stopped())
    with pytest.raises(KeyboardInterrupt):  # The same settings do.
        Inference(**options, segment_shifts="0,1").run(Stopped())
    for other in ({}, {"segment_shifts": "0,2"}, {"segment_shifts": "0,1", "context": "0.1,0"}):
        with pytest.raises(UserError, match="pieces of another run, which differs in context; remove"):
            Inference(**options, **other).run(Stopped())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"segment_shifts": "0,x"}, '--segment_shifts: expected seconds as in -1,0,1, got "0,x"'),
        ({"segment_shifts": "0.5"}, "expected seconds as in -1,0,1"),
        ({"segment_shifts": "1,0,1"}, "expected different seconds, got 1,0,1"),
        ({"context": "0.5"}, '--context: expected the shares .* got "0.5"'),
        ({"context": "0.5,a"}, "--context: expected the shares"),
        ({"context": "0.7,0.4"}, "together at most 1"),
        ({"context": "-0.1,0.4"}, "at least 0"),
        ({"context": "nan,0"}, "--context: expected the shares"),
        ({"context": "0.1,0", "context_reach": 0}, "context_reach must be at least 1"),
        ({"context": "0,0.1", "context_reach": 2}, "--context_reach belongs to --context"),
        ({"context": "0.1,0.1", "segment_exponent": 0.0}, "are for models that score segments: here none does"),
        ({"segment_shifts": "1", "output_file": None, "video_predictions_file": "v.csv"}, "here none does"),
    ],
)
def test_what_is_wrong_is_told(runs, tmp_path, options, message):
    folder, _, _, _, pattern = runs
    given = {"output_file": f"{tmp_path}/s.csv"} | options
    with pytest.raises(UserError, match=message):
        Inference(f"{folder}/a", pattern, **given).localizer()
