"""Two real workers on loopback, each with a subtree."""

import json
import re
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests.distribution.placed_models import FOUR, Run, assert_close, batch
from youtube8m_mod import worker
from youtube8m_mod.distribution.placement import Placement
from youtube8m_mod.errors import UserError
from youtube8m_mod.training import checkpoints

RUN = """
import json, sys
import numpy as np
from tests.distribution.placed_models import Run, batch
from youtube8m_mod.distribution.placement import make_placement
from youtube8m_mod.training import checkpoints
from youtube8m_mod.training.placement_report import reported

addresses, folder = sys.argv[1:]
placement = make_placement(workers=addresses.split(","), worker_timeout=60)
with placement.guard():
    run = Run(placement, branching="2")
    with reported(run.model, f"{folder}/placement.json"):
        np.save(f"{folder}/losses.npy", run.train([batch()]))
    checkpoints.save(folder, run.model, run.optimizer, checkpoints.new_state() | {"step": 1}, keep=1)
"""


@pytest.fixture
def workers():
    """Addresses of two workers, and their processes."""
    ports, processes = [], []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            ports.append(probe.getsockname()[1])
    try:
        for task, port in enumerate(ports):
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "youtube8m_mod.worker", f"--port={port}", f"--task={task}"],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
            )
        yield [f"127.0.0.1:{port}" for port in ports], processes
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.stdout.close()


def test_subtrees_on_workers(workers, tmp_path):
    addresses, processes = workers
    run = subprocess.run(
        [sys.executable, "-c", RUN, ",".join(addresses), str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr

    devices = json.loads((tmp_path / "placement.json").read_text())["devices"]
    matmuls = {
        device: (values["subtrees"], values["forward_matmuls"] > 0, values["backward_matmuls"] > 0)
        for device, values in devices.items()
    }
    assert matmuls.pop("CPU:0", ([], False, False)) == ([], False, False)
    assert matmuls == {"worker:0/CPU:0": ([0], True, True), "worker:1/CPU:0": ([1], True, True)}

    local = Run(Placement(FOUR[:2]), branching="2")
    losses = local.train([batch()])
    np.testing.assert_allclose(np.load(tmp_path / "losses.npy"), losses, rtol=1e-5)
    restored = Run(branching="2")
    checkpoints.restore_latest(str(tmp_path), restored.model, restored.optimizer)
    assert_close(restored.state(), local.state(), absolute=5e-5)

    for task, process in enumerate(processes):  # The run is over: each starts afresh.
        ports = [
            re.fullmatch(
                rf"worker {task} listens on {addresses[task]}, TensorFlow's runtime on port (\d+)\n",
                process.stdout.readline(),
            )[1]
            for _ in range(2)
        ]
        assert ports[0] != ports[1]


def test_port_is_needed(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UserError, match="--port must name the port to listen on"):
        worker.main([])


def test_port_in_use():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"Cannot listen on 127.0.0.1:{port}: .*in use"):
            worker.main([f"--port={port}"])
