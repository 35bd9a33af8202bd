"""One process at a time in a folder; a lock that was left behind is taken over."""

import gc
import json
import os
import subprocess
import sys
import threading

import pytest

from youtube8m_mod import files, lock
from youtube8m_mod.errors import UserError
from youtube8m_mod.lock import FolderLock

HOLDER = (
    "import sys\n"
    "from youtube8m_mod.lock import FolderLock\n"
    "held = FolderLock(sys.argv[1]).acquire()\n"
    "print('held', flush=True)\n"
    "sys.stdin.read()\n"
)


@pytest.fixture(params=["local", "file", "ram"])
def folder(request, tmp_path):
    return {"local": f"{tmp_path}/run[1]", "file": f"file://{tmp_path}/run", "ram": f"ram:/{tmp_path}/run"}[
        request.param
    ]


def owner_in(folder):
    return files.read_json(f"{folder}/{lock.NAME}")


def write_owner(folder, **fields):
    owner = lock._this_process() | {"token": "other", "since": "2026-01-01 00:00:00", "beat": 0} | fields
    files.write_json(f"{folder}/{lock.NAME}", owner)


def test_held_and_released(folder):
    with FolderLock(folder) as held:
        assert owner_in(folder)["pid"] == os.getpid()
        held.check()
    assert files.list_dir(folder) == []
    held = FolderLock(folder).acquire()
    del held
    gc.collect()
    assert files.list_dir(folder) == []


def test_another_process(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"{tmp_path} is in use by process {holder.pid} on .* since "):
            FolderLock(tmp_path).acquire()
    finally:
        holder.kill()
        holder.wait()
    assert os.listdir(tmp_path) == [lock.NAME]  # Left behind.
    with FolderLock(tmp_path):
        assert owner_in(tmp_path)["pid"] == os.getpid()


@pytest.mark.parametrize("fields", [{"pid": 2**22 + 1}, {"started": 1}, {"pid": "x"}, {"pid": None}])
def test_a_process_that_is_gone(folder, fields):
    write_owner(folder, **fields)
    with FolderLock(folder):
        assert owner_in(folder)["pid"] == os.getpid()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": 1}'])
def test_the_beginning_of_a_lock(folder, text, monkeypatch):
    monkeypatch.setattr(lock.time, "sleep", lambda _: None)
    with files.write_file(f"{folder}/{lock.NAME}") as file:
        file.write(text)
    with FolderLock(folder):
        assert owner_in(folder)["pid"] == os.getpid()


@pytest.mark.parametrize("where", [{"host": "elsewhere"}, {"pid_namespace": "pid:[1]"}])
@pytest.mark.parametrize("lives", [True, False])
def test_a_process_of_another_machine(folder, where, lives, monkeypatch, capsys):
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if lives and len(slept) == 20:
            write_owner(folder, beat=7, **where)

    monkeypatch.setattr(lock.time, "sleep", sleep)
    write_owner(folder, beat=6, **where)
    if lives:
        with pytest.raises(UserError, match=f"is in use by process {os.getpid()} on "):
            FolderLock(folder).acquire()
        assert len(slept) == 20
    else:
        with FolderLock(folder):
            assert owner_in(folder)["token"] != "other"
        assert len(slept) == lock._DEAD_SECONDS
    assert "does it still live?" in capsys.readouterr().err


def test_the_owner_counts_on(folder, monkeypatch):
    monkeypatch.setattr(lock, "_BEAT_SECONDS", 0.01)
    with FolderLock(folder):
        while owner_in(folder)["beat"] <= 2:
            threading.Event().wait(0.01)


def test_a_lock_that_was_lost_is_noticed(folder):
    held = FolderLock(folder).acquire()
    other = FolderLock(folder).acquire()  # In one process the last one has it.
    other.check()
    with pytest.raises(UserError, match="was taken over by another process"):
        held.check()
    held.release()
    other.check()
    write_owner(folder)
    other.release()
    assert json.loads(files.read_text(f"{folder}/{lock.NAME}"))["token"] == "other"
