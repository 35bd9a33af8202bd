import numpy as np
import pytest

from tests import golden_data
from youtube8m_mod.errors import UserError
from youtube8m_mod.formats.predictions import format_lines, read_predictions

GOLDEN = golden_data.item("segment_inference")
FORMAT = GOLDEN.info["format_lines"]


def pairs(line):
    values = line.rstrip("\n").partition(",")[2].split()
    return list(zip(values[::2], values[1::2]))


@pytest.mark.parametrize("case", ["no_mask", "with_mask", "with_mask_topk_larger_than_mask"])
def test_golden_lines(case):
    probabilities, mask = GOLDEN.array("format_lines", "in"), GOLDEN.array("format_lines", "mask") > 0
    classes = None if case == "no_mask" else np.flatnonzero(mask)
    top_k = FORMAT["top_k"] if case != "with_mask_topk_larger_than_mask" else len(mask)
    expected = FORMAT[case]
    actual = format_lines(
        FORMAT["ids"][: len(expected)],
        probabilities[: len(expected)] if classes is None else probabilities[: len(expected), classes],
        top_k,
        classes,
    )
    for ours, theirs in zip(actual, expected, strict=True):
        if classes is not None:  # The original fills up with masked classes at probability 0.
            kept = " ".join(f"{c} {p}" for c, p in pairs(theirs) if mask[int(c)])
            theirs = f"{theirs.partition(',')[0]},{kept}\n"
        assert ours == theirs or (  # Classes of one probability may have changed places.
            sorted(pairs(ours)) == sorted(pairs(theirs))
            and [p for _, p in pairs(ours)] == [p for _, p in pairs(theirs)]
        )


def test_known_golden_keys():
    assert {key for key, value in FORMAT.items() if isinstance(value, list)} == {
        "ids",
        "no_mask",
        "with_mask",
        "with_mask_topk_larger_than_mask",
    }


def test_ties_go_by_class_and_negative_values_are_left_out():
    assert format_lines(["v"], [[0.5, -1, 0.5, 0.25, 0.5]], 3) == ["v,0 0.5 2 0.5 4 0.5\n"]
    assert format_lines(["v"], [[0.5, -1, 0.5]], 9, [7, 8, 9]) == ["v,7 0.5 9 0.5\n"]


def test_round_trip(tmp_path):
    (tmp_path / "p.csv").write_text(
        "VideoId,LabelConfidencePairs\n"
        + "".join(format_lines(["a:5", "b"], [[0.5, 0.25], [1e-7, 0.123456789]], 2))
        + "c,\n"
    )
    rows = [(name, classes.tolist(), values.tolist()) for name, classes, values in read_predictions(tmp_path / "p.csv")]
    assert rows == [("a:5", [0, 1], [0.5, 0.25]), ("b", [1, 0], [0.123457, 1e-7]), ("c", [], [])]


@pytest.mark.parametrize(
    "line",
    [b"a", b"a,1", b"a,1 0.5 2", b"a,x 0.5", b"a,1 nan", b"a,1 x", b"a,-1 0.5", b"a,1 0.5 1 0.25", b",1 0.5", b"\xff"],
)
def test_a_malformed_line_is_named(tmp_path, line):
    (tmp_path / "p.csv").write_bytes(b"b,1 0.5\n" + line + b"\n")
    with pytest.raises(UserError, match="p.csv, line 2: expected <id>,<class> <probability> .* got"):
        list(read_predictions(tmp_path / "p.csv"))
