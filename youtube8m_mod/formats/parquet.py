"""Parquet, for which pyarrow is needed."""

from youtube8m_mod.errors import UserError


def check_library(what: str) -> None:
    """Raises `UserError` where pyarrow is missing.

    Args:
        what: is to be written, in the plural, as the sentence begins.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"{what} in Parquet need pyarrow, which cannot be loaded ({error}): pip install 'youtube8m_mod[parquet]'."
        ) from error
