"""How long do whole commands take, and how much memory, timed from outside, in one checkout and in another?

    python -m benchmarks.commands --checkouts=<old>,<new> [--rows=start,int8] [--videos=100] [--repeats=5] [--quick]

* start: from the command `finetune.py` to the end of the first step, of `mod_nextvlad_tiny` and `mod_nextvlad`
* inference: `nextvlad` at both levels on 1 and on `--videos` videos of 200 to 300 frames, and what that makes a second
* int8: the same with 8-bit weights, which an earlier run converted, in the last checkout
* demo: `python -m youtube8m_mod.demo`, once, in the last checkout
* full: `mod_nextvlad` at both levels on 1 video, once; 16 GB of memory and 13 GB of disk

The checkouts take turns, so that a drifting machine touches all alike, and read the same checkpoints, which the first
makes: what they write is compared. Medians over repeats. All rows take some 20 minutes on two idle cores.
"""

import argparse
import filecmp
import glob
import os
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks import measure
from benchmarks.startup import seconds_to_first_step
from youtube8m_mod.errors import UserError, run_main
from youtube8m_mod.miniature.composition import Settings
from youtube8m_mod.miniature.writer import write_miniature

ROWS = ("start", "inference", "int8", "demo", "full")


def run(checkout, script, **flags):
    """(seconds, peak GB) of a script of a checkout, or of a module with `-m`."""
    command = [sys.executable, *script.split(), *(f"--{name}={value}" for name, value in flags.items())]
    with tempfile.TemporaryFile() as log:
        started = time.monotonic()
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=checkout, env=os.environ | {"PYTHONPATH": checkout}
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        if process.returncode:
            log.seek(0)
            raise UserError(f"{' '.join(command)} ended with {process.returncode}: {log.read()[-1000:].decode()}")
    return seconds, usage.ru_maxrss * 1024 / 1e9  # Linux counts in kilobytes.


def in_turn(checkouts, repeats, function):
    """[(median of seconds, median of peaks)] of `function(checkout, number of the repeat)` for each checkout."""
    found = [[] for _ in checkouts]
    for number in range(repeats):
        for results, checkout in zip(found, checkouts):
            results.append(function(checkout, number))
    return [tuple(map(statistics.median, zip(*results))) for results in found]


class Commands:
    """The commands of the table, on data and checkpoints in a folder."""

    def __init__(self, folder, checkouts, videos):
        self.folder, self.checkouts = folder, checkouts
        for name, count in (("data", videos), ("one", 1)):
            size = Settings(train_videos=8, validate_videos=60, test_videos=count, min_frames=200, max_frames=300)
            write_miniature(f"{folder}/{name}", size)

    def first_step(self, checkout, model):
        """Seconds, as `run`; the peak is not known: the command is ended."""
        train_dir = f"{tempfile.mkdtemp(dir=self.folder)}/run"
        return seconds_to_first_step(model, f"{self.folder}/data/validate*.tfrecord", train_dir, checkout), 0.0

    def trained(self, model):
        """The train_dir of a model that the first checkout trained for one step."""
        train_dir = f"{self.folder}/{model}"
        if not os.path.exists(train_dir):
            run(
                self.checkouts[0],
                "train.py",
                model=model,
                train_data_pattern=f"{self.folder}/data/train*.tfrecord",
                train_dir=train_dir,
                rgb_eigenvalues="none",
                batch_size=4,
                max_steps=1,
            )
        return train_dir

    def inference(self, checkout, model, data, precision="float32"):
        """As `run`; the submission must be that of the first checkout."""
        output = f"{self.folder}/{model}-{data}-{precision}-{self.checkouts.index(checkout)}.csv"
        train_dir = self.trained(model)
        result = run(
            checkout,
            "inference.py",
            train_dir=train_dir,
            video_train_dir=train_dir,
            input_data_pattern=f"{self.folder}/{data}/test*.tfrecord",
            output_file=output,
            precision=precision,
        )
        for other in glob.glob(f"{self.folder}/{model}-{data}-{precision}-*.csv"):
            if not filecmp.cmp(output, other, shallow=False):
                raise UserError(f"{checkout} writes another submission than another checkout: {output}, {other}.")
        return result

    def demo(self, checkout):
        return run(checkout, "-m youtube8m_mod.demo", output_dir=f"{self.folder}/demo")


def segments(folder):
    """The number of 5-frame segments in the test videos of a miniature."""
    import tensorflow as tf

    total = 0
    for record in tf.data.TFRecordDataset(glob.glob(f"{folder}/test*.tfrecord")):
        lists = tf.train.SequenceExample.FromString(record.numpy()).feature_lists.feature_list
        total += -(-len(lists["rgb"].feature) // 5)
    return total


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.commands", description=__doc__.split("\n")[0])
    parser.add_argument("--checkouts", required=True, help="folders of checkouts, comma-separated")
    parser.add_argument("--rows", default=",".join(ROWS), help=f"of {', '.join(ROWS)}")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--videos", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="once, tiny models, few videos, no demo")
    settings = parser.parse_args(argv)
    chosen = settings.rows.split(",")
    if unknown := [name for name in chosen if name not in ROWS]:
        raise UserError(f"--rows must be of {', '.join(ROWS)}, got {unknown[0]}.")
    models, full, repeats = ("mod_nextvlad_tiny", "mod_nextvlad"), "mod_nextvlad", settings.repeats
    leaf, videos = "nextvlad", settings.videos
    if settings.quick:
        models, full, repeats, leaf, videos = models[:1], "mod_nextvlad_tiny", 1, "nextvlad_tiny", min(videos, 4)
        chosen = [name for name in chosen if name != "demo"]
    checkouts = [os.path.abspath(path) for path in settings.checkouts.split(",")]
    rows, notes = [], []

    def add(case, used, results):
        for checkout, (seconds, peak) in zip(used, results):
            rows.append(
                {"case": case, "checkout": os.path.basename(checkout), "seconds": seconds, "peak_gb": peak or "-"}
            )
            print(rows[-1], flush=True)

    with tempfile.TemporaryDirectory() as folder:
        commands = Commands(folder, checkouts, videos)
        if "start" in chosen:
            for model in models:
                add(
                    f"finetune.py to the first step, {model}",
                    checkouts,
                    in_turn(checkouts, repeats, lambda checkout, _: commands.first_step(checkout, model)),  # noqa: B023
                )
        for row, precision, used in (("inference", "float32", checkouts), ("int8", "int8", checkouts[-1:])):
            if row not in chosen:
                continue
            if precision == "int8":
                commands.inference(used[0], leaf, "one", precision)  # Converts the weights.
            one, all_ = (
                in_turn(
                    used,
                    repeats,
                    lambda checkout, _: commands.inference(checkout, leaf, data, precision),  # noqa: B023
                )
                for data in ("one", "data")
            )
            add(f"inference.py, {leaf}, {precision}, 1 video", used, one)
            add(f"inference.py, {leaf}, {precision}, {videos} videos", used, all_)
            more = segments(f"{folder}/data") - segments(f"{folder}/one")
            for checkout, (first, _), (whole, _) in zip(used, one, all_):
                name, seconds = os.path.basename(checkout), whole - first
                rate = f"{more / seconds:,.0f} a second" if seconds > 0 else "too few to measure"
                notes.append(f"{precision}, {name}: {more:,} segments more in {seconds:.1f} s, {rate}.")
        if "demo" in chosen:
            add("demo", checkouts[-1:], in_turn(checkouts[-1:], 1, lambda checkout, _: commands.demo(checkout)))
        if "full" in chosen:
            commands.trained(full)
            results = in_turn(checkouts, 1, lambda checkout, _: commands.inference(checkout, full, "one"))
            add(f"inference.py, {full}, 1 video", checkouts, results)
    measure.show(rows, notes)
    return 0


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
