"""How long from the command to the first step of a training?

    python -m benchmarks.startup [--model=mix_nextvlad,mod_nextvlad] [--repeats=3] [--quick]

Runs finetune.py from scratch on a small miniature dataset until `placement.json` says that the first step is done,
then ends it. Beside that, the part that importing TensorFlow takes alone. Medians over whole processes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks import measure
from youtube8m_mod import files
from youtube8m_mod.errors import UserError, run_main
from youtube8m_mod.miniature.composition import Settings
from youtube8m_mod.miniature.writer import write_miniature

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def seconds_to_first_step(model, pattern, train_dir, checkout=ROOT):
    """Seconds from the command to `placement.json`, which is written after the first step."""
    command = [
        sys.executable,
        f"{checkout}/finetune.py",
        f"--model={model}",
        f"--train_data_pattern={pattern}",
        f"--train_dir={train_dir}",
        "--rgb_eigenvalues=none",
        "--batch_size=32",
        "--max_steps=100000",
    ]
    started = time.monotonic()
    with open(f"{train_dir}.log", "wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=checkout, env=os.environ | {"PYTHONPATH": checkout}
        )
    try:
        while not files.exists(f"{train_dir}/placement.json"):
            if process.poll() is not None:
                raise UserError(
                    f"{model}: the run ended with exit code {process.returncode}: "
                    f"{open(train_dir + '.log', encoding='utf-8').read()[-1000:]}"
                )
            time.sleep(0.01)
        return time.monotonic() - started
    finally:
        process.kill()
        process.wait()


def seconds_to_import():
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "import tensorflow"], check=True, stderr=subprocess.DEVNULL)
    return time.monotonic() - started


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="nextvlad,mix_nextvlad,mod_nextvlad,mod_nextvlad_tiny")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="the tiny model, once")
    settings = parser.parse_args(argv)
    models, repeats = (["mod_nextvlad_tiny"], 1) if settings.quick else (settings.model.split(","), settings.repeats)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_miniature(f"{folder}/data", Settings(train_videos=1, validate_videos=60, test_videos=1))
        import_seconds = statistics.median(seconds_to_import() for _ in range(repeats))
        for model in models:
            seconds = [
                seconds_to_first_step(model, f"{folder}/data/validate*.tfrecord", f"{folder}/{model}-{number}")
                for number in range(repeats)
            ]
            rows.append(
                {"case": f"startup, {model}", "to_first_step_s": statistics.median(seconds), "import_s": import_seconds}
            )
    measure.show(rows)
    return 0


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
