"""A train_dir at the beginning of a run: whether what it holds is of this run, and that nobody else trains there."""

import fnmatch
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from youtube8m_mod import files
from youtube8m_mod.errors import UserError
from youtube8m_mod.lock import FolderLock
from youtube8m_mod.training import checkpoint_store, checkpoints
from youtube8m_mod.training.run import Run

if TYPE_CHECKING:
    from youtube8m_mod.training.trainer import TrainingOptions

# Of a train_dir, to be removed in this order: while there are checkpoints, there is a run.json.
CONTENTS = ("checkpoint-*", "partial-*", "best.json", "history.jsonl", "events", "eval", "placement.json", "run.json")


def prepare(
    run: Run, train_dir: str, options: "TrainingOptions", data_paths: Sequence[str] | None = None
) -> FolderLock:
    """Takes the train_dir for a run, begun or gone on with, and writes its run.json.

    Args:
        run: a `Run`; of an earlier one in the train_dir it takes what that has found out: the classes, and the
            checkpoint that it started from.
        train_dir: a path.
        options: `TrainingOptions`.
        data_paths: the training files; None: not known.

    Returns:
        the `FolderLock`, which is held.

    Raises:
        UserError: where another process trains there, or the train_dir is of another run or of other training files.
    """
    if run.started_from:
        run.started_from = files.absolute(run.started_from)
        if run.started_from == files.absolute(train_dir):
            raise UserError(f"A run that starts from {run.started_from} needs a --train_dir of its own.")
    if data_paths is not None:
        run.data_files = {path: [size, time] for path, size, time in files.identities(data_paths)}
    lock = FolderLock(train_dir).acquire()
    try:
        if options.start_new_model:
            for pattern in CONTENTS:
                for name in fnmatch.filter(files.list_dir(train_dir), pattern):
                    files.remove(f"{train_dir}/{name}")
        checkpoints.remove_partial(train_dir)
        if files.exists(f"{train_dir}/run.json"):
            earlier = Run.load(train_dir)
            run.check_continues(earlier, train_dir)
            if not options.accept_changed_data:
                _check_data(earlier.data_files, run.data_files, train_dir)
            run.classes = earlier.classes
            run.started_step, run.started_fingerprint = earlier.started_step, earlier.started_fingerprint
        elif checkpoint_store.steps(train_dir):
            raise UserError(f"{train_dir} holds checkpoints but no run.json; use another --train_dir.")
        run.save(train_dir)
    except BaseException:
        lock.release()
        raise
    return lock


def note_start(run: Run, train_dir: str, step: int) -> None:
    """Remembers in run.json the checkpoint that a run has started from.

    Raises:
        UserError: where it is another one than at the first start of the run, of which no checkpoint is left.
    """
    found = step, checkpoint_store.fingerprint(run.started_from, step)
    if run.started_step is not None and found != (run.started_step, run.started_fingerprint):
        raise UserError(
            f"{train_dir} holds a run that started from step {run.started_step} of {run.started_from}, which has "
            f"another checkpoint now, of step {step}; use another --train_dir, or --start_new_model to begin anew."
        )
    run.started_step, run.started_fingerprint = found
    run.save(train_dir)


def _check_data(earlier, now, train_dir):
    if earlier is None or now is None:
        return
    for path in sorted({*earlier, *now}):
        if path not in now:
            what = f"{path} is not among them any more"
        elif path not in earlier:
            what = f"{path} was not among them"
        elif earlier[path][0] != now[path][0]:
            what = f"{path} had {earlier[path][0]:,} bytes and has {now[path][0]:,}"
        else:
            continue
        raise UserError(
            f"{train_dir} holds a run on other training files: {what}; use the same files, another --train_dir, "
            "--start_new_model to begin anew, or --accept_changed_data to go on with these."
        )
    if touched := [path for path in now if earlier[path] != now[path]]:
        print(
            f"warning: {len(touched):,} of {len(now):,} training files have another time than when the run in "
            f"{train_dir} began, but as many bytes: {touched[0]}.",
            file=sys.stderr,
        )
