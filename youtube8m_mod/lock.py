"""A lock on a folder, so that two processes, of one machine or of several, do not write to it at a time."""

import contextlib
import json
import os
import socket
import sys
import threading
import time
import uuid
import weakref

from youtube8m_mod import files
from youtube8m_mod.errors import UserError

NAME = "lock.json"
_BEAT_SECONDS = 15  # The owner counts on so often while it lives.
_DEAD_SECONDS = 120  # Of another machine: that long without a beat, and its owner is gone.
_IDENTITY = ("host", "pid_namespace", "pid", "started")


class FolderLock:
    """`with FolderLock(folder):`, or `acquire` and `release`; let go of, or at the end of the process, it is released.

    The file `lock.json` names host and process. Whether a process of this machine still lives is looked up; one of
    another machine is given `_DEAD_SECONDS` to move the count in the file, which it does all the time. A lock that its
    process has left behind is taken over. In one process the last one who asks has the lock.

    Args:
        folder: a path, made where it does not exist.

    Raises:
        UserError: on `acquire`, where another process is at work; on `check`, where the lock was lost to another one.
    """

    def __init__(self, folder: files.Path):
        self.folder, self.path = folder, f"{files.expand(folder)}/{NAME}"
        self._release = None

    def __enter__(self) -> "FolderLock":
        return self if self._release else self.acquire()

    def __exit__(self, *_) -> None:
        self.release()

    def acquire(self) -> "FolderLock":
        files.make_dirs(self.folder)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        self._owner = _this_process() | {"token": uuid.uuid4().hex, "since": since, "beat": 0}
        while not self._create():
            found = _read(self.path)
            if found is not None and not _same(found, self._owner) and self._lives(found):
                raise UserError(
                    f"{self.folder} is in use by process {found['pid']} on {found['host']} since {found['since']}: "
                    "wait for its end, or name another folder."
                )
            self._take_away(found)
        stop = threading.Event()
        # Nothing that lasts refers to the lock itself, so that it can be let go of.
        threading.Thread(target=_beat, args=(self.path, dict(self._owner), stop), daemon=True).start()
        self._release = weakref.finalize(self, _let_go, self.path, self._owner, stop)
        return self

    def release(self) -> None:
        if self._release:
            self._release()
            self._release = None

    def check(self) -> None:
        """Raises `UserError` where another process has taken the lock: this one was taken for dead."""
        if self._release and not _is_of(self.path, self._owner):
            raise UserError(f"{self.folder} was taken over by another process: this one writes nothing more there.")

    def _create(self):
        """Writes the lock where there is none; returns whether it is ours now."""
        if files.is_remote(self.path):  # As well as can be: an object store has no exclusive creation.
            if files.exists(self.path):
                return False
            files.write_json(self.path, self._owner)
            return _is_of(self.path, self._owner)
        with files.named_errors(self.path, "write"):
            try:
                descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                return False
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump(self._owner, file)
        return True

    def _lives(self, found):
        """Whether the owner of a lock is alive."""
        if all(found[name] == self._owner[name] for name in ("host", "pid_namespace")):
            return _started(found["pid"]) == found["started"] is not None
        print(f"{self.path} is of process {found['pid']} on {found['host']}: does it still live?", file=sys.stderr)
        for _ in range(_DEAD_SECONDS):
            time.sleep(1)
            now = _read(self.path)
            if now is None or now["token"] != found["token"] or now["beat"] != found["beat"]:
                return now is not None
        return False

    def _take_away(self, found):
        """Removes the lock of a process that is gone, unless it has become another's meanwhile."""
        if found is None:  # Another process may be about to write it.
            time.sleep(1)
            found = _read(self.path)
            if found is not None:
                return
        aside = f"{self.path}.{uuid.uuid4().hex[:8]}"
        with contextlib.suppress(UserError, OSError):  # Another process was faster.
            files.rename(self.path, aside)
            taken = files.read_text(aside)
            if found is not None and found["token"] not in taken:
                files.rename(aside, self.path)
            else:
                files.remove(aside)


def _read(path):
    """The owner in a lock; None where there is none, or no more than the beginning of one."""
    with contextlib.suppress(UserError):
        found = files.read_json(path)
        if isinstance(found, dict) and {*_IDENTITY, "token", "since", "beat"} <= set(found):
            return found
    return None


def _is_of(path, owner):
    found = _read(path)
    return found is not None and found["token"] == owner["token"]


def _beat(path, owner, stop):
    while not stop.wait(_BEAT_SECONDS):
        with contextlib.suppress(UserError, OSError):
            if not _is_of(path, owner):
                return
            owner["beat"] += 1
            files.write_json(path, owner)


def _let_go(path, owner, stop):
    stop.set()
    with contextlib.suppress(UserError, OSError):
        if _is_of(path, owner):
            files.remove(path)


def _this_process():
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid_namespace": namespace, "pid": pid, "started": _started(pid)}


def _same(first, second):
    return all(first[name] == second[name] for name in _IDENTITY)


def _started(pid):
    """When a process began, in ticks since the machine did; 0 where that is not known; None where it is gone."""
    if type(pid) is not int:
        return None
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            state, *fields = file.read().rpartition(")")[2].split()
        return None if state in "ZX" else int(fields[18])
    try:
        os.kill(pid, 0)
    except PermissionError:
        return 0
    except (OSError, OverflowError):
        return None
    return 0
