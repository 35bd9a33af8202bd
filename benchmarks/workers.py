"""Does a run on four workers survive the death, and the freezing, of one of them?

    python -m benchmarks.workers [--steps=40] [--timeout=10]

Four workers on this machine's loopback each train a subtree of a tiny mixture. In one run one of them is killed
(SIGKILL), in another one is frozen (SIGSTOP): each time the run must end with a message that names the worker, within
the timeout, and the same command must go on from the last checkpoint when the worker is back. Each run's last
checkpoint is compared with that of a run on four devices of one process that nobody disturbed.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

import numpy as np

from youtube8m_mod.errors import UserError, run_main
from youtube8m_mod.miniature import writer
from youtube8m_mod.terminal import format_table

MODEL = (
    "--model=mod_nextvlad_tiny",
    "--rgb_eigenvalues=none",
    "--set=branching=4",
    "--set=num_classes=60",
    "--set=clusters=8",
    "--set=hidden_size=32",
    "--batch_size=16",
    "--num_epochs=1000",
)
CHECKPOINT_STEPS = 5
VICTIM = 2


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=40, help="of each run")
    parser.add_argument("--timeout", type=float, default=10, help="seconds of --worker_timeout")
    settings = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder, Workers(folder, 4) as workers:
        writer.main(
            [
                f"--output_dir={folder}/data",
                "--train_videos=1",
                "--validate_videos=60",
                "--test_videos=1",
                "--num_classes=60",
                "--num_segment_classes=20",
            ]
        )
        training = Training(folder, settings)
        print("one process, four devices", flush=True)
        training.run("undisturbed", "--logical_cpus=4").wait()
        rows = [
            disturbed(training, workers, name, number, settings.timeout)
            for name, number in (("killed", signal.SIGKILL), ("frozen", signal.SIGSTOP))
        ]
    print(format_table(rows))
    for row in rows:
        print(json.dumps(row))
    return 0 if all(row["exit code"] == 1 and row["largest difference"] < 1e-3 for row in rows) else 1


def disturbed(training, workers, name, number, timeout):
    """One run that loses a worker and is resumed; a row of the table."""
    cluster = f"--cluster={workers.addresses}"
    run = training.run(name, cluster, f"--worker_timeout={timeout}")
    training.wait_for_checkpoint(name, run)
    lost = time.monotonic()
    os.kill(workers.processes[VICTIM].pid, number)
    code = run.wait()
    seconds = time.monotonic() - lost
    print(
        f"\n{name}: {signal.Signals(number).name} to worker {VICTIM}; {seconds:.1f} s later the run has ended, "
        f"exit code {code}:\n    {training.last_line(name)}",
        flush=True,
    )
    workers.revive(VICTIM, number)
    stopped_at = training.last_step(name)
    print(f"worker {VICTIM} is back; the same command again, from step {stopped_at}", flush=True)
    resumed = training.run(name, cluster, "--worker_timeout=120")
    if resumed.wait():
        raise UserError(f"The resumed run failed: {training.last_line(name)}")
    return {
        "run": name,
        "signal": signal.Signals(number).name,
        "exit code": code,
        "seconds to message": seconds,
        "resumed from step": stopped_at,
        "last step": training.last_step(name),
        "largest difference": training.difference("undisturbed", name),
    }


class Workers:
    """Worker processes on loopback."""

    def __init__(self, folder, count):
        self.folder = folder
        self.ports = [free_port() for _ in range(count)]
        self.addresses = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        self.processes = [self._start(task) for task in range(count)]

    def _start(self, task):
        with open(f"{self.folder}/worker-{task}.log", "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "youtube8m_mod.worker", f"--port={self.ports[task]}", f"--task={task}"],
                stdout=log,
                stderr=log,
                env=environment(),
            )

    def revive(self, task, number):
        """Undoes what the signal did."""
        if number == signal.SIGSTOP:
            os.kill(self.processes[task].pid, signal.SIGCONT)
        else:
            self.processes[task].wait()
            self.processes[task] = self._start(task)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()


class Training:
    """Runs of `finetune.py`, by name."""

    def __init__(self, folder, settings):
        self.folder, self.settings = folder, settings

    def run(self, name, *flags):
        command = [
            sys.executable,
            "finetune.py",
            f"--train_data_pattern={self.folder}/data/validate*",
            f"--train_dir={self.folder}/{name}",
            f"--max_steps={self.settings.steps}",
            f"--checkpoint_steps={CHECKPOINT_STEPS}",
            *MODEL,
            *flags,
        ]
        with open(f"{self.folder}/{name}.log", "ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment())

    def wait_for_checkpoint(self, name, run):
        while not self.last_step(name):
            if run.poll() is not None:
                raise UserError(f"The run ended before its first checkpoint: {self.last_line(name)}")
            time.sleep(0.1)

    def last_step(self, name):
        from youtube8m_mod.training import checkpoints

        folder = f"{self.folder}/{name}"
        return max(checkpoints.steps(folder), default=0) if os.path.isdir(folder) else 0

    def last_line(self, name):
        with open(f"{self.folder}/{name}.log", encoding="utf-8", errors="replace") as log:
            lines = [line.strip() for line in log.read().replace("\r", "\n").split("\n")]
        errors = [line for line in lines if line.startswith("error: ")]
        return (errors or list(filter(None, lines)) or [""])[-1]

    def difference(self, name, other):
        """The largest difference between the last checkpoints of two runs, in any variable."""
        import tensorflow as tf

        readers = [
            tf.train.load_checkpoint(f"{self.folder}/{run}/checkpoint-{self.last_step(run):08d}/variables")
            for run in (name, other)
        ]
        shapes = [reader.get_variable_to_shape_map() for reader in readers]
        if shapes[0] != shapes[1]:
            raise UserError("The two runs saved different variables.")
        return max(
            float(np.max(np.abs(readers[0].get_tensor(key).astype("float64") - readers[1].get_tensor(key))))
            for key in shapes[0]
            if key.endswith("VARIABLE_VALUE")
        )


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def environment():
    return os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
