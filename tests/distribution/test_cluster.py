"""Workers: addresses, greeting, and the watch over them, with workers that are a few lines of text on a socket."""

import contextlib
import json
import os
import socket
import threading

import pytest

from youtube8m_mod.distribution import cluster
from youtube8m_mod.distribution.cluster import Cluster
from youtube8m_mod.errors import UserError

TF_CONFIG = json.dumps({"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}})


def test_addresses():
    assert cluster.worker_addresses("10.0.0.1:2345, host:1") == ["10.0.0.1:2345", "host:1"]
    assert cluster.worker_addresses(None, json.dumps({"cluster": {"worker": ["a:1", "b:2"]}})) == ["a:1", "b:2"]
    assert cluster.worker_addresses(None, None) == []
    assert cluster.own_task(TF_CONFIG) == (1, "b:2")
    assert cluster.own_task(None) == (None, None)
    assert cluster.split_address("[::1]:2345", "--cluster") == ("::1", 2345)


@pytest.mark.parametrize("text", ["host", "host:", ":1", "host:0", "host:65536", "host:port"])
def test_bad_address(text):
    with pytest.raises(UserError, match=f'--cluster: a worker must be given as host:port, got "{text}"'):
        cluster.worker_addresses(f"good:1,{text}")


@pytest.mark.parametrize(
    "value, message",
    [
        ("{", "TF_CONFIG must be JSON like"),
        ('{"cluster": {}}', "TF_CONFIG must be JSON like"),
        ('{"cluster": {"worker": "a:1"}}', "TF_CONFIG must be JSON like"),
        ('{"cluster": {"worker": [1]}}', "TF_CONFIG must be JSON like"),
        ('{"cluster": {"worker": ["a"]}}', "TF_CONFIG: a worker must be given as host:port"),
        (TF_CONFIG, "TF_CONFIG says that this is a worker"),
    ],
)
def test_bad_tf_config(value, message):
    with pytest.raises(UserError, match=message):
        cluster.worker_addresses(None, value)


def test_task_beyond_the_workers():
    config = json.dumps({"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}})
    with pytest.raises(UserError, match="task.index must be a number below 1, the number of its workers, got 1"):
        cluster.own_task(config)


@contextlib.contextmanager
def worker(answer, pongs=0):
    """A worker that answers `hello` with `answer` and then so many pings; yields its address and how to hang up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        hung_up = threading.Event()

        def serve():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    assert cluster.read_line(connection).startswith("hello ")
                    connection.sendall(json.dumps(answer).encode() + b"\n")
                    for _ in range(pongs):
                        assert cluster.read_line(connection) == "ping"
                        connection.sendall(b"pong\n")
                    hung_up.wait(10)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}", hung_up.set
        finally:
            hung_up.set()
            thread.join()


@pytest.mark.parametrize(
    "answer, message",
    [
        ({"task": 1, "runtime_port": 5}, "must be started with --task=0, its place in --cluster; it is task 1"),
        ({"task": 0, "runtime_port": None}, "Worker 0 at .* serves another run"),
    ],
)
def test_greeting_of_a_worker_that_cannot_serve(answer, message):
    with worker(answer) as (address, _), pytest.raises(UserError, match=message):
        Cluster([address], timeout=2)


def test_greeted_worker_hears_from_the_run_while_it_waits_for_others():
    with socket.create_server(("127.0.0.1", 0)) as late, worker({"task": 0, "runtime_port": 5}, pongs=3) as (first, _):
        second = f"127.0.0.1:{late.getsockname()[1]}"
        greeted = []
        thread = threading.Thread(target=lambda: greeted.append(Cluster([first, second], timeout=2)))
        thread.start()
        connection, _ = late.accept()
        with connection:
            assert cluster.read_line(connection) == "hello 2"
            threading.Event().wait(1.2)  # Two pings to the first one meanwhile: it has one more to give.
            connection.sendall(b'{"task": 1, "runtime_port": 6}\n')
            thread.join()
            greeted[0].close()
        assert len(greeted[0].workers) == 2


def test_no_worker_at_an_address(capsys):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(UserError, match=f"Worker 0 at {address} does not answer .*: start it with python -m"):
        Cluster([address], timeout=1)
    assert f"waiting for worker 0 at {address}" in capsys.readouterr().err


@pytest.mark.parametrize("timeout", [0.5, float("nan"), float("inf"), -1])
def test_timeout_that_cannot_be(timeout):
    with pytest.raises(UserError, match=f"--worker_timeout must be from 1 to 86400 seconds, got {timeout:g}"):
        Cluster([], timeout=timeout)


def test_runtime_port_that_cannot_be_reached():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        closed = probe.getsockname()[1]
    with worker({"task": 0, "runtime_port": closed}, pongs=100) as (address, _):
        cluster = Cluster([address], timeout=1)
        with pytest.raises(UserError, match=f"TensorFlow's port {closed} of worker 0 at {address} cannot be reached"):
            cluster.connect()
        cluster.close()


def test_worker_that_answers_to_the_end():
    with worker({"task": 0, "runtime_port": 5}, pongs=100) as (address, _):
        watched = Cluster([address], timeout=1)
        with watched.guard():
            threading.Event().wait(1.5)  # Longer than the timeout: answers count.
        with pytest.raises(KeyError), Cluster([], timeout=1).guard():
            raise KeyError("an error of the run's own")


@pytest.fixture
def exit_codes(monkeypatch):
    """Codes that the process would have ended with."""
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    return codes


def test_dead_worker_ends_the_process_with_its_name(exit_codes, capsys):
    with worker({"task": 0, "runtime_port": 5}) as (address, hang_up):
        with pytest.raises(RuntimeError), Cluster([address], timeout=60).guard():
            hang_up()
            raise RuntimeError("what TensorFlow says of it")
    assert exit_codes == [1]
    assert (
        f"error: Worker 0 at {address} died: its connection is closed; once it is back, the same command goes on "
        "from the last checkpoint."
    ) in capsys.readouterr().err


def test_frozen_worker_ends_the_process_with_its_name(exit_codes, capsys):
    with worker({"task": 0, "runtime_port": 5}, pongs=1) as (address, _):
        watched = Cluster([address], timeout=1)
        with watched.guard():
            assert watched._ended.wait(5)  # As an operation on that worker: until the process is gone.
    assert exit_codes == [1]
    assert f"error: Worker 0 at {address} froze: it has not answered for 1 s" in capsys.readouterr().err


def test_port_kept_to_loopback():
    with socket.create_server(("", 0)) as listener:
        cluster.keep_to_loopback(listener.getsockname()[1])
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo"
    with pytest.raises(UserError, match="Cannot keep TensorFlow's port 1 to this machine"):
        cluster.keep_to_loopback(1)
