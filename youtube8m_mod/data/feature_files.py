"""Features of videos in files of arrays and tables: .npy, .npz, Parquet and CSV."""

import os

import numpy as np

from youtube8m_mod import files
from youtube8m_mod.errors import UserError, first_line

SUFFIXES = (".npy", ".npz", ".parquet")


def list_files(pattern: str) -> dict[str, str]:
    """{id of a video: path}, the id being the name of the file without its ending.

    Raises:
        UserError: where nothing matches, a file has another ending, or two have one id.
    """
    found = {}
    for path in files.glob(pattern):
        name, suffix = os.path.splitext(os.path.basename(path))
        if suffix not in SUFFIXES:
            raise UserError(f"{path}: expected a file of features that ends in {', '.join(SUFFIXES)}.")
        if name in found:
            raise UserError(f'The features of "{name}" are in {found[name]} and in {path}: an id must occur once.')
        found[name] = path
    if not found:
        raise UserError(f'No file matches "{pattern}".')
    return dict(sorted(found.items()))


def read_features(path: str) -> dict[str, np.ndarray]:
    """{feature: float32 or uint8 (frames, size)} of a file; the one feature of an .npy is named "".

    An .npz holds an array for each feature. A Parquet file holds a row a frame, in order: a column of lists for each
    feature, or plain columns of numbers, which are the feature "".

    Raises:
        UserError: naming the file, and what is in it in place of frames of numbers.
    """
    suffix = os.path.splitext(path)[1]
    try:
        arrays = _parquet(path) if suffix == ".parquet" else _numpy(path, suffix)
    except UserError:
        raise
    except Exception as error:  # A damaged file raises what the parsers happen to meet.
        raise UserError(f"Cannot read {path}: {first_line(error)}") from error
    return {name: _checked(path, name, values) for name, values in arrays.items()}


def _numpy(path, suffix):
    with files.open_file(path, "rb") as file:
        loaded = np.load(file, allow_pickle=False)
        return {"": loaded} if suffix == ".npy" else {name: loaded[name] for name in loaded}


def _parquet(path):
    import pandas

    try:
        with files.open_file(path, "rb") as file:
            table = pandas.read_parquet(file)
    except ImportError as error:
        raise UserError(f"{path}: Parquet files need pyarrow: pip install 'youtube8m_mod[parquet]'.") from error
    numbers = [name for name in table if table[name].dtype.kind in "fiub"]
    if len(numbers) == len(table.columns):
        return {"": table.to_numpy()}
    lists = [name for name in table if name not in numbers]
    for name in lists:
        lengths = {len(values) if hasattr(values, "__len__") else -1 for values in table[name]}
        if isinstance(table[name].iloc[0], str) or len(lengths) != 1 or -1 in lengths:
            raise UserError(f'{path}: the column "{name}" must hold a list of numbers of one length in each row.')
    return {name: np.stack([np.asarray(values) for values in table[name]]) for name in lists}


def _checked(path, name, values):
    what = f"{path}{f', array {name}' if name else ''}"
    values = values[np.newaxis] if values.ndim == 1 else values  # A vector is one frame.
    if values.ndim != 2 or not values.size:
        raise UserError(f"{what}: expected an array (frames, size), got the shape {values.shape}.")
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "fiu":
        raise UserError(f"{what}: expected numbers, got {values.dtype}.")
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise UserError(
            f"{what}: frame {int(np.argmin(np.isfinite(values).all(axis=1)))} holds NaN or infinite values."
        )
    return values
