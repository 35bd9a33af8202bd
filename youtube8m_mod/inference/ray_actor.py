"""What a Ray actor of inference does. It answers as soon as it has its device: TensorFlow comes with the models."""

import os
from typing import TYPE_CHECKING

from youtube8m_mod import environment

if TYPE_CHECKING:
    from youtube8m_mod.inference.pieces import Piece
    from youtube8m_mod.inference.run import Inference


class Localizing:
    """A `Localizer` with its models."""

    def __init__(self):
        environment.prepare()

    def load(self, folder: str, inference: "Inference") -> None:
        """Loads the models.

        Args:
            folder: the driver's working folder, which relative paths mean.
            inference: an `Inference`.
        """
        if os.path.isdir(folder):
            os.chdir(folder)
        self._localizer = inference.localizer()

    def localize(self, paths: list[str]) -> "Piece":
        return self._localizer.localize(paths)

    def ping(self) -> int:
        """A sign of life: the number of its process."""
        return os.getpid()
