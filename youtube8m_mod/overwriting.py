"""That no output takes the place of an input."""

import os
from collections.abc import Iterable, Mapping

from youtube8m_mod import files
from youtube8m_mod.errors import UserError

Paths = files.Path | Iterable[files.Path] | None


def check_outputs(written: Mapping[str, files.Path | None], read: Mapping[str, Paths] | None = None) -> None:
    """Raises `UserError` where an output would take the place of an input, or of another output.

    A file is the same under another name too: by a relative path, or through links.

    Args:
        written: {flag: path of an output, None where there is none}.
        read: {flag: path of an input, or those that its pattern matches; None where there are none}.
    """
    owners = {}
    for flag, paths in (read or {}).items():
        several = paths is not None and not isinstance(paths, (str, os.PathLike))
        for path in paths if several else filter(None, [paths]):
            owners.setdefault(files.place(path), f"a file of --{flag}" if several else f"--{flag}")
    for flag, path in written.items():
        if path:
            other = owners.setdefault(files.place(path), f"--{flag}")
            if other != f"--{flag}":
                raise UserError(f"--{flag} would take the place of {other}, {path}: expected another name.")
