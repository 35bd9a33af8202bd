import gzip
import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import golden_data
from youtube8m_mod.errors import UserError
from youtube8m_mod.evaluation.mean_average_precision import average_precision, evaluate, random_order_average_precision
from youtube8m_mod.evaluation.rated_labels import RatedLabels, read_cache

ITEM = golden_data.item("map")
RESULTS = ITEM.info["results"]
STARTER = [key for key in RESULTS if "/top" in key]
AUTHOR = [key for key in RESULTS if re.fullmatch(r"MAPK/k\d+", key)]
SEGMENTS = [b"%s:%d" % (video, start) for video in (b"a", b"bc", b"long-video-id") for start in (0, 5, 100)]


def definition(lists, ratings, k):
    """MAP@K by Eq. (8): the list is cut first, unrated ids are dropped, N_c divides, an absent class scores 0."""
    terms = []
    for c, rated in ratings.items():
        if any(rated.values()):
            found, hits, term = 0, 0, 0.0
            for segment in (s for s in lists.get(c, [])[:k] if s in rated):
                found += 1
                hits += rated[segment]
                term += rated[segment] * hits / found
            terms.append(term / sum(rated.values()))
    return sum(terms) / len(terms) if terms else 0.0


@pytest.mark.parametrize("ratings, positives", [(1, 1), (5, 1), (5, 3), (7, 7), (8, 4)])
def test_a_random_order_scores_the_mean_over_all_orders(ratings, positives):
    orders = [
        average_precision(np.isin(np.arange(ratings), places), positives)
        for places in itertools.combinations(range(ratings), positives)
    ]
    assert random_order_average_precision(ratings, positives) == pytest.approx(np.mean(orders))


def write(path, lists, header=True):
    path.write_bytes(
        b"Class,Segments\n" * header + b"".join(b"%d,%s\n" % (c, b" ".join(ids)) for c, ids in lists.items())
    )
    return path


@settings(max_examples=150)
@given(
    st.dictionaries(st.integers(0, 5), st.lists(st.sampled_from(SEGMENTS), unique=True)),
    st.dictionaries(st.integers(0, 5), st.dictionaries(st.sampled_from(SEGMENTS), st.booleans(), min_size=1)),
    st.integers(1, 10),
    st.booleans(),
)
def test_as_the_definition(tmp_path_factory, lists, ratings, k, header):
    path = write(tmp_path_factory.mktemp("map") / "s.csv", lists, header)
    result = evaluate(path, RatedLabels(ratings), k)
    assert result.map == pytest.approx(definition(lists, ratings, k), abs=1e-12)
    assert result.header == header
    assert result.counts["classes_scored"] == sum(any(rated.values()) for rated in ratings.values())
    assert result.counts["classes_missing"] == sum(
        any(rated.values()) and c not in lists for c, rated in ratings.items()
    )
    assert result.counts["classes_without_positives"] == sum(
        c in ratings and not any(ratings[c].values()) for c in lists
    )
    assert result.counts["classes_without_ratings"] == sum(c not in ratings for c in lists)


def test_by_hand():
    assert average_precision(np.array([True, False, True]), 4) == pytest.approx((1 + 2 / 3) / 4)
    assert average_precision(np.zeros(0, bool), 1) == 0


RATINGS = RatedLabels({1: {b"a:0": True, b"a:5": False, b"b:0": True}, 2: {b"a:0": True}, 3: {b"a:0": False}})


def test_the_cut_comes_before_unrated_ids_are_dropped(tmp_path):
    path = write(tmp_path / "s.csv", {1: [b"x:0", b"a:5", b"a:0", b"b:0"]})
    assert [c.average_precision for c in evaluate(path, RATINGS, 3).classes] == [1 / 2 / 2, 0]
    assert [c.average_precision for c in evaluate(path, RATINGS, 0).classes] == [(1 / 2 + 2 / 3) / 2, 0]


def test_gzip(tmp_path):
    content = gzip.compress(b"Class,Segments\n1,a:0 b:0\n2,a:0\n")
    (tmp_path / "s.csv.gz").write_bytes(content)
    assert evaluate(tmp_path / "s.csv.gz", RATINGS).map == 1
    (tmp_path / "s.csv.gz").write_bytes(content[:-9])
    with pytest.raises(UserError, match="s.csv.gz, a damaged gzip file"):
        evaluate(tmp_path / "s.csv.gz", RATINGS)


@pytest.mark.parametrize(
    "lines, message, rest",
    [
        (["1,a:0 b:0 a:0"], 'line 2, class 1: id 3, "a:0", stands before already', 1 / 2),
        (["1,a:0 b0 b:0"], 'line 2, class 1: id 2 must be <video id>:<start>, got "b0"', 1 / 2),
        (["1,a:0", "2,a:0", "1,b:0"], "line 4, class 1: the class stands in line 2 already", (1 / 2 + 1) / 2),
        (["3862,a:0", "1,a:0"], "line 2, class 3862: expected a class from 0 to 3861", 1 / 4),
        (["-1,a:0", "2,a:0"], "line 2, class -1: expected a class from 0 to 3861", 1 / 2),
        (["one,a:0"], "line 2, class one: expected a class from 0 to 3861", 0),
        (["1 a:0"], "line 2, class 1 a:0: expected a class from 0 to 3861", 0),
    ],
)
def test_what_is_wrong_is_told_with_line_and_class(tmp_path, lines, message, rest):
    (tmp_path / "s.csv").write_text("\n".join(["Class,Segments", *lines]) + "\n")
    with pytest.raises(UserError, match=re.escape(message)):
        evaluate(tmp_path / "s.csv", RATINGS)
    result = evaluate(tmp_path / "s.csv", RATINGS, strict=False)
    assert result.map == pytest.approx(rest)
    assert [str(problem) for problem in result.problems] == [message]


def test_problems_of_every_kind_are_counted(tmp_path):
    (tmp_path / "s.csv").write_text("1,a:0 a:0 a:0\n1,b:0\n9999,c\n2,x y\n")
    with pytest.raises(
        UserError,
        match="in all: 2 of duplicate id, 1 of duplicate class, 1 of unknown class, "
        "2 of malformed id; --nostrict scores the rest",
    ):
        evaluate(tmp_path / "s.csv", RATINGS)


def test_line_ends_of_windows_are_no_part_of_an_id(tmp_path):
    (tmp_path / "s.csv").write_bytes(b"Class,Segments\r\n1,a:0 b:0\r\n2,a:0\r\n")
    result = evaluate(tmp_path / "s.csv", RATINGS)
    assert result.map == 1 and result.header and not result.problems


@pytest.mark.parametrize("arguments", [{"mode": "theirs"}, {"top_n": -1}])
def test_wrong_settings(arguments):
    with pytest.raises(UserError, match="must be"):
        evaluate("s.csv", RATINGS, **arguments)


@pytest.mark.parametrize("key", AUTHOR)
def test_golden_metric_of_the_author(key):
    k = int(key.rpartition("k")[2])
    result = evaluate(
        golden_data.path("map_submission.csv"), read_cache(golden_data.path("map_rated_labels.csv")), k, mode="author"
    )
    assert [c.class_id for c in result.classes] == ITEM.info["mapk_class_order"]
    assert [c.class_id for c in result.classes if c.missing] == ITEM.info["classes_missing_in_submission"]
    np.testing.assert_allclose(
        [c.average_precision for c in result.classes], ITEM.array(f"MAPK/k{k}/ap__f64"), atol=1e-12
    )
    assert result.map == pytest.approx(RESULTS[key], abs=1e-12)
    listed = [c.average_precision for c in result.classes if not c.missing]
    assert np.mean(listed) == pytest.approx(RESULTS[key + "/mean_over_classes_in_submission"], abs=1e-12)
    if k == max(int(other.rpartition("k")[2]) for other in AUTHOR):
        assert result.recall == pytest.approx(RESULTS["Recall"], abs=1e-12)
        assert result.precision == pytest.approx(RESULTS["Precision"], abs=1e-12)


@pytest.mark.parametrize("key", STARTER)
def test_golden_starter_evaluator(key, tmp_path):
    submission = golden_data.path("map_submission.csv")
    if "newline_safe_file" in key:  # Where the last id of a line is one that nobody rated, none is lost.
        with open(submission, "rb") as file:
            header, _, lines = file.read().partition(b"\n")
        (tmp_path / "safe.csv").write_bytes(header + b"\n" + lines.replace(b"\n", b" nobody:0\n"))
        submission = tmp_path / "safe.csv"
    result = evaluate(
        submission, read_cache(golden_data.path("map_rated_labels.csv")), int(key.rpartition("top")[2]), mode="starter"
    )
    positive = set(ITEM.info["classes_with_positives_sorted"])
    assert [c.class_id for c in result.classes] == [
        c for c in ITEM.info["classes_in_submission_sorted"] if c in positive
    ]
    np.testing.assert_allclose([c.average_precision for c in result.classes], ITEM.array(key, "ap__f64"), atol=1e-12)
    assert result.map == pytest.approx(RESULTS[key]["map"], abs=1e-12)
    assert result.counts["classes_without_positives"] == len(ITEM.info["classes_without_positives"])


def test_golden_keys_are_known():
    known = {*STARTER, *AUTHOR, *(key + "/mean_over_classes_in_submission" for key in AUTHOR), "Recall", "Precision"}
    errors = {
        "with_header_line__original",
        "with_classes_without_positives__original",
        "MAPK_with_classes_without_positives__original",
        "read_labels_from_tfrecord_python3",
    }
    assert set(RESULTS) == known | errors


def test_golden_repeated_ids_are_told():
    labels = read_cache(golden_data.path("map_rated_labels.csv"))
    with pytest.raises(UserError, match="stands before already .* of duplicate id"):
        evaluate(golden_data.path("map_submission.csv"), labels)
