"""TensorFlow's servers that TF_CONFIG names: addresses, reaching them, and a training step on two of them."""

import json
import os
import random
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests.distribution.placed_models import FOUR, Run, assert_close, batch
from youtube8m_mod.distribution.placement import Placement
from youtube8m_mod.distribution.servers import Servers, keep_to_loopback, tf_config_addresses
from youtube8m_mod.errors import UserError
from youtube8m_mod.training import checkpoints

TF_CONFIG = json.dumps({"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}})
SERVERS = """
import sys
from youtube8m_mod import environment

environment.prepare()  # TensorFlow is imported faster.
import tensorflow as tf

servers = [tf.distribute.Server({"worker": sys.argv[1:]}, job_name="worker", task_index=task) for task in range(2)]
print("started", flush=True)
sys.stdin.read()
"""
# The system gives these to nobody who asks for any port; what it gives others could be one that was free a moment ago.
PORTS = range(20_000, 32_000)
RUN = """
import json, os, sys
from youtube8m_mod import environment

environment.prepare()
import numpy as np
from tests.distribution.placed_models import Run, batch
from youtube8m_mod.distribution.placement import make_placement
from youtube8m_mod.distribution.servers import Servers, tf_config_addresses
from youtube8m_mod.training import checkpoint_store, checkpoints

cluster = Servers(tf_config_addresses(os.environ["TF_CONFIG"]))
with cluster.guard():
    run = Run(make_placement(cluster=cluster), branching="2")
    assert run.placement.devices == ("worker:0/CPU:0", "worker:1/CPU:0")
    np.save(f"{sys.argv[1]}/losses.npy", run.train([batch()]))
    checkpoints.save(sys.argv[1], run.model, run.optimizer, checkpoint_store.new_state() | {"step": 1}, keep=1)
"""


def test_addresses():
    assert tf_config_addresses(json.dumps({"cluster": {"worker": ["a:1", "b:2"]}})) == ["a:1", "b:2"]
    chief = {"cluster": {"worker": ["[::1]:2345"]}, "task": {"type": "chief", "index": 0}}
    assert tf_config_addresses(json.dumps(chief)) == ["[::1]:2345"]
    assert tf_config_addresses(None) == []


@pytest.mark.parametrize(
    "value, message",
    [
        ("{", "TF_CONFIG must be JSON like"),
        ('{"cluster": {}}', "TF_CONFIG must be JSON like"),
        ('{"cluster": {"worker": "a:1"}}', "TF_CONFIG must be JSON like"),
        ('{"cluster": {"worker": [1]}}', "TF_CONFIG must be JSON like"),
        ('{"cluster": {"worker": ["a"]}}', 'TF_CONFIG: expected a worker as host:port, got "a"'),
        ('{"cluster": {"worker": ["a:65536"]}}', 'TF_CONFIG: expected a worker as host:port, got "a:65536"'),
        (TF_CONFIG, "TF_CONFIG says that this process is a worker"),
    ],
)
def test_bad_tf_config(value, message):
    with pytest.raises(UserError, match=message):
        tf_config_addresses(value)


def test_no_server_at_an_address():
    with socket.socket() as bound:  # And not listening: whoever connects is refused.
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        message = f"Worker 0 at 127.0.0.1:{port} cannot be reached .*: a tf.distribute.Server"
        with pytest.raises(UserError, match=message):
            Servers([f"127.0.0.1:{port}"], timeout=1).connect()


@pytest.mark.parametrize("timeout", [0.5, float("nan"), float("inf"), -1])
def test_timeout_that_cannot_be(timeout):
    with pytest.raises(UserError, match=f"--worker_timeout must be from 1 to 86400 seconds, got {timeout:g}"):
        Servers(["a:1"], timeout)


def test_port_kept_to_loopback():
    with socket.create_server(("", 0)) as listener:
        keep_to_loopback(listener.getsockname()[1])
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo"
    with pytest.raises(UserError, match="Cannot keep TensorFlow's port 1 to this machine"):
        keep_to_loopback(1)


def test_subtrees_on_servers_that_another_scheduler_started(tmp_path, eager):
    servers, addresses = started_servers()
    try:
        run = subprocess.run(
            [sys.executable, "-c", RUN, str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=300,
            env=os.environ | {"TF_CONFIG": json.dumps({"cluster": {"worker": addresses}})},
        )
        assert run.returncode == 0, run.stderr
    finally:
        servers.kill()
        servers.communicate()
    local = Run(Placement(FOUR[:2]), branching="2")
    losses = local.train([batch()])
    np.testing.assert_allclose(np.load(tmp_path / "losses.npy"), losses, rtol=1e-5)
    restored = Run(branching="2")
    checkpoints.restore_latest(str(tmp_path), restored.model, restored.optimizer)
    assert_close(restored.state(), local.state(), absolute=5e-5)


def started_servers():
    """(process of two servers that have started, their addresses)."""
    for _ in range(5):
        addresses = [f"127.0.0.1:{port}" for port in random.sample(PORTS, 2)]
        servers = subprocess.Popen(
            [sys.executable, "-c", SERVERS, *addresses], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if servers.stdout.readline() == "started\n":
            return servers, addresses
        servers.communicate()  # It ended: somebody has one of the ports.
    raise AssertionError("No two ports were free in five tries.")
