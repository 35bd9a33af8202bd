"""Named arrays in a file: the same arrays give the same bytes."""

import io
from collections.abc import Iterable, Mapping

import numpy as np

from youtube8m_mod import files
from youtube8m_mod.errors import UserError


def write_arrays(path: files.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a dict of numpy arrays as an .npz, whole or not at all."""
    content = io.BytesIO()  # Files of an object store cannot be written out of order.
    np.savez(content, **arrays)
    with files.write_file(path, "wb") as file:
        file.write(content.getbuffer())


def read_arrays(path: files.Path, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """What `write_arrays` wrote: the arrays of these names, which must be there, or all. Nothing is unpickled."""
    with files.open_file(path, "rb") as file:
        content = io.BytesIO(file.read())
    try:
        with np.load(content, allow_pickle=False) as archive:
            missing = sorted(set(names or ()) - set(archive))
            arrays = {} if missing else {name: archive[name] for name in names or archive}
    except Exception as error:  # A damaged archive or header raises what the parsers happen to meet.
        raise UserError(f"{path} is not an archive of arrays (.npz): {error}.") from error
    if missing:
        raise UserError(f"{path} lacks the arrays {', '.join(missing)}.")
    return arrays
