import gzip
import subprocess
import sys

import pytest

from tests import golden_data
from youtube8m_mod.data import records
from youtube8m_mod.errors import UserError
from youtube8m_mod.evaluation.rated_labels import RatedLabels, load_labels, read_cache, read_records

RATINGS = {7: {b"a:5": True, b"b:10": False}, 3: {b"a:5": False}}
TEXT = b"a:5,3,0.0\na:5,7,1.0\nb:10,7,0.0\n"


def as_dict(labels):
    return {c: dict(labels._ratings[c]) for c in labels.classes}


@pytest.mark.parametrize("name", ["labels.csv", "labels.csv.gz"])
def test_cache_round_trip(tmp_path, name):
    for folder in ("1", "2"):
        RatedLabels(RATINGS).write_cache(tmp_path / folder / name)
    content = (tmp_path / "1" / name).read_bytes()
    assert content == (tmp_path / "2" / name).read_bytes()
    assert (gzip.decompress(content) if name.endswith("gz") else content) == TEXT
    labels = read_cache(tmp_path / "1" / name)
    assert as_dict(labels) == RATINGS
    assert (labels.classes, labels.scored_classes, labels.num_ratings) == ([3, 7], [7], 3)
    assert labels.num_positives == {3: 0, 7: 1}


def test_gzip_is_told_by_its_content(tmp_path):
    (tmp_path / "labels").write_bytes(gzip.compress(TEXT))
    assert as_dict(read_cache(tmp_path / "labels")) == RATINGS


def test_starter_cache_of_python_3_and_ratings_given_twice(tmp_path):
    (tmp_path / "labels").write_bytes(b"b'abcd':5,7,0.0\nb'abcd':5,7,1.0\r\n\n")
    assert as_dict(read_cache(tmp_path / "labels")) == {7: {b"abcd:5": True}}


@pytest.mark.parametrize(
    "line",
    [
        *(b"a:5,7", b"a:5,x,1.0", b"a:5,7,high", b"a:5,7,1.0,2"),
        *(b"a,7,1.0", b":5,7,1.0", b"a:x,7,1.0", b"a:5,-7,1.0", b"a:5,7,nan", b"a:5,7,"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, line):
    (tmp_path / "labels.csv").write_bytes(b"a:0,7,1.0\n" + line + b"\n")
    with pytest.raises(UserError, match="labels.csv, line 2: expected <video id>:<start>,<class>,<score>, got"):
        read_cache(tmp_path / "labels.csv")


@pytest.mark.parametrize(
    "line",
    [
        *(b"a:05,7,1.0", b"a:5,007,1.0", b"a:5,7,1", b"a:5,7,1.00", b"a:5,7,+1.0", b"a:5,7,1e0", b" a:5,7,1.0"),
        *(b'"a:5",7,1.0', b"b'a':5,7,1.0", b"a:5,7,1.0,,", b"a:5,7,1.0 \t\r", b"a:5 , 7,1.0"),
    ],
)
def test_a_line_in_any_form_counts_as_a_plain_one(tmp_path, line):
    (tmp_path / "labels.csv").write_bytes(b"a:5,7,0.0\na:5,3,0.0\n" + line + b"\na:x:5,7,1.0\n")
    labels = read_cache(tmp_path / "labels.csv")
    assert as_dict(labels) == {3: {b"a:5": False}, 7: {b"a:5": True, b"a:x:5": True}}
    assert labels.contradicted == 1
    with pytest.raises(UserError, match="line 1: expected a class from 0 to 6, got 7;"):
        read_cache(tmp_path / "labels.csv", num_classes=7)


def test_ratings_that_inference_does_not_list(tmp_path):
    (tmp_path / "labels.csv").write_bytes(b"".join(b"a:%d,7,1.0\n" % start for start in (0, 5, 7, 295, 299, 300, 7000)))
    assert read_cache(tmp_path / "labels.csv").count_unlisted() == 4


@pytest.mark.parametrize(
    "content, message",
    [(b"", "holds no rated segments"), (gzip.compress(TEXT * 100, mtime=0)[:60], "Cannot read .*labels.csv")],
    ids=["empty", "cut off"],
)
def test_a_file_without_labels_is_named(tmp_path, content, message):
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_cache(tmp_path / "labels.csv")


def write_records(path):
    features = {"rgb": [[0, 1]]}
    import numpy as np

    features = {name: np.array(value, np.uint8) for name, value in features.items()}
    records.write_shard(
        path,
        [
            records.frame_level_record("a", [1], features, [(5, 7, 0.0), (5, 7, 1.0), (5, 3, 0.0)]),
            records.frame_level_record("b", [1], features, [(10, 7, 0.0)]),
            records.frame_level_record("c", [1], features),
        ],
    )


def test_records_fill_the_cache(tmp_path):
    write_records(str(tmp_path / "x.tfrecord"))
    cache = tmp_path / "cache.csv"
    assert as_dict(load_labels(str(tmp_path / "x.tfrecord"), str(cache))) == RATINGS
    assert cache.read_bytes() == TEXT
    assert as_dict(load_labels(None, str(cache))) == RATINGS


def test_golden_cache_and_records_agree():
    cached = read_cache(golden_data.path("map_rated_labels.csv"))
    assert cached.num_ratings == golden_data.item("map").info["num_rated"]
    assert as_dict(read_records(golden_data.path("map_labels.tfrecord"))) == as_dict(cached)


def test_damaged_records_are_named(tmp_path):
    path = tmp_path / "x.tfrecord"
    write_records(str(path))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match="x.tfrecord, record 2: it is cut off"):
        read_records(str(path))


@pytest.mark.parametrize(
    "arguments, message",
    [((None, "missing.csv"), "missing.csv does not exist, and no records"), ((None, None), "Neither records nor")],
)
def test_no_source_of_labels(arguments, message):
    with pytest.raises(UserError, match=message):
        load_labels(*arguments)


def test_a_cache_is_read_without_tensorflow(tmp_path):
    (tmp_path / "labels.csv").write_bytes(TEXT)
    code = (
        "import sys\n"
        "from youtube8m_mod.evaluation import mean_average_precision, rated_labels, summary, video_metrics\n"
        f"rated_labels.load_labels(None, {str(tmp_path / 'labels.csv')!r})\n"
        "print([name for name in ('tensorflow', 'keras', 'pandas', 'matplotlib') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def write_other_records(path, classes=(7,), videos=("a", "d")):
    import numpy as np

    features = {"rgb": np.array([[0, 1]], np.uint8)}
    records.write_shard(
        path, [records.frame_level_record(v, [1], features, [(5, c, 1.0) for c in classes]) for v in videos]
    )


def test_a_cache_of_other_records_is_made_anew(tmp_path, capsys):
    write_records(str(tmp_path / "x.tfrecord"))
    write_other_records(str(tmp_path / "y.tfrecord"))
    cache, x, y = (str(tmp_path / name) for name in ("cache.csv", "x.tfrecord", "y.tfrecord"))
    load_labels(x, cache)
    assert as_dict(load_labels(x, cache)) == RATINGS and "warning" not in capsys.readouterr().err
    assert as_dict(load_labels(y, cache)) == {7: {b"a:5": True, b"d:5": True}}
    assert "cache.csv was made of other files" in capsys.readouterr().err
    assert as_dict(load_labels(y, cache)) == as_dict(read_cache(cache)) and "warning" not in capsys.readouterr().err
    write_other_records(y, videos=("a", "e"))  # As many bytes, another content.
    assert as_dict(load_labels(y, cache)) == {7: {b"a:5": True, b"e:5": True}}
    assert "is made anew" in capsys.readouterr().err


def test_a_cache_of_unknown_origin_must_agree(tmp_path):
    write_records(str(tmp_path / "x.tfrecord"))
    cache, x = str(tmp_path / "cache.csv"), str(tmp_path / "x.tfrecord")
    (tmp_path / "cache.csv").write_bytes(b"b'a':5,3,0.0\nb'a':5,7,1.0\nb'b':10,7,0.0\n")  # The starter code's.
    assert as_dict(load_labels(x, cache)) == RATINGS == as_dict(load_labels(x, cache))
    (tmp_path / "cache.csv").write_bytes(TEXT.replace(b"b:10,7,0.0", b"b:10,7,1.0"))  # Changed since.
    message = "disagree: class 7 of segment b:10 is rated as positive in the cache and rated as negative in the records"
    with pytest.raises(UserError, match=message):
        load_labels(x, cache)
    (tmp_path / "cache.csv").write_bytes(TEXT + b"c:0,7,1.0\n")
    with pytest.raises(UserError, match="segment c:0 is rated as positive in the cache and not rated in the records"):
        load_labels(x, cache)


def test_a_pattern_beside_a_cache_must_match(tmp_path):
    (tmp_path / "cache.csv").write_bytes(TEXT)
    with pytest.raises(UserError, match='No file matches ".*none.*"'):
        load_labels(f"{tmp_path}/none*", str(tmp_path / "cache.csv"))


def test_a_video_that_occurs_twice(tmp_path):
    write_records(str(tmp_path / "x1.tfrecord"))
    write_other_records(str(tmp_path / "x2.tfrecord"))
    message = 'x2.tfrecord, record 0: the id "a" occurs twice, first in .*x1.tfrecord, record 0'
    with pytest.raises(UserError, match=message):
        read_records(f"{tmp_path}/x*.tfrecord")
    repeated = []
    labels = load_labels(f"{tmp_path}/x*.tfrecord", str(tmp_path / "cache.csv"), repeated)
    assert as_dict(labels) == {3: {b"a:5": False}, 7: {b"a:5": True, b"b:10": False, b"d:5": True}}
    assert len(repeated) == 1
    with pytest.raises(UserError, match=message):
        load_labels(f"{tmp_path}/x*.tfrecord", str(tmp_path / "cache.csv"))
