"""dataset.json: what records are that somebody made, in place of a flag for each (youtube8m_mod.data.convert)."""

import dataclasses
import os
from typing import Any

from youtube8m_mod import files
from youtube8m_mod.data.records import MISSING_FEATURES, ReaderSettings, RecordKeys
from youtube8m_mod.errors import UserError
from youtube8m_mod.overrides import check_types, from_dict

DATASET = "dataset.json"
PARTITIONS = ("train", "validate", "test")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A dataset of records.

    Attributes:
        folder: where dataset.json is; the paths in it are relative to that.
        feature_names, feature_sizes, num_classes, clip_features: as in `ModelConfig`.
        partitions: {"train", "validate", "test": glob of TFRecords}; one may be missing.
        label_names: file of the names of the classes.
        segment_classes: file of the classes of which segments are rated; None: there are no ratings.
        eigenvalues: .npy of PCA eigenvalues of the first feature; None: it is not whitened, or stays so.
        missing_features: as in `ReaderSettings`.
        feature_means: {feature: mean of each column}.
        normalization: {feature: {"mean": [...], "deviation": [...]}} that was applied to the features; None: none.
        quantized: features are stored as bytes.
        record_keys: {field of `RecordKeys`: key}.
    """

    folder: str
    feature_names: tuple[str, ...]
    feature_sizes: tuple[int, ...]
    num_classes: int
    partitions: dict
    label_names: str
    clip_features: bool = True
    quantized: bool = False
    segment_classes: str | None = None
    eigenvalues: str | None = None
    missing_features: str = "error"
    feature_means: dict | None = None
    normalization: dict | None = None
    record_keys: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        for name in ("feature_names", "feature_sizes", "num_classes", "clip_features", "quantized"):
            check_types(self, [name])
        for name in ("partitions", "record_keys"):
            if not _texts(getattr(self, name)):
                raise UserError(f"{name} must be an object of texts, got {getattr(self, name)!r}.")
        for name in ("label_names", "segment_classes", "eigenvalues"):
            value = getattr(self, name)
            if not isinstance(value, str) and (value is not None or name == "label_names"):
                raise UserError(f"{name} must be a path, got {value!r}.")
        if len(self.feature_names) != len(self.feature_sizes) or not self.feature_names:
            raise UserError("feature_sizes must have one size for each of feature_names.")
        if self.missing_features not in MISSING_FEATURES:
            raise UserError(f"missing_features must be one of {', '.join(MISSING_FEATURES)}.")
        if unknown := sorted(set(self.record_keys) - {field.name for field in dataclasses.fields(RecordKeys)}):
            raise UserError(f"record_keys has no {unknown[0]}.")
        if self.num_classes < 1 or any(size < 1 for size in self.feature_sizes):
            raise UserError("num_classes and feature_sizes must be at least 1.")
        sizes = dict(zip(self.feature_names, self.feature_sizes))
        if self.feature_means is not None and not _columns(self.feature_means, sizes):
            raise UserError("feature_means must hold the mean of each column of the features.")
        if self.normalization is not None and not (
            isinstance(self.normalization, dict)
            and set(self.normalization) == set(sizes)
            and all(
                isinstance(one, dict)
                and set(one) == {"mean", "deviation"}
                and _columns(one, dict.fromkeys(one, sizes[name]))
                for name, one in self.normalization.items()
            )
        ):
            raise UserError("normalization must hold mean and deviation of each column of each feature.")

    @classmethod
    def load(cls, path: str) -> "Dataset":
        """The dataset of a dataset.json, or of the folder that holds one."""
        if files.is_dir(path):
            path = f"{path.rstrip('/')}/{DATASET}"
        values = files.read_json(path)
        if not isinstance(values, dict):
            raise UserError(f"{path} must hold the fields of a dataset, got {type(values).__name__}.")
        return from_dict(cls, values | {"folder": os.path.dirname(path) or "."}, path)

    def save(self) -> None:
        """Writes `folder/dataset.json`."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if name != "folder"}
        files.write_json(f"{self.folder}/{DATASET}", values)

    def pattern(self, partition: str) -> str:
        """The glob of a partition's records."""
        if partition not in self.partitions:
            raise UserError(f"{self.folder}/{DATASET} has no partition {partition}.")
        return self.path(self.partitions[partition])

    def path(self, name: str | None) -> str | None:
        """The place of a file that the dataset names; None for None."""
        return name and os.path.join(self.folder, name)

    def model_fields(self) -> dict[str, Any]:
        """{field of `ModelConfig`: value} of a model of these records."""
        return {
            name: getattr(self, name) for name in ("feature_names", "feature_sizes", "num_classes", "clip_features")
        }

    def model_texts(self) -> list[str]:
        """The same as "field=value" texts of a command line."""
        return [
            f"{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
            for name, value in self.model_fields().items()
        ]

    def reader_settings(self, missing_features: str | None = None, keys: RecordKeys | None = None) -> ReaderSettings:
        """`ReaderSettings`, with what a command line gave in their place."""
        return ReaderSettings(
            keys or RecordKeys(**self.record_keys), missing_features or self.missing_features, self.feature_means
        )


def _columns(values, sizes):
    """Whether a dict holds lists of so many finite numbers under (some of) the keys of `sizes`."""
    return isinstance(values, dict) and all(
        isinstance(own, list)
        and len(own) == sizes.get(name)
        and all(type(number) in (int, float) and abs(number) < 1e30 for number in own)
        for name, own in values.items()
    )


def _texts(value):
    return isinstance(value, dict) and all(isinstance(text, str) for pair in value.items() for text in pair)
