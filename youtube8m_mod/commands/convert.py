r"""Makes records of features and tables of labels: the way in for features of one's own (docs/your_own_features.md).

    python -m youtube8m_mod.data.convert --features='clips/*.npy' --labels=labels.csv --segments=segments.csv \
        --output_dir=data

Writes TFRecords of train, validate and test, split by video, a vocabulary, and dataset.json, which the four scripts
take with --dataset. Stopped, it continues with the same command.
"""

from absl import flags

from youtube8m_mod.commands.command import define_settings, run_command, settings
from youtube8m_mod.errors import UserError


def define_flags() -> None:
    from youtube8m_mod.data.convert import ConvertOptions

    define_settings(ConvertOptions)


def main(_: list[str]) -> None:
    from youtube8m_mod import terminal
    from youtube8m_mod.data.convert import ConvertOptions, convert

    given = settings(ConvertOptions)
    for name in ("features", "output_dir"):
        if not given[name]:
            raise UserError(f"--{name} must be given.")
    taken = [name for name in ("format", "normalize", "vocabulary") if flags.FLAGS[name].present]
    if given["like"] and taken:
        raise UserError(f"--{taken[0]} is that of --like, {given['like']}: give one of the two.")
    dataset, rows = convert(ConvertOptions(**given))
    print(terminal.format_table(rows))
    sizes = ", ".join(f"{name} ({size})" for name, size in zip(dataset.feature_names, dataset.feature_sizes))
    print(f"\n{dataset.folder}/dataset.json: features {sizes}; {dataset.num_classes:,} classes.")


def run() -> None:
    run_command(main, define_flags)
