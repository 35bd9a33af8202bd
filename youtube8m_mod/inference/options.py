"""What a run of inference can be asked for."""

import dataclasses

from youtube8m_mod.inference.embeddings import CONCATENATE, MEAN, SEGMENTS, VIDEOS
from youtube8m_mod.localization.ranked_lists import LocalizationConfig
from youtube8m_mod.overrides import setting


@dataclasses.dataclass(frozen=True)
class InferenceOptions(LocalizationConfig):
    """Models, input, outputs and the ranking: each of them is a flag of inference.py."""

    train_dir: str = setting(
        "The segment model: train_dir of finetune.py. Several, separated by commas: the mean of their logits scores."
    )
    input_data_pattern: str = setting("Glob of the videos' TFRecords (comma-separated: several).")
    output_file: str | None = setting("The submission (Class,Segments).", None)
    video_predictions_file: str | None = setting("Predictions of videos (VideoId,LabelConfidencePairs).", None)
    segment_predictions_file: str | None = setting("Predictions of all segments, in the same form.", None)
    timeline_file: str | None = setting(
        "Where classes are in the videos, in seconds: a table (.csv, .parquet), or a WebVTT track for each video in "
        "the folder of this name (.vtt).",
        None,
    )
    timeline_threshold: float = setting("Segments of this value at least are part of a timeline.", 0.5)
    embeddings_file: str | None = setting("Hidden vectors of videos or segments (.npz, .parquet).", None)
    embeddings_of: str = setting("What --embeddings_file holds the vectors of.", VIDEOS, choices=[VIDEOS, SEGMENTS])
    embeddings_join: str = setting(
        "How the vectors of several leaves, or models, are joined in --embeddings_file.",
        CONCATENATE,
        choices=[CONCATENATE, MEAN],
    )
    label_names: str | None = setting(
        "Names of the classes for --timeline_file: the dataset's vocabulary.csv, or one a line.", None
    )
    video_train_dir: str | None = setting(
        "The video-level model, or several (default: those that finetuning started from, else the segment models).",
        None,
    )
    model_weights: str | None = setting(
        "Weights of the logits of several models, in the order of --train_dir (default: equal).", None
    )
    video_model_weights: str | None = setting("The same of --video_train_dir.", None)
    segment_label_ids_file: str | None = setting(
        "The segment classes, one a line (default: those rated in finetuning, else all).", None
    )
    checkpoint: str = setting(
        "Which checkpoint of --train_dir: last, best (by validation in training), a step, or average:<n>, the mean of "
        "the last n. Of several models: one for all, or one each (so too --video_checkpoint and --node).",
        "last",
    )
    video_checkpoint: str | None = setting(
        "The same of --video_train_dir (default: last; of the model that finetuning started from, that very one).", None
    )
    node: str = setting(
        "Part of the segment model that scores: empty is the root, 1/2 the third leaf of the second mixture.", ""
    )
    precision: str = setting(
        "Of the large matmuls. With int8 the first run converts the weights and keeps them beside the checkpoint.",
        "float32",
        choices=["float32", "bfloat16", "int8"],
    )
    segment_shifts: str = setting(
        "Seconds by which the windows of a segment are moved, as -2,-1,0,1,2: the mean of their logits scores.", "0"
    )
    context: str | None = setting(
        "Shares of the neighbouring segments and of the video in the logits of a segment, as 0.2,0.1.", None
    )
    context_reach: int = setting("How many segments on each side --context takes for neighbours.", 1)
    batch_size: int = setting("Videos in a batch.", 16)
    segment_batch_size: int = setting("Segments in a batch.", 512)
    skip_bad_records: bool = setting("Count and skip bad records in place of stopping.", False)
    group_megabytes: float = setting(
        "Input files are done in groups of about so many megabytes: what a stop costs, and a task of Ray.",
        64.0,
    )
