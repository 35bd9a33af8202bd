"""Timelines as CSV, Parquet and WebVTT, read back by the readers of others."""

import pandas
import pytest

from youtube8m_mod import files
from youtube8m_mod.errors import UserError
from youtube8m_mod.formats.timelines import check_timeline_path, format_spans, parse_spans, write_timeline
from youtube8m_mod.localization.timelines import Span

VIDEOS = [
    ("SjJ3", [Span(35, 45, 11, 0.75), Span(40, 3605, 5, 1 / 3)]),
    ("a,b/..", [Span(0, 3, 7, 0.999)]),
    ("none", []),
]
NAMES = {11: "Vehicle", 5: 'Rock "n" roll, <live> & loud'}


@pytest.mark.parametrize("ending, read", [(".csv", pandas.read_csv), (".parquet", pandas.read_parquet)])
def test_tables(tmp_path, ending, read):
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    path = f"{tmp_path}/out/concepts{ending}"
    write_timeline(path, iter(VIDEOS), NAMES)
    table = read(path)
    assert list(table.columns) == ["video", "start", "end", "class", "name", "probability"]
    assert table["video"].tolist() == ["SjJ3", "SjJ3", "a,b/.."]
    assert table[["start", "end", "class"]].values.tolist() == [[35, 45, 11], [40, 3605, 5], [0, 3, 7]]
    assert table["name"].fillna("").tolist() == ["Vehicle", NAMES[5], ""]
    assert table["probability"].tolist() == pytest.approx([0.75, 1 / 3, 0.999], abs=1e-6)
    assert files.list_dir(f"{tmp_path}/out") == [f"concepts{ending}"]


def test_a_table_without_spans(tmp_path):
    write_timeline(f"{tmp_path}/c.csv", [("a", [])])
    assert (tmp_path / "c.csv").read_text() == "video,start,end,class,name,probability\n"


def test_tracks(tmp_path):
    path = f"{tmp_path}/concepts.vtt"
    for _ in range(2):  # The second time in place of the first.
        write_timeline(path, iter(VIDEOS), NAMES)
    assert files.list_dir(str(tmp_path)) == ["concepts.vtt"]
    assert files.list_dir(path) == ["SjJ3.vtt", "a%2Cb%2F...vtt", "none.vtt"]
    assert (tmp_path / "concepts.vtt" / "SjJ3.vtt").read_text() == (
        "WEBVTT\n\n1\n00:00:35.000 --> 00:00:45.000\nVehicle 75%\n\n"
        '2\n00:00:40.000 --> 01:00:05.000\nRock "n" roll, &lt;live&gt; &amp; loud 33%\n'
    )
    write_timeline(f"{tmp_path}/escaped.vtt", [("clip%2007", [])])
    assert files.list_dir(f"{tmp_path}/escaped.vtt") == ["clip%2007.vtt"]
    assert (tmp_path / "concepts.vtt" / "none.vtt").read_text() == "WEBVTT\n"


def test_only_tracks_are_replaced(tmp_path):
    (tmp_path / "c.vtt").mkdir()
    (tmp_path / "c.vtt" / "mine.txt").write_text("kept")
    with pytest.raises(UserError, match="holds mine.txt"):
        write_timeline(f"{tmp_path}/c.vtt", VIDEOS)
    (tmp_path / "d.vtt").write_text("a file")
    with pytest.raises(UserError, match="a file of that name"):
        check_timeline_path(f"{tmp_path}/d.vtt")
    assert files.list_dir(str(tmp_path)) == ["c.vtt", "d.vtt"]


def test_whole_or_not_at_all(tmp_path):
    def broken():
        yield VIDEOS[0]
        raise UserError("stopped")

    for ending in (".csv", ".vtt"):
        with pytest.raises(UserError, match="stopped"):
            write_timeline(f"{tmp_path}/c{ending}", broken())
    assert files.list_dir(str(tmp_path)) == []


@pytest.mark.parametrize("path", ["concepts", "concepts.json", "a.csv.gz", "x.vtt.txt"])
def test_other_endings(path):
    with pytest.raises(UserError, match="must end in .csv, .parquet or .vtt"):
        check_timeline_path(path)


def test_text_of_spans():
    spans = VIDEOS[0][1]
    assert parse_spans(format_spans(spans)) == [span._replace(probability=pytest.approx(span[3])) for span in spans]
    assert parse_spans("") == []
