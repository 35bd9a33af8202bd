"""Workers on other machines: how a run greets them, connects to them, and notices when one dies or freezes.

A worker (`youtube8m_mod.worker`) has two ports. On the one of its address the run keeps a connection of a few lines of
text: `hello <seconds>` is answered with a line of JSON, {"task", "runtime_port"}; then each `ping` with `pong`. The
other is that of TensorFlow's runtime. Neither knows passwords or encryption: both are for private networks only.
"""

import contextlib
import dataclasses
import json
import os
import select
import socket
import sys
import threading
import time

import tensorflow as tf
from tensorflow.python.eager import context

from youtube8m_mod.errors import UserError

LONGEST_TIMEOUT = 86_400  # Seconds; more are no number to a socket in places.


def worker_addresses(text=None, tf_config=None):
    """Addresses of the workers, "host:port" each, by task.

    Args:
        text: `host:port,host:port,...`, from a command line; None: see `tf_config`.
        tf_config: value of the environment variable TF_CONFIG; its `cluster.worker` counts where there is no text.

    Returns:
        a list; empty where neither names a worker.
    """
    if text is None:
        addresses, task = _workers(tf_config)
        if task.get("type") == "worker":
            raise UserError("TF_CONFIG says that this is a worker: here belongs python -m youtube8m_mod.worker.")
        return addresses
    addresses = [part.strip() for part in text.split(",") if part.strip()]
    for address in addresses:
        split_address(address, "--cluster")
    return addresses


def own_task(tf_config):
    """(number, address) of the worker that TF_CONFIG says this process is; (None, None) where it does not."""
    addresses, task = _workers(tf_config)
    if task.get("type") != "worker":
        return None, None
    index = task.get("index")
    if type(index) is not int or not 0 <= index < len(addresses):
        raise UserError(
            f"TF_CONFIG: task.index must be a number below {len(addresses)}, the number of its workers, got {index!r}."
        )
    return index, addresses[index]


def _workers(tf_config):
    """(addresses of the workers, task) of a TF_CONFIG."""
    if not tf_config:
        return [], {}
    try:
        values = json.loads(tf_config)
        addresses, task = values["cluster"]["worker"], values.get("task", {})
        good = (
            isinstance(task, dict)
            and isinstance(addresses, list)
            and all(isinstance(address, str) for address in addresses)
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        good = False
    if not good:
        raise UserError(
            f'TF_CONFIG must be JSON like {{"cluster": {{"worker": ["host:port", ...]}}}}, got {tf_config[:80]!r}.'
        )
    for address in addresses:
        split_address(address, "TF_CONFIG")
    return list(addresses), task


def split_address(address, source):
    """(host, port) of "host:port"."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(f'{source}: a worker must be given as host:port, got "{address}".')
    return host.strip("[]"), int(port)


@dataclasses.dataclass
class _Worker:
    """A worker that answered."""

    task: int
    address: str
    connection: socket.socket
    runtime_port: int


class Cluster:
    """The workers of a run, greeted and watched.

    Args:
        addresses: of the workers, by task.
        timeout: seconds after which a worker that does not answer counts as lost; also how long a run waits at start.

    Raises:
        UserError: where a worker does not answer, serves another run, or is another task than its place says.
    """

    def __init__(self, addresses, timeout=60.0):
        if not 1 <= timeout <= LONGEST_TIMEOUT:
            raise UserError(f"--worker_timeout must be from 1 to {LONGEST_TIMEOUT} seconds, got {timeout:g}.")
        self.timeout = timeout
        self.workers = []
        self._over, self._lost, self._ended = threading.Event(), threading.Event(), threading.Event()
        self._lock = threading.Lock()
        deadline = time.monotonic() + timeout
        try:
            for task, address in enumerate(addresses):
                worker = self._greet(task, address, deadline)
                self.workers.append(worker)
                # From now on it hears from us; the others may take their time.
                threading.Thread(target=self._watch, args=(worker,), daemon=True).start()
        except BaseException:
            self.close()
            raise

    def connect(self):
        """Makes the workers' devices known to TensorFlow; before its first operation.

        Raises:
            UserError: where TensorFlow's port of a worker cannot be reached, or loopback and other addresses are mixed.
        """
        local = {worker.connection.getpeername()[0].startswith("127.") for worker in self.workers}
        if len(local) > 1:
            raise UserError(
                "Workers at loopback addresses cannot be reached by those on other machines: give --cluster "
                "addresses of one network."
            )
        for worker in self.workers:
            host, port = split_address(worker.address, "--cluster")[0], worker.runtime_port
            try:
                socket.create_connection((host, port), timeout=self.timeout).close()
            except OSError as error:
                raise UserError(
                    f"TensorFlow's port {port} of worker {worker.task} at {worker.address} cannot be reached "
                    f"({error}): open it, or fix it with --runtime_port."
                ) from error
        own_host = self.workers[0].connection.getsockname()[0]
        with socket.create_server((own_host, 0)) as probe:
            own_port = probe.getsockname()[1]
        spec = tf.train.ClusterSpec(
            {
                "localhost": [f"{own_host}:{own_port}"],
                "worker": [f"{split_address(worker.address, '')[0]}:{worker.runtime_port}" for worker in self.workers],
            }
        )
        tf.config.experimental_connect_to_cluster(spec, job_name="localhost", task_index=0)
        context.ensure_initialized()
        if own_host.startswith("127."):
            keep_to_loopback(own_port)

    @contextlib.contextmanager
    def guard(self):
        """A scope in which a lost worker ends the process: a message that names it, exit code 1.

        No exception could do that: an operation on a frozen worker never returns, and after the death of one
        TensorFlow's own clearing up may take minutes.
        """
        try:
            yield
        except Exception:
            # An operation on a dead worker fails at once, in TensorFlow's words; who it was is known a moment later.
            if self._lost.wait(2.0 if self.workers else 0.0):
                self._ended.wait()
            raise
        finally:
            self.close()

    def close(self):
        """Lets the workers go."""
        self._over.set()
        for worker in self.workers:
            worker.connection.close()

    def _greet(self, task, address, deadline):
        host, port = split_address(address, "--cluster")
        waiting = False
        while True:
            try:
                connection = socket.create_connection((host, port), timeout=max(1.0, deadline - time.monotonic()))
                try:
                    answer = json.loads(ask(connection, f"hello {self.timeout:g}"))
                    found, runtime_port = answer["task"], answer["runtime_port"]
                    break
                except BaseException:
                    connection.close()
                    raise
            except (OSError, ValueError, KeyError, TypeError) as error:
                if time.monotonic() > deadline:
                    raise UserError(
                        f"Worker {task} at {address} does not answer ({error}): start it with python -m "
                        f"youtube8m_mod.worker --port={port} --task={task}."
                    ) from error
            if not waiting:
                print(f"waiting for worker {task} at {address}", file=sys.stderr)
            waiting = True
            time.sleep(0.5)
        if runtime_port is None:
            connection.close()
            raise UserError(f"Worker {task} at {address} serves another run.")
        if found != task:
            connection.close()
            raise UserError(
                f"The worker at {address} must be started with --task={task}, its place in --cluster; it "
                f"is task {found}."
            )
        return _Worker(task, address, connection, runtime_port)

    def _watch(self, worker):
        """Asks a worker for a sign of life, four times in the timeout, until the run is over."""
        try:
            while not self._over.is_set():
                if select.select([worker.connection], [], [], self.timeout / 4)[0]:
                    raise ConnectionError("closed")  # It speaks only when asked.
                worker.connection.settimeout(self.timeout * 3 / 4)
                ask(worker.connection, "ping")
        except (OSError, ValueError) as error:
            if not self._over.is_set():
                self._end(worker, error)

    def _end(self, worker, error):
        how = (
            f"froze: it has not answered for {self.timeout:g} s"
            if isinstance(error, TimeoutError)
            else "died: its connection is closed"
        )
        with self._lock:
            if self._lost.is_set():
                return
            self._lost.set()
        print(
            f"\nerror: Worker {worker.task} at {worker.address} {how}; once it is back, the same command goes on "
            "from the last checkpoint.",
            file=sys.stderr,
            flush=True,
        )
        sys.stdout.flush()
        os._exit(1)
        self._ended.set()  # In tests: elsewhere nothing comes after the exit.


def ask(connection, line):
    """Sends a line; returns the line that comes back. Raises `ConnectionError` where the other side hangs up."""
    connection.sendall(f"{line}\n".encode())
    return read_line(connection)


def read_line(connection):
    """The next line of a connection, at most 200 bytes. Raises `ConnectionError` where the other side hangs up."""
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte or len(line) > 200:
            raise ConnectionError("closed")
        line += byte
    return line.decode("ascii", "replace").strip()


def keep_to_loopback(port):
    """Lets this process's listening socket on a port take connections of this machine only.

    TensorFlow's runtime listens on all interfaces whatever address it is given; Linux lets a socket be tied to one.

    Raises:
        UserError: where the system cannot.
    """
    tied = 0
    for descriptor in map(int, os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as listening:
            is_listening = listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            if is_listening and listening.getsockname()[1] == port:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
                tied += 1
    if not tied:
        raise UserError(
            f"Cannot keep TensorFlow's port {port} to this machine (Linux 5.7 or newer can); on a private "
            "network, give the machine's address in place of 127.0.0.1."
        )
