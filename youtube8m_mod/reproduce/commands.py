"""The commands of the full scale, printed from the rows that the miniature trains."""

from collections.abc import Iterable

from youtube8m_mod.reproduce.rows import ROWS, TRAININGS, Row, Training

DOWNLOAD = """\
# Data: 1.5 TB of frame-level features (https://research.google.com/youtube8m/download.html). Each line goes on where it
# was stopped. Partitions 2 have video labels, partition 3 has the rated segments, as the original used them.
mkdir -p data/2/train data/2/validate data/3/validate data/3/test
(cd data/2/train && curl data.yt8m.org/download.py | partition=2/frame/train mirror=us python)
(cd data/2/validate && curl data.yt8m.org/download.py | partition=2/frame/validate mirror=us python)
(cd data/3/validate && curl data.yt8m.org/download.py | partition=3/frame/validate mirror=us python)
(cd data/3/test && curl data.yt8m.org/download.py | partition=3/frame/test mirror=us python)
curl data.yt8m.org/yt8m_pca.tgz | tar xz -C data  # eigenvals.npy
# data/segment_label_ids.csv: the 1000 segment classes, from the challenge's page or the starter code's repository."""

_VIDEOS = "data/2/train/train*.tfrecord,data/2/validate/validate*.tfrecord"
_SEGMENTS = "data/3/validate/validate*.tfrecord"
_TEST = "data/3/test/test*.tfrecord"
_EIGENVALUES = "data/eigenvals.npy"


def _command(script, **flags):
    return " \\\n    ".join([f"python {script}", *(f"--{name}={_quoted(value)}" for name, value in flags.items())])


def _quoted(value):
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"'{text}'" if "*" in text else text


def training_command(training: Training) -> str:
    """The command that carries out a training on the real dataset."""
    flags = {"train_data_pattern": _VIDEOS if training.phase == "pretrain" else _SEGMENTS}
    if training.pretraining:
        flags["pretrained_dir"] = f"runs/{training.pretraining}"
    else:
        flags |= {"model": training.model, "rgb_eigenvalues": _EIGENVALUES}
        if training.branching:
            flags["set"] = "branching=" + "x".join(map(str, training.branching))
    if training.binary:
        flags["phase"] = f"{training.phase}_plus"
    elif training.tree:
        flags["temperature"] = float(training.temperature)
    flags["train_dir"] = f"runs/{training.name}"
    return _command("train.py" if training.phase == "pretrain" else "finetune.py", **flags)


def inference_command(row: Row) -> str | None:
    """The command that writes the row's submission; None where no script has the row's part."""
    training = TRAININGS[row.training]
    flags = {
        "train_dir": f"runs/{training.name}",
        "input_data_pattern": _TEST,
        "segment_label_ids_file": "data/segment_label_ids.csv",
        "output_file": f"runs/{row.name}.csv",
    }
    if row.part in ("average", "random"):
        return None
    if row.part == "video":
        # With the segment's exponent 0, only the video's probability is left of Eq. 1.
        flags |= {"video_exponent": 1.0, "segment_exponent": 0.0}
    elif row.part == "leaf":
        flags |= {"node": "/".join("0" for _ in training.tree), "video_train_dir": f"runs/{training.shared_candidates}"}
    elif training.phase == "finetune" and training.candidates != training.pretraining:
        flags["video_train_dir"] = f"runs/{training.candidates}"
    return _command("inference.py", **flags)


def full_scale(names: Iterable[str] | None = None) -> str:
    """Shell commands for rows on the real dataset: download, then for each row what is not trained yet, and inference.

    Args:
        names: of rows; None: all.
    """
    lines, done = [DOWNLOAD], set()
    for row in (ROWS[name] for name in names or ROWS):
        paper = f"; paper: private {row.paper[0]:.5f}, public {row.paper[1]:.5f}" if row.paper else ""
        lines.append(f"\n# {row.table}, {row.title} [{row.name}]{paper}")
        training = TRAININGS[row.training]
        inference = inference_command(row)
        if inference is None:
            lines.append("# Scored in the miniature only: inference.py has no such part of a model.")
            continue
        wanted = [training.pretraining, training.candidates]
        wanted += [training.shared_candidates] if row.part == "leaf" else []
        for name in dict.fromkeys(filter(None, [*wanted, training.name])):
            if name not in done:
                done.add(name)
                lines.append(training_command(TRAININGS[name]))
        lines.append(inference)
    lines.append(
        "\n# The test labels are not public: submit runs/<row>.csv to the challenge (late submission) for\n"
        "# the two leaderboards. With pretraining on data/2/train alone (the rated videos are of validate)\n"
        "# and finetuning on a part of data/3/validate, the rest scores here:\n"
        "# python eval_map.py --submission_file=runs/<row>.csv --eval_data_pattern='<the rest>'"
    )
    return "\n".join(lines)
