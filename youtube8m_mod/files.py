"""Files on any file system, written whole or not at all.

Paths with a scheme (`gs://...`) go through `tf.io.gfile`; local ones through Python's own functions,
so that commands without a model start without loading TensorFlow.
"""

import contextlib
import errno
import glob as python_glob
import json
import os
import shutil
import uuid

from youtube8m_mod.errors import UserError


def is_remote(path):
    """Whether `path` has a scheme (`gs://...`): TensorFlow's file systems serve it."""
    return "://" in os.fspath(path)


def _gfile(path):
    """`tf.io.gfile` for a remote path, None for a local one."""
    if not is_remote(path):
        return None
    import tensorflow as tf

    return tf.io.gfile


@contextlib.contextmanager
def named_errors(path, doing):
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
    except OSError as error:
        reason = "no space left on the device" if error.errno == errno.ENOSPC else error.strerror
        raise UserError(f"Cannot {doing} {path}: {reason}.") from error
    except Exception as error:
        if not type(error).__module__.startswith("tensorflow"):
            raise
        reason = getattr(error, "message", None) or type(error).__name__
        raise UserError(f"Cannot {doing} {path}: {reason}.") from error


def open_file(path, mode="r"):
    """Opens `path` for reading; raises `UserError` naming the path where it cannot."""
    gfile = _gfile(path)
    with named_errors(path, "read"):
        if gfile:
            file = gfile.GFile(path, mode)
            file.size()  # GFile opens lazily: fail here, not at the first read.
            return file
        return open(path, mode, **({} if "b" in mode else {"encoding": "utf-8", "newline": ""}))


@contextlib.contextmanager
def write_file(path, mode="w"):
    """Yields a file that appears under `path` when the block ends well, and not at all otherwise.

    The bytes go to a neighbour of `path`, which is renamed at the end. The parent folder is made.
    """
    path = os.fspath(path)
    gfile = _gfile(path)
    partial = f"{path}.partial-{uuid.uuid4().hex[:8]}"
    with named_errors(path, "write"):
        make_dirs(os.path.dirname(path))
        file = (
            gfile.GFile(partial, mode)
            if gfile
            else open(partial, mode, **({} if "b" in mode else {"encoding": "utf-8", "newline": ""}))
        )
        try:
            with file:
                yield file
                file.flush()
                if not gfile:
                    os.fsync(file.fileno())
            rename(partial, path)
        except BaseException:
            with contextlib.suppress(Exception):
                (gfile or os).remove(partial)
            raise


def read_text(path):
    """The text in `path`; raises `UserError` where it is not UTF-8."""
    with open_file(path, "rb") as file:
        try:
            return file.read().decode()
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8 text: {error}.") from error


def write_json(path, value):
    """Writes `value` as indented JSON, whole or not at all."""
    with write_file(path) as file:
        file.write(json.dumps(value, indent=2) + "\n")


def read_json(path):
    """The JSON value in `path`; raises `UserError` where there is none."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}.") from error


def exists(path):
    gfile = _gfile(path)
    return gfile.exists(path) if gfile else os.path.exists(path)


def is_dir(path):
    gfile = _gfile(path)
    return gfile.isdir(path) if gfile else os.path.isdir(path)


def glob(pattern):
    """Sorted paths that match `pattern`, a glob or a comma-separated list of globs."""
    paths = set()
    for part in filter(None, (part.strip() for part in pattern.split(","))):
        gfile = _gfile(part)
        paths.update(gfile.glob(part) if gfile else python_glob.glob(part))
    return sorted(paths)


def list_dir(path):
    """Sorted names in a folder; none where it does not exist."""
    if not is_dir(path):
        return []
    gfile = _gfile(path)
    with named_errors(path, "list"):
        return sorted(name.rstrip("/") for name in (gfile.listdir(path) if gfile else os.listdir(path)))


def make_dirs(path):
    if path:
        gfile = _gfile(path)
        with named_errors(path, "make the folder"):
            gfile.makedirs(path) if gfile else os.makedirs(path, exist_ok=True)


def rename(source, target):
    """Renames a file or an (absent target's) folder; a file replaces an older one."""
    gfile = _gfile(target)
    gfile.rename(source, target, overwrite=True) if gfile else os.replace(source, target)


def flush_tree(path):
    """Brings the files of a local folder to the disk, so that they outlive a power cut."""
    if not is_remote(path):
        for name in list_dir(path):
            with open(os.path.join(path, name), "rb") as file:
                os.fsync(file.fileno())


def remove(path):
    """Removes a file, or a folder and all in it."""
    if is_dir(path):
        remove_tree(path)
    else:
        (_gfile(path) or os).remove(path)


def remove_tree(path):
    """Removes a folder and all in it; nothing where it does not exist."""
    gfile = _gfile(path)
    if exists(path):
        gfile.rmtree(path) if gfile else shutil.rmtree(path)
