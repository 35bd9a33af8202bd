import numpy as np
import pytest

from youtube8m_mod.errors import UserError
from youtube8m_mod.formats.arrays import read_arrays, write_arrays


def test_round_trip_and_same_bytes(tmp_path):
    arrays = {"a": np.arange(3, dtype=np.float32), "b/c": np.array([b"x", b"yz"]), "d": np.int64(7)}
    for name in ("1.npz", "2.npz"):
        write_arrays(tmp_path / name, arrays)
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()
    assert list(read_arrays(tmp_path / "1.npz", ["d"])) == ["d"]
    back = read_arrays(tmp_path / "1.npz")
    assert back.keys() == arrays.keys()
    for key, value in arrays.items():
        assert back[key].dtype == value.dtype
        np.testing.assert_array_equal(back[key], value)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04", b"\x93NUMPY"])
def test_a_file_of_another_kind_is_named(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UserError, match="x.npz is not an archive of arrays"):
        read_arrays(tmp_path / "x.npz")


def test_a_plain_array_is_no_archive(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(UserError, match="x.npy is not an archive of arrays"):
        read_arrays(tmp_path / "x.npy")


def test_missing_arrays_are_named(tmp_path):
    write_arrays(tmp_path / "x.npz", {"a": np.zeros(1)})
    with pytest.raises(UserError, match="x.npz lacks the arrays b, c"):
        read_arrays(tmp_path / "x.npz", ["c", "a", "b"])
