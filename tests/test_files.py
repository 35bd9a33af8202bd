"""Files on a local disk, under file://, and on a file system in memory that only TensorFlow knows (ram://)."""

import gzip
import os

import numpy as np
import pytest

from youtube8m_mod import files
from youtube8m_mod.errors import UserError

ROOTS = ("local", "file", "ram")


@pytest.fixture(params=ROOTS)
def root(request, tmp_path):
    return {"local": str(tmp_path), "file": f"file://{tmp_path}", "ram": f"ram:/{tmp_path}"}[request.param]


def put(path, text="x"):
    with files.write_file(path) as file:
        file.write(text)
    return path


def test_text_and_bytes_come_back(root):
    path = f"{root}/new/folder/a.txt"
    with files.write_file(path) as file:
        file.writelines(["one\r\n", "zwölf\n"])
        file.write("three")
    with files.open_file(path) as file:
        assert [*file] == ["one\r\n", "zwölf\n", "three"]
    assert files.read_text(path) == "one\r\nzwölf\nthree" and files.size(path) == 17
    with files.write_file(path, "wb") as file:
        file.writelines([b"one\n", memoryview(b"two\n"), bytearray(b"three")])
        file.write(np.arange(3, dtype=np.uint8).data)
    with files.open_file(path, "rb") as file:
        assert file.readline() == b"one\n" and file.tell() == 4
        file.seek(-4, os.SEEK_END)
        assert file.read(2) == b"e\x00" and file.readlines() == [b"\x01\x02"]
    assert files.list_dir(f"{root}/new/folder") == ["a.txt"]


def test_many_bytes(root):
    content = np.random.default_rng(0).bytes(3 * files._BUFFER + 5)
    with files.write_file(f"{root}/a", "wb") as file:
        file.write(content[:7])
        file.write(content[7:])
    with files.open_file(f"{root}/a", "rb") as file:
        assert file.read(5) + file.read() == content


def test_what_reads_files_reads_these(root):
    with files.write_file(f"{root}/a.npy", "wb") as file:
        np.save(file, np.arange(5))
    with files.open_file(f"{root}/a.npy", "rb") as file:
        assert np.load(file, allow_pickle=False).tolist() == [0, 1, 2, 3, 4]
    with files.write_file(f"{root}/a.gz", "wb") as file, gzip.GzipFile(fileobj=file, mode="wb") as packed:
        packed.write(b"one\ntwo\n")
    with files.open_file(f"{root}/a.gz", "rb") as file:
        assert [*gzip.GzipFile(fileobj=file)] == [b"one\n", b"two\n"]


def test_json(root):
    files.write_json(f"{root}/a.json", {"a": [1, "ü"]})
    assert files.read_json(f"{root}/a.json") == {"a": [1, "ü"]}


def test_a_file_appears_whole_or_not_at_all(root):
    path = put(f"{root}/a.txt", "before")
    with pytest.raises(KeyboardInterrupt):
        with files.write_file(path) as file:
            file.write("after")
            raise KeyboardInterrupt
    assert files.read_text(path) == "before" and files.list_dir(root) == ["a.txt"]


@pytest.mark.parametrize("folder", ["run[1]", "a*", "b?c", "with blank", "{x}", "1,2"])
def test_paths_are_taken_literally(root, folder):
    path = put(f"{root}/{folder}/x[3].txt", "text")
    assert files.read_text(path) == "text" and files.exists(path) and files.size(path) == 4
    assert files.list_dir(f"{root}/{folder}") == ["x[3].txt"]
    assert files.glob(f"{files.escape(f'{root}/{folder}')}/x*.txt") == [path] or "," in folder
    if "," not in folder or root.startswith("/"):
        assert files.glob(path) == [path]  # The name of a file as it stands is no pattern.
    files.remove(path)
    assert not files.exists(path)
    files.remove_tree(f"{root}/{folder}")
    assert files.list_dir(root) == []


def test_a_folder_is_no_file(tmp_path):
    put(f"{tmp_path}/a/x")
    with pytest.raises(UserError, match=f"Cannot write {tmp_path}/a: it is a directory, a file was expected"):
        put(f"{tmp_path}/a")
    assert files.list_dir(tmp_path) == ["a"]


def test_patterns(root):
    names = [put(f"{root}/{name}") for name in ("a1.x", "a2.x", "b1.x")]
    assert files.glob(f"{root}/a*.x") == names[:2] and files.glob(f"{root}/?1.x") == [names[0], names[2]]
    assert files.glob(f" {root}/b*.x ,{root}/a1.x,{root}/a*.x,") == names
    assert files.glob_parts(f"{root}/a*,{root}/c*") == {f"{root}/a*": names[:2], f"{root}/c*": []}


def test_folders(root):
    files.make_dirs(f"{root}/a/b")
    put(f"{root}/a/b/x")
    put(f"{root}/a/y")
    assert files.list_dir(f"{root}/a") == ["b", "y"] and files.is_dir(f"{root}/a/b") and not files.is_dir(f"{root}/a/y")
    put(f"{root}/a/b/d/z")
    put(f"{root}/a/b/d.e/z")
    files.rename(f"{root}/a/b", f"{root}/a/c")
    assert files.list_dir(f"{root}/a") == ["c", "y"] and files.list_dir(f"{root}/a/c") == ["d", "d.e", "x"]
    assert files.exists(f"{root}/a/c/d.e/z") and not files.exists(f"{root}/a/b")
    # The beginning of a folder's name is no folder.
    assert not files.exists(f"{root}/a/c/d.") and not files.is_dir(f"{root}/a/c/d.")
    files.remove(f"{root}/a/c/d.e")
    files.remove(f"{root}/a/c/d")
    files.rename(f"{root}/a/y", f"{root}/a/c/x")
    assert files.list_dir(f"{root}/a/c") == ["x"]
    files.remove(f"{root}/a")
    assert not files.exists(f"{root}/a/c/x") and files.list_dir(f"{root}/a") == []
    files.remove_tree(f"{root}/a")
    assert files.list_dir(f"{root}/none") == []


def test_identity_tells_other_content(root):
    path = put(f"{root}/a", "one")
    first = files.identity(path)
    assert first == files.identity(path) and first[:2] == [files.absolute(path), 3]
    assert files.identity(put(path, "three")) != first


def test_missing_files_are_named(root):
    for function in (files.open_file, files.read_text, files.read_json, files.size, files.identity, files.remove):
        with pytest.raises(UserError, match=f"Cannot .* {root}/none: "):
            function(f"{root}/none")


@pytest.mark.parametrize("scheme", ["s3", "hdfs", "unknown"])
def test_a_file_system_that_is_not_there_is_told(scheme):
    path = f"{scheme}://bucket/x"
    for function in (files.open_file, files.read_text, files.glob, files.exists, files.size, files.make_dirs):
        with pytest.raises(UserError, match=f"Cannot .* {path}.*: File system scheme '{scheme}' not implemented"):
            function(path)
    with pytest.raises(UserError, match=f"Cannot .* {scheme}://bucket.*: "), files.write_file(path):
        pass


def test_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    put("~/a/b.txt", "text")
    assert files.read_text(tmp_path / "a" / "b.txt") == files.read_text("~/a/b.txt") == "text"
    assert files.glob("~/a/*.txt,~/a/b*") == [f"{tmp_path}/a/b.txt"] and files.list_dir("~/a") == ["b.txt"]
    assert files.exists("~/a") and files.is_dir("~/a") and files.absolute("~/a") == f"{tmp_path}/a"
    files.make_dirs("~/c/d")
    files.rename("~/a/b.txt", "~/c/e.txt")
    assert files.list_dir("~/c") == ["d", "e.txt"]
    files.remove_tree("~/c")
    assert sorted(os.listdir(tmp_path)) == ["a"]


def test_absolute():
    assert files.absolute("a/../b") == os.path.join(os.getcwd(), "b")
    assert files.absolute("gs://bucket/a/") == "gs://bucket/a"
    assert files.parent("ram://x") == "" and files.parent("gs://b/c/x") == "gs://b/c" and files.parent("x") == ""
