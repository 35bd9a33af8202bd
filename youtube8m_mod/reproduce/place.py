"""Where a reproduction keeps its data, trainings and results."""

import dataclasses
import os

from youtube8m_mod.reproduce.rows import Training
from youtube8m_mod.reproduce.scale import Scale


@dataclasses.dataclass(frozen=True)
class Place:
    """A folder, and what the reproduction in it is made of.

    Attributes:
        bank, bank_test: globs of real video-level records; None: synthetic scenes.
    """

    output_dir: str
    scale: Scale
    bank: str | None = None
    bank_test: str | None = None

    @property
    def bank_path(self) -> str | None:
        """The bank that datasets are composed of."""
        return os.path.join(self.output_dir, "data", "bank.tfrecord") if self.bank else None

    def folder(self, training: Training, seed: int) -> str:
        """The train_dir of a training."""
        return os.path.join(self.output_dir, "trainings", f"{training.name}-seed{seed}")

    def dataset(self, training: Training, seed: int) -> str:
        """The miniature dataset of a training."""
        noisy = "-noisy" if training.variation == "noisy" else ""
        return os.path.join(self.output_dir, "data", f"seed{seed}{noisy}")
