"""Scores the checkpoints of a train_dir as they appear, beside the training or on another machine."""

import time
from typing import Any

import tensorflow as tf

from youtube8m_mod import files
from youtube8m_mod.errors import UserError
from youtube8m_mod.terminal import format_table, progress
from youtube8m_mod.training import checkpoint_store, checkpoints
from youtube8m_mod.training.history import write_scalars
from youtube8m_mod.training.run import Run
from youtube8m_mod.training.scorer import Scorer
from youtube8m_mod.training.tensorboard import write_rated_segments
from youtube8m_mod.training.validation import ValidationOptions, held_out_reader

_SECONDS = 10  # Between two looks at the train_dir.


def watch(
    train_dir: str,
    options: ValidationOptions,
    output_file: files.Path | None = None,
    once: bool = False,
    timeout: float | None = None,
) -> list[dict[str, Any]]:
    """Scores every checkpoint of a train_dir on held-out records, and each new one.

    Scores are printed, written to `output_file`, and go to TensorBoard as `<train_dir>/eval`.

    Args:
        train_dir: of a run that may still be training.
        options: `ValidationOptions`.
        output_file: JSON list of {"step", "loss", "<scorer>_<metric>"}; None: not written.
        once: score what is there, and end.
        timeout: end after so many seconds without a new checkpoint; None: never.

    Returns:
        the list.
    """
    run = Run.load(train_dir)
    reader = held_out_reader(run, options)
    rows, seen, last, scorer = [], set(), time.monotonic(), None
    writer = tf.summary.create_file_writer(f"{train_dir}/eval")
    with progress(unit="checkpoint", description="eval") as bar:
        while True:
            for step in [step for step in checkpoint_store.steps(train_dir) if step not in seen]:
                seen.add(step)
                last = time.monotonic()
                try:
                    scorer = _load(train_dir, step, run, reader, options, scorer)
                except UserError as error:
                    bar.write(
                        f"warning: step {step} is passed over: {error}"
                    )  # Training may have removed it meanwhile.
                    continue
                rows.append({"step": step} | scorer())
                with writer.as_default(step):
                    write_scalars({f"val_{name}": value for name, value in rows[-1].items() if name != "step"})
                    write_rated_segments(scorer.rated_videos)
                writer.flush()
                bar.update()
                bar.write(format_table(rows[-1:]))
                if output_file:
                    files.write_json(output_file, rows)
            if once or (timeout is not None and time.monotonic() - last > timeout):
                break
            time.sleep(_SECONDS)
    writer.close()
    return rows


def _load(train_dir, step, run, reader, options, scorer):
    """A `Scorer` of the checkpoint of a step; the model of an earlier one is used again."""
    if scorer is None:
        model, _ = checkpoints.load_model(train_dir, checkpoint=str(step))
        return Scorer(model, run, reader, options.examples)
    checkpoints.restore_weights(train_dir, scorer.model, str(step))
    return scorer
