"""Files on any file system that TensorFlow knows, written whole or not at all.

Paths with a scheme (`gs://...`) go through `tf.io.gfile`; local ones through Python's own functions,
so that commands without a model start without loading TensorFlow. A path is taken literally, whatever signs are in it,
but for a leading `~`, the home folder; only `glob` and `glob_parts` take patterns.
"""

import concurrent.futures
import contextlib
import errno
import functools
import glob as python_glob
import hashlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from typing import IO, Any

from youtube8m_mod.errors import UserError, first_line

Path = str | os.PathLike[str]

_BUFFER = 1 << 20  # Of a remote file: each read or write is a call over the network.
_CALLS = 16  # At a time.


def is_remote(path: Path) -> bool:
    """Whether `path` has a scheme (`gs://...`): TensorFlow's file systems serve it."""
    return "://" in os.fspath(path)


def expand(path: Path) -> str:
    """`path` as text, with the home folder in place of a leading `~`."""
    path = os.fspath(path)
    return path if is_remote(path) else os.path.expanduser(path)


def absolute(path: Path) -> str:
    """`path` so that it means the same place from every folder."""
    return os.fspath(path).rstrip("/") if is_remote(path) else os.path.abspath(expand(path))


def same_place(path: Path, other: Path) -> bool:
    """Whether two paths name the same file, `file://` or not."""
    return place(path) == place(other)


def relative(path: Path, folder: Path) -> str | None:
    """`path` as seen from a folder that it is in, None for any other."""
    path, folder = place(path), place(folder).rstrip("/") + "/"
    return path.removeprefix(folder) if path.startswith(folder) else None


def place(path: Path) -> str:
    """Where `path` leads, the same for all names of a file: by a relative path, through links, with `file://`."""
    path = os.fspath(path)
    path = path.removeprefix("file://") if path.startswith("file:///") else path
    return absolute(path) if is_remote(path) else os.path.realpath(expand(path))


def parent(path: Path) -> str:
    """The folder of a file, "" for the working directory or the root of a remote file system."""
    folder = os.path.dirname(expand(path))
    return "" if is_remote(path) and not is_remote(folder) else folder


def _gfile(path):
    """`tf.io.gfile` for a remote path, None for a local one."""
    if not is_remote(path):
        return None
    import tensorflow as tf

    return tf.io.gfile


class _RemoteFile(io.RawIOBase):
    """The bytes of a `tf.io.gfile.GFile` as a raw Python file, so that `io` makes all that files can do of it."""

    def __init__(self, gfile, path, mode):
        self._file, self._path, self._writes = gfile.GFile(path, mode), path, mode == "wb"
        if not self._writes:
            self._file.size()  # GFile opens lazily: fail here, not at the first read.

    def readable(self):
        return not self._writes

    def writable(self):
        return self._writes

    def seekable(self):
        return not self._writes

    def readinto(self, buffer):
        with named_errors(self._path, "read"):
            content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def write(self, content):
        self._file.write(bytes(content))
        return len(content)

    def seek(self, offset, whence=os.SEEK_SET):
        self._file.seek(offset, whence)
        return self._file.tell()

    def tell(self):
        return self._file.tell()

    def flush(self):
        if self._writes and not self.closed:
            self._file.flush()

    def close(self):
        if not self.closed:
            try:
                self._file.close()
            finally:
                super().close()


def _open(path, mode):
    """The file `path`, local or remote, for "r", "rb", "w" or "wb"; text is UTF-8, its line ends as they are."""
    gfile = _gfile(path)
    if not gfile:
        return open(path, mode, **({} if "b" in mode else {"encoding": "utf-8", "newline": ""}))
    raw = _RemoteFile(gfile, path, mode[0] + "b")
    file = io.BufferedWriter(raw, _BUFFER) if mode[0] == "w" else io.BufferedReader(raw, _BUFFER)
    return file if "b" in mode else io.TextIOWrapper(file, encoding="utf-8", newline="")


@contextlib.contextmanager
def named_errors(path: Path, doing: str) -> Iterator[None]:
    """Turns the file system's errors into one sentence that names `path`."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"Cannot {doing} {path}: no such file or directory.") from error
    except IsADirectoryError as error:
        raise UserError(f"Cannot {doing} {path}: it is a directory, a file was expected.") from error
    except PermissionError as error:
        raise UserError(f"Cannot {doing} {path}: permission denied.") from error
    except io.UnsupportedOperation:
        raise
    except OSError as error:
        reason = "no space left on the device" if error.errno == errno.ENOSPC else error.strerror
        raise UserError(f"Cannot {doing} {path}: {reason}.") from error
    except Exception as error:
        if not type(error).__module__.startswith("tensorflow"):
            raise
        raise UserError(f"Cannot {doing} {path}: {first_line(error).rstrip('.')}.") from error


def _path_function(doing):
    """Decorates a function of a path: it is given the expanded path, and its errors name it."""

    def decorate(function):
        @functools.wraps(function)
        def wrapper(path, *arguments):
            path = expand(path)
            with named_errors(path, doing):
                return function(path, *arguments)

        return wrapper

    return decorate


@_path_function("read")
def open_file(path: Path, mode: str = "r") -> IO:
    """Opens `path` for reading; raises `UserError` naming the path where it cannot."""
    return _open(path, mode)


@contextlib.contextmanager
def write_file(path: Path, mode: str = "w") -> Iterator[IO]:
    """Yields a file that appears under `path` when the block ends well, and not at all otherwise.

    The bytes go to a neighbour of `path`, which is renamed at the end. The parent folder is made.
    """
    path = expand(path)
    partial = f"{path}.partial-{uuid.uuid4().hex[:8]}"
    with named_errors(path, "write"):
        if not is_remote(path) and is_dir(path):  # Said at once, and of this path.
            raise IsADirectoryError
        make_dirs(parent(path))
        file = _open(partial, mode)
        try:
            with file:
                yield file
                file.flush()
                if not is_remote(path):
                    os.fsync(file.fileno())
            rename(partial, path)
        except BaseException:
            with contextlib.suppress(Exception):
                (_gfile(path) or os).remove(partial)
            raise


@contextlib.contextmanager
def write_folder(path: Path) -> Iterator[str]:
    """Yields a new folder that takes the place of `path` when the block ends well, and disappears otherwise.

    It is a neighbour of `path`, which is renamed at the end. A folder that is there already is removed then.
    """
    path = expand(path).rstrip("/")
    partial = f"{path}.partial-{uuid.uuid4().hex[:8]}"
    try:
        make_dirs(partial)
        yield partial
        if exists(path):
            remove_tree(path)
        rename(partial, path)
    except BaseException:
        with contextlib.suppress(Exception):
            remove_tree(partial)
        raise


def read_text(path: Path) -> str:
    """The text in `path`; raises `UserError` where it is not UTF-8."""
    with open_file(path, "rb") as file:
        try:
            return file.read().decode()
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8 text: {error}.") from error


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, whole or not at all."""
    with write_file(path) as file:
        file.write(json.dumps(value, indent=2) + "\n")


def digest(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits."""
    with open_file(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def read_json(path: Path) -> Any:
    """The JSON value in `path`; raises `UserError` where there is none."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}.") from error


@_path_function("look at")
def exists(path: Path) -> bool:
    gfile = _gfile(path)
    return gfile.exists(path) and not _is_phantom(path) if gfile else os.path.exists(path)


@_path_function("look at")
def is_dir(path: Path) -> bool:
    gfile = _gfile(path)
    return gfile.isdir(path) and not _is_phantom(path) if gfile else os.path.isdir(path)


def _is_phantom(path):
    """Whether TensorFlow's file system in memory finds a folder because another one's name begins so."""
    folder, _, name = path.rstrip("/").rpartition("/")
    if not path.startswith("ram://") or folder.endswith("/"):
        return False
    return name not in (found.rstrip("/") for found in _gfile(folder).listdir(folder))


@_path_function("look at")
def size(path: Path) -> int:
    """Bytes of a file."""
    gfile = _gfile(path)
    return gfile.stat(path).length if gfile else os.path.getsize(path)


@_path_function("look at")
def identity(path: Path) -> list[str | int]:
    """What distinguishes a file from others and from its own earlier content: [absolute path, bytes, time in ns].

    The time is that of the last change, 0 where the file system keeps none.
    """
    gfile = _gfile(path)
    stat = gfile.stat(path) if gfile else os.stat(path)
    return [absolute(path), stat.length, stat.mtime_nsec] if gfile else [absolute(path), stat.st_size, stat.st_mtime_ns]


def sizes(paths: Sequence[Path]) -> list[int]:
    """Bytes of each of some files."""
    return _for_each(size, paths)


def identities(paths: Sequence[Path]) -> list[list[str | int]]:
    """`identity` of each of some files."""
    return _for_each(identity, paths)


def _for_each(function, paths):
    """The results of a function of a path, in order; remote paths are asked for side by side."""
    if not any(map(is_remote, paths)):
        return [*map(function, paths)]
    with concurrent.futures.ThreadPoolExecutor(_CALLS) as pool:
        return [*pool.map(function, paths)]


def glob_parts(pattern: Path) -> dict[str, list[str]]:
    """{each glob of `pattern`: sorted paths that match}; `pattern` is a glob or a comma-separated list of them.

    A glob that is the name of a file as it stands is that file.
    """
    pattern = os.fspath(pattern)
    parts = [pattern] if not is_remote(pattern) and exists(pattern) else map(str.strip, pattern.split(","))
    return {part: _matches(part) for part in parts if part}


def glob(pattern: Path) -> list[str]:
    """Sorted paths that match `pattern`, a glob or a comma-separated list of globs."""
    return sorted({path for paths in glob_parts(pattern).values() for path in paths})


@_path_function("list")
def _matches(pattern):
    if exists(pattern):
        return [pattern]
    gfile = _gfile(pattern)
    return sorted(gfile.glob(pattern) if gfile else python_glob.glob(pattern))


def escape(path: Path) -> str:
    """A pattern that matches `path` literally, to put before one: `escape(folder) + "/*.tfrecord"`."""
    return python_glob.escape(expand(path))


@_path_function("list")
def list_dir(path: Path) -> list[str]:
    """Sorted names in a folder; none where it does not exist."""
    if not is_dir(path):
        return []
    gfile = _gfile(path)
    return sorted(name.rstrip("/") for name in (gfile.listdir(path) if gfile else os.listdir(path)))


@_path_function("make the folder")
def make_dirs(path: Path) -> None:
    if path:
        gfile = _gfile(path)
        gfile.makedirs(path) if gfile else os.makedirs(path, exist_ok=True)


@_path_function("rename")
def rename(source: Path, target: Path) -> None:
    """Renames a file or an (absent target's) folder; a file replaces an older one."""
    target = expand(target)
    gfile = _gfile(target)
    if target.startswith("ram://") and is_dir(source):
        _rename_in_memory(gfile, source.rstrip("/"), target.rstrip("/"))
    else:
        gfile.rename(source, target, overwrite=True) if gfile else os.replace(source, target)


def _rename_in_memory(gfile, source, target):
    """Renames a folder of TensorFlow's file system in memory, which would leave behind what is in it."""
    found = [*gfile.walk(source)]
    for folder, _, names in found:
        new = target + folder.rstrip("/").removeprefix(source)
        if is_dir(folder):
            gfile.makedirs(new)
        for name in names:
            if exists(f"{folder}/{name}"):
                gfile.rename(f"{folder}/{name}", f"{new}/{name}")
    for folder in sorted({folder.rstrip("/") for folder, *_ in found} | {source}, reverse=True):
        if is_dir(folder):
            gfile.rmtree(folder)


def flush_tree(path: Path) -> None:
    """Brings the files of a local folder to the disk, so that they outlive a power cut."""
    if not is_remote(path):
        path = expand(path)
        for name in list_dir(path):
            with open(os.path.join(path, name), "rb") as file:
                os.fsync(file.fileno())


@_path_function("remove")
def remove(path: Path) -> None:
    """Removes a file, or a folder and all in it."""
    if is_dir(path):
        remove_tree(path)
    else:
        (_gfile(path) or os).remove(path)


@_path_function("remove")
def remove_tree(path: Path) -> None:
    """Removes a folder and all in it; nothing where it does not exist."""
    gfile = _gfile(path)
    if exists(path):
        gfile.rmtree(path) if gfile else shutil.rmtree(path)
