r"""Is a run that was killed again and again the run that was never interrupted?

    python -m benchmarks.kill_and_resume [--kills=20] [--steps=160] [--branching=2x2] [--seed=0] [--segments] \
        [--validation]

Trains a tiny MOD on a tiny miniature to the end, and once more with SIGKILL at random moments: while it starts, in a
step, while a checkpoint is written. Then it compares the two last checkpoints bit for bit (weights, averages, Adam,
step, random state, place in the data), the logs, and how often each record was seen in each pass. With --validation
held-out records are scored meanwhile, on exponential averages of the weights, and the best checkpoint is compared too.
"""

import argparse
import collections
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

from youtube8m_mod import config, files, overrides
from youtube8m_mod.errors import UserError, run_main
from youtube8m_mod.terminal import format_table

MODEL = (
    "feature_sizes=16,8",
    "num_classes=30",
    "max_frames=20",
    "clusters=4",
    "groups=2",
    "expansion=1",
    "hidden_size=8",
    "gating_reduction=2",
)
DATA = dict(
    train_videos=70,
    validate_videos=30,
    test_videos=10,
    min_frames=10,
    max_frames=20,
    feature_sizes=(16, 8),
    num_classes=30,
    num_segment_classes=6,
    videos_per_shard=16,
)
BATCH_SIZE = 8
CHECKPOINT_STEPS = 3
VALIDATION_STEPS = 5
LONGEST_STRETCH = 12  # Steps between two kills, at the most.
STARTUP_KILLS = 0.2  # Share of the kills that come before the first step.


def work(pattern, train_dir, settings, seen_path):
    """The run itself, which writes down the ids of every step before it takes the step.

    With `--stay` it never takes its last step: however late the kill comes, it comes in time.
    """
    from youtube8m_mod.training.callbacks import RunCallback
    from youtube8m_mod.training.run import Run
    from youtube8m_mod.training.trainer import Trainer, TrainingOptions
    from youtube8m_mod.training.validation import ValidationOptions

    class Witness(RunCallback):
        def on_train_batch_begin(self, number, logs=None):
            batch = self.trainer.batch
            ids = [video.decode() for video in batch["ids"].numpy()]
            if "start_times" in batch:
                ids = [f"{video}:{start}" for video, start in zip(ids, batch["start_times"].numpy())]
            with open(seen_path, "a", encoding="utf-8") as file:
                file.write(json.dumps([self.trainer.state["step"] + 1, ids]) + "\n")
            while settings.stay and self.trainer.state["step"] + 1 == settings.steps:
                time.sleep(1)

    phase = config.phase_config(
        "finetune" if settings.segments else "pretrain",
        {
            "batch_size": BATCH_SIZE,
            "max_steps": settings.steps,
            "num_epochs": None,
            "ema_momentum": 0.9 if settings.validation else 0.0,
        },
    )
    run = Run(config.model_config("mod_nextvlad_tiny", (*MODEL, f"branching={settings.branching}")), phase)
    options = TrainingOptions(checkpoint_steps=CHECKPOINT_STEPS, log_steps=10)
    held_out = f"{settings.work}/data/{'test' if settings.segments else 'validate'}-*.tfrecord"
    validation = ValidationOptions(held_out, steps=VALIDATION_STEPS) if settings.validation else None
    Trainer(run, train_dir, pattern, options, callbacks=[Witness()], validation=validation).train()


def start(folder, name, settings, *options):
    command = [
        *(sys.executable, "-m", "benchmarks.kill_and_resume", "--work", folder, "--name", name),
        *(f"--steps={settings.steps}", f"--branching={settings.branching}"),
        *(["--segments"] * settings.segments),
        *(["--validation"] * settings.validation),
        *options,
    ]
    with open(f"{folder}/{name}.log", "ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"})


def seen_steps(path):
    """[(step, ids)] of the whole lines that a run wrote down, in the order of time."""
    if not files.exists(path):
        return []
    with files.open_file(path) as file:
        lines = [json.loads(line) for line in file if line.endswith("\n")]
    return [(step, ids) for step, ids in lines]


def finish(folder, name, settings):
    """Runs to the end; returns the seconds, and those to the first step."""
    started, first_step = time.monotonic(), None
    process = start(folder, name, settings)
    while process.poll() is None:
        time.sleep(0.02)
        if first_step is None and files.exists(f"{folder}/{name}.seen"):
            first_step = time.monotonic() - started
    if process.returncode:
        raise UserError(f"The run {name} ended with exit code {process.returncode}; see {folder}/{name}.log.")
    return time.monotonic() - started, first_step


def kill_at_random(folder, settings, startup_seconds):
    """Runs with kills; returns a row for each."""
    random_source, rows = random.Random(settings.seed), []
    seen, train_dir = f"{folder}/killed.seen", f"{folder}/killed"
    for number in range(settings.kills):
        lines = seen_steps(seen)
        before = len(lines)
        process = start(folder, "killed", settings, "--stay")
        in_startup = random_source.random() < STARTUP_KILLS
        end = time.monotonic() + (random_source.uniform(0, startup_seconds) if in_startup else math.inf)
        stretch = random_source.randint(1, LONGEST_STRETCH)
        while process.poll() is None and time.monotonic() < end and len(lines) < before + stretch:
            if len(lines) > before and lines[-1][0] == settings.steps:
                break
            time.sleep(0.02)
            lines = seen_steps(seen)
        if not in_startup:
            time.sleep(random_source.uniform(0, 0.3))
        process.kill()
        if process.wait() != -signal.SIGKILL:
            raise UserError(
                f"The run ended with exit code {process.returncode} before kill {number + 1}; see {folder}/killed.log."
            )
        lines = seen_steps(seen)
        left = files.list_dir(train_dir)
        rows.append(
            {
                "kill": number + 1,
                "steps taken": len(lines) - before,
                "at step": lines[-1][0] if lines else 0,
                "last checkpoint": max((int(name[11:]) for name in left if name.startswith("checkpoint-")), default=0),
                "writing a checkpoint": "yes" if any(name.startswith("partial-") for name in left) else "no",
            }
        )
    return rows


def compare_checkpoints(first, second, step):
    """(number of tensors, names of those that differ by a bit or more) of two runs' checkpoints of a step."""
    import tensorflow as tf

    readers = [tf.train.load_checkpoint(f"{folder}/checkpoint-{step:08d}/variables") for folder in (first, second)]
    names = [set(reader.get_variable_to_shape_map()) for reader in readers]
    different = names[0] ^ names[1]
    for name in (names[0] & names[1]) - {"_CHECKPOINTABLE_OBJECT_GRAPH"}:
        values = [reader.get_tensor(name) for reader in readers]
        if values[0].tobytes() != values[1].tobytes():
            different.add(name)
    return len(names[0]) - 1, sorted(different)


def count_records(lines):
    """What the steps saw: steps taken again with other records, records, whole passes, passes with a record twice."""
    by_step, changed = {}, 0
    for step, ids in lines:
        changed += by_step.get(step, ids) != ids
        by_step[step] = ids
    ids = [video for step in sorted(by_step) for video in by_step[step]]
    records = len(set(ids))
    passes = [collections.Counter(ids[i : i + records]) for i in range(0, len(ids), records)]
    return {
        "steps": len(by_step),
        "changed_steps": changed,
        "records": records,
        "whole_passes": sum(len(counts) == records for counts in passes),
        "passes_with_repeats": sum(max(counts.values()) > 1 for counts in passes),
    }


def log_without_rates(train_dir):
    from youtube8m_mod.training.history import read_history

    return [
        {name: value for name, value in line.items() if name != "examples_per_second"}
        for line in read_history(train_dir)
    ]


def main(argv):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kill_and_resume", allow_abbrev=False, description=__doc__.split("\n")[0]
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--branching", default="2x2", help="of the model")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--segments", action="store_true", help="finetune on segments, not pretrain on videos")
    parser.add_argument("--validation", action="store_true", help="score held-out records, average the weights")
    parser.add_argument("--folder", help="where to work, kept afterwards (default: a temporary one)")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--name", help=argparse.SUPPRESS)
    parser.add_argument("--stay", action="store_true", help=argparse.SUPPRESS)
    settings = parser.parse_args(argv)
    if settings.work:
        pattern = f"{settings.work}/data/{'validate' if settings.segments else 'train'}-*.tfrecord"
        work(pattern, f"{settings.work}/{settings.name}", settings, f"{settings.work}/{settings.name}.seen")
        return 0

    with tempfile.TemporaryDirectory() as temporary:
        folder = settings.folder or temporary
        from youtube8m_mod.miniature.composition import Settings
        from youtube8m_mod.miniature.writer import write_miniature

        write_miniature(f"{folder}/data", overrides.override(Settings(), DATA))
        whole_seconds, startup_seconds = finish(folder, "whole", settings)
        rows = kill_at_random(folder, settings, startup_seconds)
        finish(folder, "killed", settings)

        both = f"{folder}/whole", f"{folder}/killed"
        tensors, different = compare_checkpoints(*both, settings.steps)
        best = [files.read_json(f"{train_dir}/best.json") for train_dir in both] if settings.validation else [None] * 2
        if settings.validation and best[0] == best[1]:
            different += compare_checkpoints(*both, best[0]["step"])[1]
        states = [
            files.read_json(f"{folder}/{name}/checkpoint-{settings.steps:08d}/state.json")
            for name in ("whole", "killed")
        ]
        counts = {name: count_records(seen_steps(f"{folder}/{name}.seen")) for name in ("whole", "killed")}
        taken = len(seen_steps(f"{folder}/killed.seen"))
        logs = [log_without_rates(train_dir) for train_dir in both]
    print(format_table(rows))
    print()
    print(format_table([{"run": name, **values} for name, values in counts.items()]))
    good = (
        not different
        and states[0] == states[1]
        and counts["whole"] == counts["killed"]
        and logs[0] == logs[1]
        and best[0] == best[1]
        and not counts["killed"]["changed_steps"]
        and not counts["killed"]["passes_with_repeats"]
    )
    print(
        json.dumps(
            {
                "case": "kill_and_resume",
                "phase": "finetune" if settings.segments else "pretrain",
                "validations": sum("val_loss" in line for line in logs[0]),
                "kills": len(rows),
                "kills_before_a_step": sum(row["steps taken"] == 0 for row in rows),
                "kills_in_a_checkpoint": sum(row["writing a checkpoint"] == "yes" for row in rows),
                "steps": settings.steps,
                "steps_taken_again": taken - settings.steps,
                "tensors": tensors,
                "tensors_that_differ": len(different),
                "same_place": states[0] == states[1],
                "same_log": logs[0] == logs[1],
                "same_best": best[0] == best[1],
                **counts["killed"],
                "whole_run_s": round(whole_seconds, 1),
                "equal": good,
            }
        )
    )
    for first, second in zip(*logs):
        if first != second:
            names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
            print(
                f"error: the logs differ at step {first['step']} and {second['step']} in {', '.join(names)}: "
                f"{[(first.get(name), second.get(name)) for name in names[:3]]}",
                file=sys.stderr,
            )
            break
    if different:
        print(f"error: these tensors differ: {', '.join(different[:10])}", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
