"""How long do whole commands take, timed from outside, in one checkout and in another?

    python -m benchmarks.commands --checkouts=<old>,<new> [--model=nextvlad] [--repeats=5] [--quick]

Each checkout trains a video-level model for one step and finetunes it for one (their commands are the start of a
training), then localises 100 videos of 200 to 300 frames with both. The checkouts take turns, so that a drifting
machine touches all alike. Medians of seconds and of the peak of memory.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks import measure
from youtube8m_mod.errors import UserError, run_main
from youtube8m_mod.miniature.composition import Settings
from youtube8m_mod.miniature.writer import write_miniature


def run(checkout, script, **flags):
    """(seconds, peak GB) of a script of a checkout."""
    command = [sys.executable, f"{checkout}/{script}", *(f"--{name}={value}" for name, value in flags.items())]
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


def commands(checkout, folder, model, precisions):
    """(case, function that runs it) of a checkout, in the order in which they need each other."""
    pretrained, finetuned, data = f"{folder}/pretrained", f"{folder}/finetuned", f"{os.path.dirname(folder)}/data"
    labelled, rated, videos = (f"{data}/{part}*.tfrecord" for part in ("train", "validate", "test"))
    short = {"batch_size": 4, "max_steps": 1, "start_new_model": True}
    yield (
        "train.py, one step",
        lambda: run(
            checkout,
            "train.py",
            model=model,
            train_data_pattern=labelled,
            train_dir=pretrained,
            rgb_eigenvalues="none",
            **short,
        ),
    )
    yield (
        "finetune.py, one step",
        lambda: run(
            checkout,
            "finetune.py",
            train_data_pattern=rated,
            pretrained_dir=pretrained,
            train_dir=finetuned,
            **short,
        ),
    )
    for precision in precisions:
        yield (
            f"inference.py, {precision}",
            lambda precision=precision: run(
                checkout,
                "inference.py",
                train_dir=finetuned,
                video_train_dir=pretrained,
                input_data_pattern=videos,
                output_file=f"{folder}/{precision}.csv",
                precision=precision,
            ),
        )


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.commands", description=__doc__.split("\n")[0])
    parser.add_argument("--checkouts", required=True, help="folders of checkouts, comma-separated")
    parser.add_argument("--model", default="nextvlad")
    parser.add_argument("--precisions", default="float32", help="of inference; those that all checkouts know")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="once, the tiny model, few videos")
    settings = parser.parse_args(argv)
    model, repeats, videos = ("nextvlad_tiny", 1, 4) if settings.quick else (settings.model, settings.repeats, 100)
    checkouts = [os.path.abspath(path) for path in settings.checkouts.split(",")]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        size = Settings(train_videos=8, validate_videos=4, test_videos=videos, min_frames=200, max_frames=300)
        write_miniature(f"{folder}/data", size)
        cases = [
            list(commands(path, f"{folder}/{number}", model, settings.precisions.split(",")))
            for number, path in enumerate(checkouts)
        ]
        for number in range(len(checkouts)):
            os.mkdir(f"{folder}/{number}")
        for case in zip(*cases):
            results = [[] for _ in checkouts]
            for _ in range(repeats):
                for found, (_, function) in zip(results, case):
                    found.append(function())
            for path, found in zip(checkouts, results):
                seconds, peaks = zip(*found)
                rows.append(
                    {
                        "case": f"{model}: {case[0][0]}",
                        "checkout": os.path.basename(path),
                        "seconds": statistics.median(seconds),
                        "peak_gb": statistics.median(peaks),
                    }
                )
    measure.show(rows)
    return 0


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
