"""Ray, the engine behind more than one process: finding a cluster, its nodes, and sentences in place of tracebacks.

Ray is the extra `cluster` and imported here only, where --ray_address asks for it.
"""

import contextlib
import logging
import os
import signal
import socket
import warnings
from types import ModuleType
from typing import Any

from youtube8m_mod.errors import UserError, first_line

REACHABLE_SECONDS = 10
_ADDRESS_FILE = "ray_current_cluster"  # Where `ray start` leaves the address of this machine's cluster.


def connect(address: str) -> ModuleType:
    """Connects this process to a Ray cluster, or starts one.

    Args:
        address: "auto", the cluster that this machine is part of (RAY_ADDRESS, else that of `ray start`); "local", a
            new one of this machine alone, which ends with this process; or host:port of a cluster's head.

    Returns:
        the module `ray`.

    Raises:
        UserError: where Ray is not installed, there is no cluster, or it does not let us in.
    """
    found = None if address == "local" else _found(address)
    if not found or found.startswith(("127.", "localhost:")):
        # By this variable, which has its name from other systems, Ray keeps its sockets to the loopback interface.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")  # Of 20, half a minute each, where no Ray listens.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
    except ImportError as error:
        raise UserError(
            "--ray_address needs Ray, which is not installed: pip install 'youtube8m_mod[cluster]'."
        ) from error
    if ray.is_initialized():
        return ray
    place = {"address": found} if found else {"address": "local", "include_dashboard": False}
    # What workers print is in files of Ray's session. What its nodes say would come on stdout all the same.
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    quiet = {"log_to_driver": False, "configure_logging": True, "logging_level": logging.CRITICAL}
    with _signals_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ray.init(**place, **quiet)
        except Exception as error:  # Whatever it meets: other versions, a token that is missing, no node here.
            raise UserError(f"Ray at {place['address']} cannot be used: {first_line(error)}") from error
    return ray


def _found(address):
    """host:port of the head of a cluster, at which something listens: Ray would try for minutes."""
    found = address
    if address == "auto":
        found = os.environ.get("RAY_ADDRESS") or _started_here()
        if not found:
            raise UserError(
                "--ray_address=auto: this machine is part of no Ray cluster (there is no RAY_ADDRESS, no ray start has "
                "run here); name its head as host:port, or give local."
            )
    host, _, port = found.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(f'--ray_address must be auto, local or host:port of a Ray cluster\'s head, got "{found}".')
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACHABLE_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"--ray_address={address}: no Ray cluster answers at {found} ({error}); start one with ray start --head."
        ) from error
    return found


def _started_here():
    path = os.path.join(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", _ADDRESS_FILE)
    with contextlib.suppress(OSError), open(path, encoding="utf-8") as file:
        return file.read().strip()
    return None


@contextlib.contextmanager
def _signals_kept():
    """Ray's own handlers of signals do not stay."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    handlers = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, handlers):
            with contextlib.suppress(ValueError, TypeError):  # Not the main thread.
                signal.signal(number, handler)


def nodes(ray: ModuleType) -> dict[str, tuple[str, dict[str, float]]]:
    """{id: (address, {resource: number})} of the nodes that are alive."""
    return {node["NodeID"]: (node["NodeManagerAddress"], node["Resources"]) for node in ray.nodes() if node["Alive"]}


def device_kind(ray: ModuleType) -> str:
    """ "GPU" where the cluster has one, else "CPU"."""
    return "GPU" if ray.cluster_resources().get("GPU", 0) >= 1 else "CPU"


def result(ray: ModuleType, reference: Any, where: str = "") -> Any:
    """`ray.get`, with a `UserError` of the task as one here.

    Args:
        where: is put before its sentence.
    """
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise UserError(f"{where}{error.cause}") from None
        raise


def lost(ray: ModuleType) -> tuple[type[Exception], ...]:
    """The exceptions by which a task says that its process or node is gone."""
    exceptions = ray.exceptions
    return (
        exceptions.RayActorError,
        exceptions.WorkerCrashedError,
        exceptions.NodeDiedError,
        exceptions.ObjectLostError,
        exceptions.OutOfMemoryError,
    )
