"""The flags that say what records hold: a dataset.json, or keys and missing features one by one."""

from absl import flags

from youtube8m_mod.data.dataset import Dataset
from youtube8m_mod.data.records import MISSING_FEATURES, ReaderSettings, RecordKeys
from youtube8m_mod.overrides import override

FLAGS = flags.FLAGS


def define_dataset_flags(reads_features: bool = True) -> None:
    flags.DEFINE_string(
        "dataset",
        None,
        "dataset.json of python -m youtube8m_mod.data.convert: gives files, features, classes and their names.",
    )
    flags.DEFINE_list(
        "record_keys",
        [],
        "field=key of records with other names than the dataset's or MediaSequence's: id, labels, segment_starts, "
        "segment_ends, segment_labels, segment_scores.",
    )
    if reads_features:
        flags.DEFINE_enum(
            "missing_features",
            None,
            MISSING_FEATURES,
            "What a video gets that lacks a feature (default error); of whitened features mean and zeros are the same.",
        )


def dataset(**partitions: str) -> Dataset | None:
    """The `Dataset` of --dataset, or None.

    Args:
        partitions: flag of a data pattern -> the partition that it has by default.
    """
    given = Dataset.load(FLAGS.dataset) if FLAGS.dataset else None
    for flag, partition in partitions.items() if given else ():
        if not getattr(FLAGS, flag):
            FLAGS.set_default(flag, given.pattern(partition))
    return given


def record_keys() -> RecordKeys:
    """The `RecordKeys` of the flags."""
    given = dataset()
    return override(RecordKeys(**given.record_keys) if given else RecordKeys(), FLAGS.record_keys, once=True)


def reader_settings() -> ReaderSettings:
    """The `ReaderSettings` of the flags."""
    given = dataset()
    if given:
        return given.reader_settings(FLAGS.missing_features, record_keys())
    return ReaderSettings(record_keys(), FLAGS.missing_features or "error")
