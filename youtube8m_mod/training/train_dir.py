"""A train_dir at the beginning of a run: whether what it holds is of this run, and that nobody else trains there."""

import dataclasses
import fnmatch
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from youtube8m_mod import files
from youtube8m_mod.errors import UserError
from youtube8m_mod.lock import FolderLock
from youtube8m_mod.training import checkpoint_store, checkpoints
from youtube8m_mod.training.run import Run, short_digest

if TYPE_CHECKING:
    from youtube8m_mod.training.trainer import TrainingOptions

# Of a train_dir, to be removed in this order: while there are checkpoints, there is a run.json.
CONTENTS = ("checkpoint-*", "partial-*", "best.json", "history.jsonl", "events", "eval", "placement.json", "run.json")


def belongs_to_run(path: files.Path, train_dir: files.Path) -> bool:
    """Whether `path` is a file of the run in `train_dir`, or would be in the place of one."""
    inside = files.relative(path, train_dir)
    return inside is not None and any(fnmatch.fnmatch(inside.split("/")[0], pattern) for pattern in CONTENTS)


def check_no_part_of_run(path: files.Path, train_dirs: Iterable[files.Path]) -> None:
    """Raises `UserError` where the output `path` would take the place of a part of the run in one of some folders."""
    if taken := next((train_dir for train_dir in train_dirs if belongs_to_run(path, train_dir)), None):
        raise UserError(
            f"The output {path} would take the place of a part of the run in {taken}: expected another name."
        )


def prepare(
    run: Run, train_dir: str, options: "TrainingOptions", data_paths: Sequence[str] | None = None
) -> FolderLock:
    """Takes the train_dir for a run, begun or gone on with, and writes its run.json.

    Args:
        run: a `Run`; of an earlier one in the train_dir it takes what that has found out: the classes, and the
            checkpoint that it started from. An earlier one that left no checkpoint binds nobody: nothing of it goes on.
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
        if files.same_place(run.started_from, train_dir):
            raise UserError(f"A run that starts from {run.started_from} needs a --train_dir of its own.")
    _note_options(run, options)
    if data_paths is not None:
        run.data_files = {path: [size, time] for path, size, time in files.identities(data_paths)}
    lock = FolderLock(train_dir).acquire()
    try:
        if options.start_new_model:
            for pattern in CONTENTS:
                for name in fnmatch.filter(files.list_dir(train_dir), pattern):
                    files.remove(f"{train_dir}/{name}")
        checkpoints.remove_partial(train_dir)
        if checkpoint_store.steps(train_dir):
            if not files.exists(f"{train_dir}/run.json"):
                raise UserError(f"{train_dir} holds checkpoints but no run.json; use another --train_dir.")
            earlier = Run.load(train_dir)
            run.check_continues(earlier, train_dir)
            for name in ("reading", "eigenvalues", "checkpoint"):
                if getattr(earlier, name) is None:
                    setattr(run, name, None)  # Of an older run it is not known, and what is given now may not be it.
            if not options.accept_changed_data:
                _check_data(earlier.data_files, run.data_files, train_dir)
            run.classes = earlier.classes
            run.held_out = earlier.held_out
            run.started_step, run.started_fingerprint = earlier.started_step, earlier.started_fingerprint
        run.save(train_dir)
    except BaseException:
        lock.release()
        raise
    return lock


def note_start(run: Run, train_dir: str, step: int) -> None:
    """Remembers in run.json the checkpoint that a run has started from."""
    run.started_step, run.started_fingerprint = step, checkpoint_store.fingerprint(run.started_from, step)
    run.save(train_dir)


def _note_options(run, options):
    """Remembers what of the options decides the numbers of a run."""
    keys, means = options.reader.keys, options.reader.feature_means
    run.reading = {f"--record_keys={name}": key for name, key in dataclasses.asdict(keys).items() if key}
    run.reading["--missing_features"] = options.reader.missing_features
    if options.reader.missing_features == "mean" and means:
        run.reading["feature_means of --dataset"] = f"digest {short_digest(sorted(means.items()))}"
    run.eigenvalues = ["none", ""]
    if options.eigenvalues:
        run.eigenvalues = [files.absolute(options.eigenvalues), files.digest(options.eigenvalues)]
    run.checkpoint = options.pretrained_checkpoint if run.started_from else None


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
