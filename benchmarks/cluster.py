"""Do training and inference over Ray survive the loss of a node, and what does Ray cost?

    python -m benchmarks.cluster [--steps=40] [--timeout=10] [--files=24] [--part=training|inference]

Ray clusters of four nodes (and a head without devices) on this machine's loopback interface. Training of a tiny MOD: in
one run a node is killed in mid-run and does not come back, in another one a worker is frozen (SIGSTOP); each must go on
by itself, and end with the checkpoint of a run on four devices of one process that nobody disturbed. Inference over
some files: with a node killed, the outputs must have the bytes of one process. All nodes share this machine's cores:
what can be seen here is the overhead, no gain.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

from youtube8m_mod import files
from youtube8m_mod.commands.command import run_main
from youtube8m_mod.errors import UserError
from youtube8m_mod.miniature import writer
from youtube8m_mod.miniature.composition import Settings
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
OUTPUTS = ("submission.csv", "videos.csv", "segments.csv")
_EMPTY_TASKS = 200


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=40, help="of each training")
    parser.add_argument("--timeout", type=float, default=10, help="seconds of --worker_timeout")
    parser.add_argument("--files", type=int, default=24, help="of inference")
    parser.add_argument("--part", choices=["training", "inference"], help="default: both")
    settings = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        writer.write_miniature(
            f"{folder}/data",
            Settings(
                train_videos=1,
                validate_videos=60,
                test_videos=10 * settings.files,
                videos_per_shard=10,
                num_classes=60,
                num_segment_classes=20,
            ),
        )
        undisturbed = Training(folder, "undisturbed", settings, "--logical_cpus=4")
        undisturbed.wait()
        good = True
        if settings.part != "inference":
            good &= training(folder, settings, undisturbed)
        if settings.part != "training":
            good &= inference(folder, settings)
    return 0 if good else 1


def training(folder, settings, undisturbed):
    rows = [{"run": "one process", "seconds": undisturbed.seconds, "last step": undisturbed.last_step()}]
    for name in ("nothing", "node killed", "worker frozen"):
        with RayCluster() as cluster:
            run = Training(
                folder,
                name.replace(" ", "_"),
                settings,
                f"--ray_address={cluster.address}",
                f"--worker_timeout={settings.timeout}",
            )
            row = {"run": f"Ray: {name}"}
            if name != "nothing":
                run.wait_for_checkpoint()
                stopped_at, lost = run.last_step(), time.monotonic()
                cluster.kill_node() if name == "node killed" else cluster.freeze_worker("TensorFlowServer")
                line = run.wait_for("going on from the last checkpoint")
                row |= {"seconds to message": time.monotonic() - lost, "checkpoint then": stopped_at}
                print(line, flush=True)
            run.wait()
            row |= {
                "seconds": run.seconds,
                "last step": run.last_step(),
                "largest difference": run.difference(undisturbed),
            }
            rows.append(row)
    columns = ("run", "seconds", "seconds to message", "checkpoint then", "last step", "largest difference")
    print(format_table(rows, columns))
    for row in rows:
        print(json.dumps(row), flush=True)
    # Subtrees that share a device, as after the loss of a node, round otherwise; else the difference is 0.
    return all(row.get("largest difference", 0) < 1e-5 and row["last step"] == settings.steps for row in rows)


def inference(folder, settings):
    rows = [infer(folder, "one", settings)]
    with RayCluster() as cluster:
        rows.append(infer(folder, "ray", settings, cluster))
        rows.append(infer(folder, "node killed", settings, cluster, disturbed=True))
        overhead = empty_tasks(folder, cluster.address)
    for row in rows[1:]:
        row["same bytes"] = all(
            open(f"{folder}/{row['run']}/{name}", "rb").read() == open(f"{folder}/one/{name}", "rb").read()
            for name in OUTPUTS
        )
    print(format_table(rows, ("run", "seconds", "seconds of the files", "files done again", "same bytes")))
    print(f"a task that does nothing, its result sent: {1000 * overhead:.1f} ms")
    for row in rows:
        print(json.dumps(row))
    return all(row["same bytes"] for row in rows[1:])


def infer(folder, name, settings, cluster=None, disturbed=False):
    """A row of the table."""
    flags = [f"--ray_address={cluster.address}", f"--worker_timeout={settings.timeout}"] if cluster else []
    started = time.monotonic()
    with open(f"{folder}/{name}.log", "wb") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "inference.py",
                f"--train_dir={folder}/undisturbed",
                f"--input_data_pattern={folder}/data/test*",
                f"--output_file={folder}/{name}/submission.csv",
                f"--video_predictions_file={folder}/{name}/videos.csv",
                f"--segment_predictions_file={folder}/{name}/segments.csv",
                "--group_megabytes=0.01",  # A task a file.
                *flags,
            ],
            stdout=log,
            stderr=log,
            env=environment(),
        )
    while disturbed and process.poll() is None:
        parts = f"{folder}/{name}/submission.csv.parts"
        if len(files.list_dir(parts)) > settings.files // 4:
            cluster.kill_node()
            disturbed = False
        time.sleep(0.05)
    code = process.wait()
    with open(f"{folder}/{name}.log", encoding="utf-8", errors="replace") as log:
        text = log.read()
    if code:
        raise UserError(f"Inference ({name}) ended with exit code {code}: {text[-1000:]}")
    again = re.search(r"; ([\d,]+) files done again", text)
    return {
        "run": name,
        "seconds": time.monotonic() - started,
        "seconds of the files": float(re.search(r"segments in ([\d.]+) s", text)[1]),
        "files done again": int(again[1]) if again else 0,
    }


def empty_tasks(folder, address):
    """Seconds a task whose result is a real piece that nobody computed."""
    from youtube8m_mod.inference import ray_pool
    from youtube8m_mod.inference.pieces import Piece

    class Empty:
        def load(self, *_):
            rng = np.random.default_rng(0)
            state = {"scores": rng.random(200_000, np.float32), "codes": rng.integers(0, 9999, 200_000, np.uint32)}
            self.piece = Piece(state, {}, {}, [])

        def localize(self, _):
            return self.piece

        def ping(self):
            pass

    ray_pool.Localizing = Empty
    pool = ray_pool.RayPool(address, None)
    tasks = pool.localize([[str(number)] for number in range(_EMPTY_TASKS)])
    next(tasks)
    started = time.monotonic()
    done = sum(1 for _ in tasks)
    return (time.monotonic() - started) / done


class RayCluster:
    """A head without devices and four nodes of one CPU each."""

    def __enter__(self):
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        # As the process that it is compared with: Ray's default is 15.
        os.environ.setdefault("RAY_worker_niceness", "0")
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self._nodes = [self._cluster.add_node(num_cpus=1) for _ in range(4)]
        self.address = self._cluster.address
        return self

    def __exit__(self, *_):
        import ray

        ray.shutdown()
        self._cluster.shutdown()

    def kill_node(self):
        self._cluster.remove_node(self._nodes.pop(), allow_graceful=False)

    def freeze_worker(self, name):
        raylets = ",".join(str(node.all_processes["raylet"][0].process.pid) for node in self._nodes)
        command = ["pgrep", "-P", raylets, "-f", f"^ray::{name}"]
        found = subprocess.run(command, capture_output=True, text=True).stdout.split()
        os.kill(int(found[-1]), signal.SIGSTOP)


class Training:
    """A run of `finetune.py`."""

    def __init__(self, folder, name, settings, *flags):
        self.train_dir, self._log, self._started = f"{folder}/{name}", f"{folder}/{name}.log", time.monotonic()
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "finetune.py",
                    f"--train_data_pattern={folder}/data/validate*",
                    f"--train_dir={self.train_dir}",
                    f"--max_steps={settings.steps}",
                    f"--checkpoint_steps={CHECKPOINT_STEPS}",
                    *MODEL,
                    *flags,
                ],
                stdout=log,
                stderr=log,
                env=environment(),
            )

    def wait(self):
        code = self._process.wait()
        self.seconds = time.monotonic() - self._started
        if code:
            raise UserError(f"The run ended with exit code {code}: {self._text()[-1000:]}")

    def wait_for_checkpoint(self):
        while not self.last_step():
            self._check_running()

    def wait_for(self, words):
        """The line with these words, as soon as it is there."""
        while words not in self._text():
            self._check_running()
        return next(line for line in self._text().replace("\r", "\n").split("\n") if words in line)

    def _check_running(self):
        if self._process.poll() is not None:
            raise UserError(f"The run ended early: {self._text()[-1000:]}")
        time.sleep(0.05)

    def _text(self):
        with open(self._log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def last_step(self):
        names = [name for name in files.list_dir(self.train_dir) if name.startswith("checkpoint-")]
        return max((int(name.removeprefix("checkpoint-")) for name in names), default=0)

    def difference(self, other):
        """The largest difference between the last checkpoints of two runs, in any variable."""
        import tensorflow as tf

        readers = [
            tf.train.load_checkpoint(f"{run.train_dir}/checkpoint-{run.last_step():08d}/variables")
            for run in (self, other)
        ]
        shapes = [reader.get_variable_to_shape_map() for reader in readers]
        if shapes[0] != shapes[1]:
            raise UserError("The two runs saved different variables.")
        return max(
            float(np.max(np.abs(readers[0].get_tensor(key).astype("float64") - readers[1].get_tensor(key))))
            for key in shapes[0]
            if key.endswith("VARIABLE_VALUE")
        )


def environment():
    return os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
