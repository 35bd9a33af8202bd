"""TensorFlow's servers on other machines, whose devices a run uses: finding them, reaching them, connecting to them."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterable

import tensorflow as tf
from tensorflow.python.eager import context

from youtube8m_mod.errors import UserError

LONGEST_TIMEOUT = 86_400  # Seconds; more are no number to a socket in places.


def tf_config_addresses(tf_config: str | None) -> list[str]:
    """Addresses of the workers, "host:port" each, by task; none where TF_CONFIG, whose text this is, names none.

    Raises:
        UserError: where it cannot be read, or says that this process is one of the workers.
    """
    if not tf_config:
        return []
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
        split_address(address)
    if task.get("type") == "worker":
        raise UserError(
            "TF_CONFIG says that this process is a worker: workers run a tf.distribute.Server, and training runs where "
            "TF_CONFIG names no task, or another."
        )
    return list(addresses)


def split_address(address: str) -> tuple[str, int]:
    """(host, port) of "host:port"."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(f'TF_CONFIG: expected a worker as host:port, got "{address}".')
    return host.strip("[]"), int(port)


def check_timeout(timeout: float) -> None:
    if not 1 <= timeout <= LONGEST_TIMEOUT:
        raise UserError(f"--worker_timeout must be from 1 to {LONGEST_TIMEOUT} seconds, got {timeout:g}.")


class Servers:
    """Servers that somebody else has started and watches.

    Args:
        addresses: "host:port" of each `tf.distribute.Server`, by task.
        timeout: seconds to wait for one that does not listen yet.
    """

    def __init__(self, addresses: Iterable[str], timeout: float = 60.0):
        check_timeout(timeout)
        self.addresses, self.timeout = list(addresses), timeout

    def connect(self) -> None:
        """Makes the servers' devices known to TensorFlow; before its first operation.

        Raises:
            UserError: where one cannot be reached, or loopback and other addresses are mixed.
        """
        own_hosts = [self._reach(task, address) for task, address in enumerate(self.addresses)]
        if len({host.startswith("127.") for host in own_hosts}) > 1:
            raise UserError(
                "Workers at loopback addresses cannot be reached by those on other machines: expected addresses of one "
                f"network, got {', '.join(self.addresses)}."
            )
        own_host = own_hosts[0]
        with socket.create_server((own_host, 0)) as probe:
            own_port = probe.getsockname()[1]
        spec = tf.train.ClusterSpec({"localhost": [f"{own_host}:{own_port}"], "worker": self.addresses})
        tf.config.experimental_connect_to_cluster(spec, job_name="localhost", task_index=0)
        context.ensure_initialized()
        if own_host.startswith("127."):
            keep_to_loopback(own_port)

    def guard(self) -> contextlib.AbstractContextManager[None]:
        """A scope for the run. What becomes of the servers meanwhile is seen by no one here."""
        return contextlib.nullcontext()

    def _reach(self, task, address):
        """The address of this machine, as the server at `address` sees it."""
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                with socket.create_connection(split_address(address), timeout=self.timeout) as connection:
                    return connection.getsockname()[0]
            except OSError as error:
                if time.monotonic() > deadline:
                    raise UserError(
                        f"Worker {task} at {address} cannot be reached ({error}): a tf.distribute.Server must listen "
                        "there."
                    ) from error
            time.sleep(0.5)


def keep_to_loopback(port: int) -> None:
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
