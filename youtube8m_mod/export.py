"""Writes a trained model for serving (docs/serving.md).

    python -m youtube8m_mod.export --train_dir=<dir> --output_dir=<dir>/<version>

The result is a folded SavedModel that any TensorFlow loads, or with --format=tflite a TFLite model with 8-bit weights.
"""

from typing import TYPE_CHECKING

from absl import flags

from youtube8m_mod.commands.command import run_command
from youtube8m_mod.commands.dataset_flags import dataset
from youtube8m_mod.errors import UserError

if TYPE_CHECKING:
    from youtube8m_mod.training.run import Run

FLAGS = flags.FLAGS


def define_flags() -> None:
    flags.DEFINE_string("train_dir", None, "Of the trained model.", required=True)
    flags.DEFINE_string("checkpoint", "last", "last, best (by validation in training), a step, or average:<n>.")
    flags.DEFINE_string("output_dir", None, "New folder; TensorFlow Serving wants a number as its name.", required=True)
    flags.DEFINE_string(
        "node", "", 'Part of the model that answers: "" is the root, 1/2 the third child of the second child.'
    )
    flags.DEFINE_enum("precision", "float32", ["float32", "bfloat16"], "Of the large matmuls.")
    flags.DEFINE_string(
        "classes", "all", "all, segment (those rated in finetuning), or a file of class numbers with the header Index."
    )
    flags.DEFINE_string("label_names", None, "Names of the classes: the dataset's vocabulary.csv, or one a line.")
    flags.DEFINE_integer("top_k", 20, "Classes in an answer of serialized_examples.")
    flags.DEFINE_enum(
        "embeddings",
        None,
        ["concatenate", "mean"],
        "Adds a signature that gives the hidden vectors of the leaves, one beside the other or their mean.",
    )
    flags.DEFINE_string("model_name", "youtube8m", "Under which the model will be served.")
    flags.DEFINE_enum("format", "saved_model", ["saved_model", "tflite"], "What is written.")
    flags.DEFINE_string(
        "accuracy_data_pattern", None, "Glob of labelled TFRecords: --format=tflite only, which needs it."
    )
    flags.DEFINE_string("dataset", None, "dataset.json of one's own records, which names the classes.")
    flags.DEFINE_float("max_map_loss", 0.01, "--format=tflite only: largest loss of MAP on them.")


def main(_: list[str]) -> None:
    from youtube8m_mod import terminal
    from youtube8m_mod.formats.label_names import read_label_names
    from youtube8m_mod.serving.export import Export, check_new
    from youtube8m_mod.training.checkpoints import load_model

    check_new(FLAGS.output_dir)
    if (FLAGS.format == "tflite") != bool(FLAGS.accuracy_data_pattern):
        raise UserError(
            "--accuracy_data_pattern goes with --format=tflite, which is refused without an accuracy check."
        )
    if FLAGS["max_map_loss"].present and FLAGS.format != "tflite":
        raise UserError("--max_map_loss belongs to --format=tflite.")
    if FLAGS["model_name"].present and FLAGS.format == "tflite":
        raise UserError("--model_name belongs to --format=saved_model, whose warm-up requests name it.")
    model, run = load_model(FLAGS.train_dir, precision="float32", checkpoint=FLAGS.checkpoint)
    if given := dataset():
        FLAGS.set_default("label_names", given.path(given.label_names))
    names = read_label_names(FLAGS.label_names, run.model.num_classes) if FLAGS.label_names else None
    export = Export(
        FLAGS.node,
        FLAGS.precision,
        chosen_classes(FLAGS.classes, run, FLAGS.train_dir),
        names,
        FLAGS.top_k,
        FLAGS.model_name,
        FLAGS.embeddings,
    )
    if FLAGS.format == "tflite":
        summary = export.save_tflite(model, FLAGS.output_dir, FLAGS.accuracy_data_pattern, FLAGS.max_map_loss)
    else:
        summary = export.save_model(model, FLAGS.output_dir)
    row = {
        "model": FLAGS.output_dir,
        "bytes": summary["bytes"],
        "precision": summary["precision"],
        "classes": len(export.classes or range(run.model.num_classes)),
        "largest difference": f"{summary['largest_difference']:.1e}",
    }
    print(
        terminal.format_table(
            [row | {f"MAP {name}": summary[f"{name}_map"] for name in ("float32", "int8") if f"{name}_map" in summary}]
        )
    )


def chosen_classes(choice: str, run: "Run", train_dir: str) -> list[int] | None:
    """The classes that `--classes` asks for; None: all."""
    from youtube8m_mod.formats.class_lists import read_class_ids

    if choice == "all":
        return None
    if choice != "segment":
        return list(read_class_ids(choice, run.model.num_classes))
    if run.classes is None:
        raise UserError(
            f"--classes=segment takes the classes rated in finetuning, but {train_dir} was not finetuned: "
            "name a file of class numbers in place of it."
        )
    return run.classes


def run() -> None:
    run_command(main, define_flags)


if __name__ == "__main__":
    run()
