"""The smallest row, from an empty folder to the report."""

import dataclasses
import json

import numpy as np
import pytest

from youtube8m_mod import files
from youtube8m_mod.errors import UserError
from youtube8m_mod.evaluation.mean_average_precision import evaluate
from youtube8m_mod.formats.submission import write_submission
from youtube8m_mod.localization.ranked_lists import Localization, LocalizationConfig
from youtube8m_mod.reproduce import data, report, schedule, scoring
from youtube8m_mod.reproduce.place import Place
from youtube8m_mod.reproduce.rows import ROWS, TRAININGS
from youtube8m_mod.reproduce.scale import QUICK

TINY = dataclasses.replace(
    QUICK,
    name="tiny",
    train_videos=40,
    test_videos=20,
    videos_per_shard=10,
    min_frames=15,
    max_frames=20,
    num_classes=40,
    num_segment_classes=10,
    feature_sizes=(16, 8),
    clusters=8,
    hidden_size=8,
    pretrain_steps=4,
    pretrain_batch=16,
)


@pytest.fixture(scope="module")
def reproduction(tmp_path_factory):
    place = Place(str(tmp_path_factory.mktemp("reproduction")), TINY)
    results = schedule.Results(place.output_dir, {"scale": "tiny"})
    tasks = schedule.needed([[ROWS["dummy"].training]], [7])
    assert tasks == [("pretrain_nextvlad", 7)]
    schedule.run_all(place, tasks, results, jobs=1)
    return place, results, tasks


def test_the_row_has_a_score_and_its_settings(reproduction):
    _, results, _ = reproduction
    entry = results.entries["pretrain_nextvlad/7"]
    assert 0 < entry["scores"]["test"]["video"] <= 1
    assert entry["phase"]["max_steps"] == entry["history"][-1]["step"] == 4
    assert entry["examples"] == 40 and entry["model"]["num_classes"] == 40


def test_a_finished_row_is_not_trained_again(reproduction):
    place, results, tasks = reproduction
    again = schedule.Results(place.output_dir, {"scale": "tiny"})
    assert again.entries == results.entries
    schedule.run_all(place, tasks, again, jobs=1)
    assert again.entries == results.entries  # Its seconds would differ.
    with pytest.raises(UserError, match="was made with another scale"):
        schedule.Results(place.output_dir, {"scale": "other"})


def test_flags_that_failed_before_there_was_anything_bind_nobody(tmp_path):
    for bank in ("wrong", "right"):
        assert schedule.Results(str(tmp_path), {"bank": bank}).content["settings"] == {"bank": bank}
    (tmp_path / "data").mkdir()
    schedule.Results(str(tmp_path), {"bank": "another"})
    (tmp_path / "data" / "bank.tfrecord").touch()
    with pytest.raises(UserError, match="was made with another bank"):
        schedule.Results(str(tmp_path), {"bank": "right"})
    for content in ("[]", '{"rows": []}', '{"settings": {}, "entries": 3}'):
        (tmp_path / "results.json").write_text(content)
        with pytest.raises(UserError, match="results.json is not the results of a reproduction"):
            schedule.Results(str(tmp_path), {"bank": "right"})


def test_the_report_is_one_file_with_the_numbers(reproduction):
    place, results, _ = reproduction
    text = report.write(place, results, [7])
    score = results.entries["pretrain_nextvlad/7"]["scores"]["test"]["video"]
    assert f"{score:.4f}" in text
    with files.open_file(f"{place.output_dir}/report.html") as file:
        page = file.read()
    assert f"{score:.4f}" in page and "0.64809" in page
    assert "http" not in page.replace("http-equiv", "")  # Opens offline.
    tables = json.loads(open(f"{place.output_dir}/tables.json", encoding="utf-8").read())["tables"]
    assert tables["MAP@100,000 of Tables 1 and 2 in miniature"][0]["MAP"] == f"{score:.4f}"


def test_memory_reader_gives_each_example_once_a_pass():
    arrays = {"ids": np.array([b"%d" % i for i in range(10)]), "labels": np.arange(10)[:, np.newaxis]}
    reader = data.MemoryReader(arrays)

    def read(**options):
        return [batch["labels"].numpy()[:, 0].tolist() for batch in reader.read(4, **options).dataset]

    assert read() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    first, second = read(seed=1, epoch=0), read(seed=1, epoch=1)
    assert first != second and sorted(sum(first, [])) == sorted(sum(second, [])) == list(range(10))
    assert read(seed=1, epoch=0) == first
    assert read(seed=1, epoch=0, skip_batches=1) == first[1:]


def test_gap_by_hand():
    labels = np.zeros((2, 30), np.uint8)
    labels[0, [1, 2]] = labels[1, 3] = 1
    probabilities = np.linspace(0.01, 0.02, 60).reshape(2, 30)
    probabilities[0, 1], probabilities[1, 5], probabilities[1, 3] = 0.9, 0.8, 0.7  # Right, wrong, right.
    probabilities[0, 2] = 0  # Not among the 20 best.
    assert scoring.gap(labels, probabilities) == pytest.approx((1 + 2 / 3) / 3)


def test_lists_score_as_the_file_of_inference_would(reproduction, tmp_path):
    """A judge reads no file: what it says is what eval_map.py says of the submission of the same lists."""
    place, _, _ = reproduction
    training = TRAININGS["pretrain_nextvlad"]
    folder = place.dataset(training, 7)
    pattern = data.Partition(folder, TINY).test
    videos = data.load_for(TINY.model(training), pattern, False)
    judge = scoring.Judge(folder, pattern, videos, str(tmp_path), "test")
    random = np.random.default_rng(0)
    own = random.random((len(videos["ids"]), TINY.num_classes)).astype(np.float32)
    segments = random.random((len(judge.segments["starts"]), TINY.num_classes)).astype(np.float32)
    found = judge.map(own, segments)

    localization = Localization(judge.class_ids, LocalizationConfig())
    for number, video_id in enumerate(videos["ids"]):
        mine = segments[judge.segments["videos"] == number][:, judge.class_ids]
        localization.add(video_id, int(videos["num_frames"][number]), own[number], mine)
    path = str(tmp_path / "submission.csv")
    write_submission(path, judge.class_ids, localization.lists(), localization.video_ids(), localization.slots)
    result = evaluate(path, judge.labels, num_classes=TINY.num_classes)
    assert found == pytest.approx(result.map, rel=1e-12)
    assert len({class_result.average_precision for class_result in result.classes}) > 3


def test_random_order_scores_what_is_expected(reproduction):
    _, results, _ = reproduction
    scores = results.entries["pretrain_nextvlad/7"]["scores"]["test"]
    assert 0.3 < scores["random"] < 0.8 and scores["random"] != scores["video"]
