"""Joined outputs against plain definitions, fitted weights, and what is refused."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import command_line
from youtube8m_mod.ensemble import __main__ as command
from youtube8m_mod.ensemble import fitting, predictions, submissions
from youtube8m_mod.ensemble.joining import join_files
from youtube8m_mod.errors import UserError
from youtube8m_mod.evaluation.mean_average_precision import evaluate
from youtube8m_mod.evaluation.rated_labels import RatedLabels
from youtube8m_mod.formats.predictions import read_predictions


def write(path, text):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def plain_join(members, weights, method):
    """The definition, class by class, on dicts."""
    result = {}
    for label in {label for own in members for label in own}:
        terms = []
        for own, weight in zip(members, weights):
            if method == "rank" and label in own:
                above = sum(value > own[label] for value in own.values())
                equal = sum(value == own[label] for value in own.values())
                terms.append(weight * (len(own) + 1 - (above + (equal + 1) / 2)) / len(own))
            elif method == "geometric":
                terms.append(own[label] ** weight if label in own else None)
            else:
                terms.append(weight * own.get(label, 0.0))
        if method != "geometric":
            result[label] = sum(terms)
        elif None not in terms:
            result[label] = np.prod(terms)
    return result


MEMBER = st.dictionaries(st.integers(0, 12), st.sampled_from([0.0, 0.001, 0.25, 0.5, 0.9, 1.0]), max_size=8)


@settings(max_examples=60)
@given(
    members=st.lists(MEMBER, min_size=2, max_size=4),
    raw=st.lists(st.floats(0.1, 1), min_size=4, max_size=4),
    method=st.sampled_from(predictions.METHODS),
)
def test_scores_follow_the_definition(members, raw, method):
    weights = np.array(raw[: len(members)]) / sum(raw[: len(members)])
    arrays = [(np.array(list(own), np.int64), np.array(list(own.values()), np.float64)) for own in members]
    classes, scores = predictions.join_scores(arrays, weights, method)
    expected = plain_join(members, weights, method)
    assert classes.tolist() == sorted(expected)
    np.testing.assert_allclose(scores, [expected[label] for label in sorted(expected)], rtol=1e-9, atol=1e-12)


def plain_lists(lists, weights, cap):
    seen = list(dict.fromkeys(segment for own in lists for segment in own))
    ranks = {s: sum(w * (own.index(s) if s in own else len(own)) for own, w in zip(lists, weights)) for s in seen}
    return sorted(seen, key=lambda s: round(ranks[s], 6))[:cap]


SEGMENTS = [f"{video}:{start}" for video in ("a", "bcde", "f" * 11, "ff" * 11) for start in (0, 5, 100)]


@settings(max_examples=60)
@given(
    lists=st.lists(st.lists(st.sampled_from(SEGMENTS), unique=True), min_size=2, max_size=3),
    cap=st.integers(1, 14),
    same_hash=st.booleans(),
)
def test_lists_follow_the_mean_rank(lists, cap, same_hash):
    weights = np.array([0.5, 0.25, 0.25][: len(lists)])
    with pytest.MonkeyPatch.context() as patch:
        if same_hash:  # Different ids that share a key are still told apart.
            patch.setattr(submissions.IdList, "_hash", lambda ids: np.full(len(ids._starts), 7, np.uint64))
        joined = submissions.join_lists([" ".join(own).encode() for own in lists], weights, cap)
    assert joined.decode().split() == plain_lists(lists, weights, cap)


def test_the_authors_example(tmp_path):
    """prod s^w over the classes that all list, best first: their script on two lines, by hand."""
    first = write(tmp_path / "a.csv", "VideoId,LabelConfidencePairs\nx,3 0.9 5 0.4 7 0.1\ny,1 0.5\n")
    second = write(tmp_path / "b.csv", "VideoId,LabelConfidencePairs\nx,5 0.8 3 0.2\ny,1 0.125 2 0.9\n")
    join_files([first, second], str(tmp_path / "out.csv"), weights=[0.3, 0.7])
    found = [(line, classes.tolist(), values) for line, classes, values in read_predictions(tmp_path / "out.csv")]
    assert [line[:2] for line in found] == [("x", [5, 3]), ("y", [1])]
    np.testing.assert_allclose(found[0][2], [0.4**0.3 * 0.8**0.7, 0.9**0.3 * 0.2**0.7], rtol=1e-8)
    np.testing.assert_allclose(found[1][2], [0.5**0.3 * 0.125**0.7], rtol=1e-8)


def test_files_of_another_order_give_the_same(tmp_path):
    lines = ["x,3 0.9\n", "y,1 0.5 2 0.25\n", "z,4 0.5\n"]
    first = write(tmp_path / "a.csv", "".join(lines))
    ordered = write(tmp_path / "b.csv", "".join(lines))
    other = write(tmp_path / "c.csv", "".join(reversed(lines)))
    for name, second in (("1.csv", ordered), ("2.csv", other)):
        join_files([first, second], str(tmp_path / name), method="arithmetic")
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()
    assert (tmp_path / "1.csv").read_text().splitlines()[1:] == ["x,3 0.9", "y,1 0.5 2 0.25", "z,4 0.5"]


@pytest.mark.parametrize("kind", ("submission", "predictions"))
def test_files_that_a_spreadsheet_or_gzip_wrote_and_how_far_they_are_read(tmp_path, capsys, kind):
    lines = {
        "submission": ["Class,Segments", "1,x:0 y:5", "4,z:0"],
        "predictions": ["VideoId,Pairs", "x,1 0.5", "y,2 1"],
    }
    first = write(tmp_path / "a.csv", "\n".join(lines[kind][1:]) + "\n")
    quoted = [",".join(f'"{cell}"' for cell in line.split(",")) for line in lines[kind]]
    header = kind == "submission"
    second = write(tmp_path / "b.csv", "\ufeff" + "\r\n".join(quoted if header else quoted[1:]) + "\r\n")
    with gzip.open(tmp_path / "c.csv.gz", "wt") as file:
        file.write("\n".join(lines[kind][not header :]))
    report = join_files([first, second, f"{tmp_path}/c.csv.gz"], f"{tmp_path}/out.csv")
    assert report["kind"] == kind and report["lines"] == 2
    assert "joining: 100%" in capsys.readouterr().err


def test_a_class_that_one_submission_lacks(tmp_path):
    first = write(tmp_path / "a.csv", "Class,Segments\n1,x:0 y:5\n3,x:5\n")
    second = write(tmp_path / "b.csv", "Class,Segments\n1,y:5 x:0\n2,z:0\n3,\n")
    command.FLAGS.unparse_flags()
    command_line.call(command, [f"--inputs={first},{second}", f"--output_file={tmp_path}/out.csv", "--weights=1,3"])
    assert (tmp_path / "out.csv").read_text() == "Class,Segments\n1,y:5 x:0\n2,z:0\n3,x:5\n"
    report = json.loads((tmp_path / "out.json").read_text())
    assert [row["weight"] for row in report["members"]] == [0.25, 0.75] and report["lines"] == 3


def test_fitted_weights_of_submissions(tmp_path):
    """A member that ranks at random gets no say, and the MAP is that of the evaluator on the joined file."""
    random = np.random.default_rng(3)
    segments = [f"v{i:03d}:0" for i in range(60)]
    good, noise, ratings = [], [], {}
    for label in range(4):
        positive = random.permutation(segments)[:20].tolist()
        ratings[label] = {s.encode(): s in positive for s in segments}
        ranked = sorted(segments, key=lambda s: (s not in positive) + 0.8 * random.random())
        good.append(f"{label},{' '.join(ranked)}\n")
        noise.append(f"{label},{' '.join(random.permutation(segments))}\n")
    paths = [write(tmp_path / "good.csv", "".join(good)), write(tmp_path / "noise.csv", "".join(noise))]
    labels = RatedLabels(ratings)
    objective = fitting.map_of_submissions(paths, labels)
    fitted = fitting.fit(objective, 2, "MAP")
    assert fitted.weights[0] > 0.7 and fitted.score >= fitted.equal_score
    assert fitted.score >= max(fitted.alone) and fitted.without[1] == fitted.alone[0]
    for weights in (fitted.weights, np.array([0.5, 0.5]), np.array([1.0, 0.0])):
        submissions.write_joined(tmp_path / "out.csv", paths, weights, 100_000)
        assert evaluate(tmp_path / "out.csv", labels).map == pytest.approx(objective(weights), abs=1e-12)


def test_fitted_weights_of_predictions(tmp_path):
    random = np.random.default_rng(4)
    labels = {f"v{i}": random.permutation(6)[:2] for i in range(30)}
    good, noise = [], []
    for video_id, own in labels.items():
        truth = np.isin(np.arange(6), own)
        good.append(
            f"{video_id}," + " ".join(f"{c} {v:.4f}" for c, v in enumerate(0.4 * truth + 0.5 * random.random(6)))
        )
        noise.append(f"{video_id}," + " ".join(f"{c} {v:.4f}" for c, v in enumerate(random.random(6))))
    paths = [write(tmp_path / "a.csv", "\n".join(good) + "\n"), write(tmp_path / "b.csv", "\n".join(noise) + "\n")]
    for method in predictions.METHODS:
        fitted = fitting.fit(fitting.gap_of_predictions(paths, labels, method), 2, "GAP")
        assert fitted.weights[0] > 0.6 and fitted.score >= max(fitted.alone)


@pytest.mark.parametrize(
    "texts, options, message",
    [
        (
            ["x,1 0.5\n", "1,x:0\n"],
            {},
            "expected files of one kind, got .*a.csv \\(predictions\\), .*b.csv \\(submission",
        ),
        (["x,1 0.5\n", "y,1 0.5\n"], {}, 'b.csv lacks the id "x" of .*a.csv'),
        (["x,1 0.5\n", "x,1 0.5\ny,1 0.5\n"], {}, 'a.csv lacks the id "y" of .*b.csv'),
        (["x,1 0.5\nx,1 0.5\n", "x,1 0.5\n"], {}, 'a.csv: the id "x" is listed twice'),
        (["x,1 0.5\n", "x,1 0.5\nx,1 0.6\n"], {}, 'b.csv: the id "x" is listed twice'),
        (["x,1 0.5\n", ""], {}, "b.csv is empty"),
        (["1,x:0\n", "1,x:0 x:0\n"], {}, 'Class 1: the id "x:0" is listed twice'),
        (["1,x:0\n", "1,x:0 y\n"], {}, 'Class 1: the id "y" is not <video id>:<start>'),
        (["2,x:0\n1,x:0\n", "1,x:0\n"], {}, "a.csv, line 2: expected classes in ascending order"),
        (["1,x:0\n", "1,x:0\n"], {"method": "geometric"}, "submissions hold no probabilities"),
        (["x,1 0.5\n", "x,1 0.5\n"], {"weights": [1]}, "--weights: expected 2 numbers"),
        (["x,1 0.5\n", "x,1 0.5\n"], {"weights": [0, 0]}, "--weights: expected numbers of at least 0, not all 0"),
        (["x,1 0.5\n", "x,1 0.5\n"], {"weights": [1, float("nan")]}, "--weights: expected numbers"),
    ],
)
def test_what_is_refused(tmp_path, texts, options, message):
    paths = [write(tmp_path / name, text) for name, text in zip(("a.csv", "b.csv"), texts)]
    with pytest.raises(UserError, match=message):
        join_files(paths, str(tmp_path / "out.csv"), **options)
    assert not (tmp_path / "out.csv").exists()


def test_files_that_cannot_be_members(tmp_path):
    path = write(tmp_path / "a.csv", "x,1 0.5\n")
    with pytest.raises(UserError, match="at least two different files"):
        join_files([path, path], str(tmp_path / "out.csv"))
    other = write(tmp_path / "b.csv", "x,1 0.5\n")
    with pytest.raises(UserError, match="--output_file would take the place of a file of --inputs"):
        join_files([path, other], other)


def test_outputs_take_no_other_file_s_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.json"):
        (tmp_path / name).write_text("x,1 0.5\n")
    for output, report in (("c.json", None), ("b.csv", None), ("c.csv", f"{tmp_path}/a.csv")):
        with pytest.raises(UserError, match="--report_file would take the place of (a file of --inputs|--output_file)"):
            join_files(["a.csv", "b.json"], output, report_file=report)
    with pytest.raises(UserError, match="expected at least two different files"):
        join_files(["a.csv", "./a.csv"], "c.csv")
    with pytest.raises(UserError, match="--label_cache holds rated segments: weights of video predictions"):
        join_files(["a.csv", "b.json"], "c.csv", fit_on="x", label_cache="y")
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.json").read_text() == "x,1 0.5\n"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_kinds_are_told_as_lines_are_read(tmp_path, encoding):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_bytes('"Class","Segments"\r\n3,"a:0 b:5"\r\n'.encode(encoding))
    report = join_files([f"{tmp_path}/a.csv", f"{tmp_path}/b.csv"], f"{tmp_path}/c.csv")
    assert report["kind"] == "submission" and (tmp_path / "c.csv").read_text() == "Class,Segments\n3,a:0 b:5\n"
