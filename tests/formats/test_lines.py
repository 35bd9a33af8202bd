"""The reader of line files, and that all formats are read by it: the same content however it was saved."""

import gzip

import pytest

from youtube8m_mod.errors import UserError
from youtube8m_mod.evaluation.rated_labels import read_cache
from youtube8m_mod.formats.class_lists import read_class_ids
from youtube8m_mod.formats.lines import read_lines, read_rows, split_cells
from youtube8m_mod.formats.predictions import read_predictions
from youtube8m_mod.formats.submission import read_submission


def quoted(text):
    """The text with every cell in quotes."""
    return b"".join(
        b",".join(b'"' + cell + b'"' for cell in line.split(b",")) + b"\n" if line else b"\n"
        for line in text.split(b"\n")[:-1]
    )


VARIANTS = {
    "plain": lambda text: text,
    "byte-order mark": lambda text: b"\xef\xbb\xbf" + text,
    "CRLF": lambda text: text.replace(b"\n", b"\r\n"),
    "CR": lambda text: text.replace(b"\n", b"\r"),
    "quoted": quoted,
    "quoted, with mark and CRLF": lambda text: b"\xef\xbb\xbf" + quoted(text).replace(b"\n", b"\r\n"),
    "blanks at the end": lambda text: text.replace(b"\n", b" \t\n"),
    "blanks around cells": lambda text: text.replace(b",", b" , "),
    "blank lines": lambda text: text.replace(b"\n", b"\n\n"),
    "no last line end": lambda text: text[:-1],
    "UTF-16": lambda text: text.decode().encode("utf-16"),
    "gzip": lambda text: gzip.compress(text, mtime=0),
    "gzip, with mark": lambda text: gzip.compress(b"\xef\xbb\xbf" + text, mtime=0),
    "gzip, CR": lambda text: gzip.compress(text.replace(b"\n", b"\r"), mtime=0),
}


def cache(path):
    labels = read_cache(path)
    return {class_id: labels.ratings(class_id) for class_id in labels.classes}


def predictions(path):
    return [(line_id, classes.tolist(), values.tolist()) for line_id, classes, values in read_predictions(path)]


def submission(path):
    return [(name, ids.split()) for _, name, ids in read_submission(path)]


READERS = {
    "label cache": (
        cache,
        b"abc:5,3,1.0\nabc:10,3,0.0\nb-_:0,4,1.0\n",
        {3: {b"abc:5": True, b"abc:10": False}, 4: {b"b-_:0": True}},
    ),
    "predictions": (
        predictions,
        b"VideoId,LabelConfidencePairs\nabc,3 0.5 1 0.25\nb-_,\n",
        [("abc", [3, 1], [0.5, 0.25]), ("b-_", [], [])],
    ),
    "predictions without header": (predictions, b"abc,3 0.5\nb,1 0.5\n", [("abc", [3], [0.5]), ("b", [1], [0.5])]),
    "submission": (
        submission,
        b"Class,Segments\n3,abc:5 b-_:0\n4,\n",
        [(b"Class", [b"Segments"]), (b"3", [b"abc:5", b"b-_:0"]), (b"4", [])],
    ),
    "classes": (lambda path: read_class_ids(path, 12), b"Index\n5\n3\n", [3, 5]),
    "classes without header": (lambda path: read_class_ids(path, 12), b"5\n3\n", [3, 5]),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("reader", READERS)
def test_read_alike(tmp_path, reader, variant):
    read, text, expected = READERS[reader]
    (tmp_path / "file").write_bytes(VARIANTS[variant](text))
    assert read(tmp_path / "file") == expected


@pytest.mark.parametrize("reader", READERS)
def test_damaged_utf_16_is_told(tmp_path, reader):
    read, text, _ = READERS[reader]
    (tmp_path / "file").write_bytes(text.decode().encode("utf-16")[:-1])
    with pytest.raises(UserError, match="file is not UTF-16 text, as its first bytes say"):
        read(tmp_path / "file")


@pytest.mark.parametrize(
    "line, cells",
    [
        (b"a,b", [b"a", b"b"]),
        (b'"a,b","c""d" , e', [b"a,b", b'c"d', b"e"]),
        (b'"",', [b"", b""]),
        (b'a"b,c', [b'a"b', b"c"]),
        (b'"a"b,c', [b'"a"b', b"c"]),
        (b'"a,b', [b'"a', b"b"]),
        (b' "a" \r\n', [b"a"]),
        (b"", [b""]),
        (b'"' + b"x" * 200_000 + b'"', [b"x" * 200_000]),
        (b'"' + b"x" * 200_000, [b'"' + b"x" * 200_000]),
    ],
)
def test_cells(line, cells):
    assert split_cells(line) == cells


def test_line_numbers_count_blank_lines(tmp_path):
    (tmp_path / "file").write_bytes(b"\xef\xbb\xbfa,b\n\n , \nc\n")
    assert [*read_rows(tmp_path / "file")] == [(1, [b"a", b"b"]), (4, [b"c"])]
    assert [*read_lines(tmp_path / "file")] == [(1, b"a,b\n"), (2, b"\n"), (3, b" , \n"), (4, b"c\n")]


def test_an_id_that_is_listed_twice(tmp_path):
    (tmp_path / "p.csv").write_text("VideoId,LabelConfidencePairs\na,1 0.5\nb,1 0.25\na,2 0.75\nb,1 1\n")
    with pytest.raises(UserError, match='p.csv: the id "a" is listed twice, in lines 2 and 4'):
        list(read_predictions(tmp_path / "p.csv"))
    repeated = []
    found = [*read_predictions(tmp_path / "p.csv", repeated)]
    assert [(line_id, classes.tolist()) for line_id, classes, _ in found] == [("a", [1]), ("b", [1])]
    assert len(repeated) == 2 and "lines 3 and 5" in repeated[1]
