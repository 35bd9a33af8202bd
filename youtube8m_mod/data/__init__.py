"""From TFRecords to tensors: schema, shards, parsing, validation, the reader, and a check of shards."""

from youtube8m_mod.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "reader": ["Reader"],
        "records": ["RecordSpec", "frame_level_record", "video_level_record", "write_shard"],
    },
)
