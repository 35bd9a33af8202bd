"""Files under two names, and compressed files that are damaged."""

import gzip
import os
import zlib

import numpy as np
import pytest

from tests.data.shard_helpers import CONFIG, record, write
from youtube8m_mod.data import shards
from youtube8m_mod.data.reader import Reader
from youtube8m_mod.errors import UserError


def test_a_file_with_two_names_is_read_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, "a.tfrecord", [record("aa")])
    for pattern in ("a.tfrecord,./a.tfrecord", f"a.*,{path}", f"a.tfrecord,file://{path}", "a.tfrecord,*"):
        assert len(shards.list_shards(pattern)) == 1
    assert not capsys.readouterr().err
    os.symlink("a.tfrecord", "b.tfrecord")
    assert shards.list_shards("*.tfrecord") == ["a.tfrecord"]
    assert "1 files have a second name and are read once: b.tfrecord is a.tfrecord." in capsys.readouterr().err
    write(tmp_path, "c.tfrecord", [record("aa")])  # A copy is another file.
    assert len(shards.list_shards("*.tfrecord")) == 2


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_what_is_lost_behind_damage_in_a_compressed_file(tmp_path, pack):
    write(tmp_path, "a", [record("first", 100)])
    path = write(tmp_path, "x", [record(f"v{number}", 100) for number in range(100)])
    content = bytearray(pack(open(path, "rb").read()))
    place = len(content) * 2 // 5
    content[place : place + 40] = bytes(40)
    (tmp_path / "x").write_bytes(content)
    both = f"{tmp_path}/a,{path}"
    batches = Reader(both, CONFIG, skip_bad_records=True, max_bad_share=1).read(10)
    read = sum(len(batch["ids"]) for batch in batches)
    counts = batches.counts
    assert read < 60 and counts.bad.total() == 1
    assert counts.lost == pytest.approx(100 - read, abs=20)  # About: as dense as far as the damage, or not at all.
    with pytest.raises(UserError, match="records are bad and lost about .* more than the share 0.5"):
        list(Reader(both, CONFIG, skip_bad_records=True, max_bad_share=0.5).read(10))


def test_a_compressed_file_damaged_at_its_beginning_is_one_of_records(tmp_path):
    random = np.random.default_rng(0)
    path = write(tmp_path, "x", [record(f"v{random.integers(1000)}", 9) for _ in range(9)])
    content = bytearray(gzip.compress(open(path, "rb").read()))
    content[400] ^= 255
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UserError, match="x, record 0: its gzip data are damaged or cut off"):
        list(Reader(path, CONFIG).read(1))
