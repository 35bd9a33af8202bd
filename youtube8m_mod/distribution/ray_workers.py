"""Training over Ray: TensorFlow's servers in actors, one a subtree, reserved, watched, and named when one is lost."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import tensorflow as tf

from youtube8m_mod.distribution import ray_cluster
from youtube8m_mod.distribution.ray_actor import TensorFlowServer
from youtube8m_mod.distribution.servers import Servers, check_timeout
from youtube8m_mod.errors import UserError

if TYPE_CHECKING:
    from youtube8m_mod.processes import Supervised

_START_SECONDS = 600  # For an actor to import TensorFlow and start its server.
_LAST_LOOK = 5  # Seconds in which a lost worker is found after TensorFlow has raised an error.


class RayWorkers(Servers):
    """The workers of a run on a Ray cluster.

    Args:
        address: of the cluster; see `ray_cluster.connect`.
        count: workers: a device each, a GPU where the cluster has any, else a CPU.
        timeout: seconds after which a worker that does not answer is lost; also how long to wait for free devices.
        supervised: a `processes.Supervised`, which learns of a lost worker; after a restart fewer devices will do.

    Attributes:
        names: of the workers, for messages.

    Raises:
        UserError: where there is no cluster, or too few devices are free.
    """

    def __init__(self, address: str, count: int, timeout: float, supervised: "Supervised"):
        check_timeout(timeout)
        self._ray, self._supervised = ray_cluster.connect(address), supervised
        kind = ray_cluster.device_kind(self._ray)
        self._group = group = self._reserve(kind, count, address, timeout)
        self._actors, starts, self.names = [], [], []
        hosts = self._hosts(group)
        actor = self._ray.remote(TensorFlowServer)
        strategy = self._ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy
        for task, (node, host) in enumerate(hosts):
            devices = {"num_gpus": 1, "num_cpus": 0} if kind == "GPU" else {"num_cpus": 1}
            self._actors.append(
                actor.options(
                    **devices, max_concurrency=3, scheduling_strategy=strategy(group, placement_group_bundle_index=task)
                ).remote()
            )
            starts.append(self._actors[-1].start.remote(task, host))
            self.names.append(f"Worker {task} on node {node}")
        addresses = []
        for name, start in zip(self.names, starts):
            try:
                addresses.append(self._ray.get(start, timeout=_START_SECONDS))
            except ray_cluster.lost(self._ray):
                self._lose(f"{name} died while it started")
            except self._ray.exceptions.GetTimeoutError:
                self._lose(f"{name} froze while it started: {_START_SECONDS} s were not enough")
        super().__init__(addresses, timeout)
        self._lives = [actor.live.remote() for actor in self._actors]
        self._over = threading.Event()

    def connect(self) -> None:
        tf.config.set_visible_devices([], "GPU")  # They are the actors', those of this machine too.
        tf.get_logger().setLevel("ERROR")  # A checkpoint over several devices is traced anew: no news to anyone.
        super().connect()

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """A scope in which a lost worker ends the process, which its supervisor starts again."""
        threading.Thread(target=self._watch, daemon=True).start()
        try:
            yield
        except Exception:
            # An operation on a dead worker fails at once, in TensorFlow's words: was it that?
            self._look(_LAST_LOOK)
            raise
        finally:
            self._over.set()

    def _watch(self):
        """Four signs of life in the timeout; a death is known at once."""
        while not self._over.is_set():
            started = time.monotonic()
            self._look(self.timeout * 3 / 4)
            self._find_dead(max(self.timeout / 4 - (time.monotonic() - started), 0.1))

    def _look(self, seconds):
        """Asks each worker for a sign of life."""
        pings = [actor.ping.remote() for actor in self._actors]
        answered, _ = self._ray.wait(pings, num_returns=len(pings), timeout=seconds)
        self._find_dead(0)
        for ping, name in zip(pings, self.names):
            if self._over.is_set():
                return
            if ping not in answered:
                self._lose(f"{name} froze: it has not answered for {self.timeout:g} s")
            try:
                self._ray.get(ping)
            except ray_cluster.lost(self._ray):
                self._lose(f"{name} died")

    def _find_dead(self, seconds):
        dead, _ = self._ray.wait(self._lives, timeout=seconds)
        if dead and not self._over.is_set():
            self._lose(f"{self.names[self._lives.index(dead[0])]} died")

    def _lose(self, sentence):
        """Lets the others go, and ends this process."""

        def kill():
            for actor in self._actors:
                self._ray.kill(actor)

        thread = threading.Thread(target=kill, daemon=True)
        thread.start()
        thread.join(2)
        self._supervised.lost(sentence)

    def _reserve(self, kind, count, address, timeout):
        """A placement group of `count` devices, spread over the nodes; after a restart perhaps of fewer."""
        free = self._free(kind)
        if free < count:
            print(f"waiting for {count} {kind}s of Ray: {free} are free", file=sys.stderr, flush=True)
        while True:
            group = self._ray.util.placement_group([{kind: 1}] * count, strategy="SPREAD")
            if group.wait(timeout):
                return group
            self._ray.util.remove_placement_group(group)
            free = self._free(kind)
            if not (self._supervised.restarts and 0 < free < count):
                raise UserError(
                    f"Ray at {address} has {free} free {kind}s, expected {count} (one a subtree): free or add some, or "
                    "assign the subtrees to fewer with --ray_workers."
                )
            print(f"going on with {free} of {count} {kind}s", file=sys.stderr, flush=True)
            count = free

    def _free(self, kind):
        return int(self._ray.available_resources().get(kind, 0))

    def _hosts(self, group):
        """[(name of the node, address that its server gets)] of the reserved devices; loopback on one machine."""
        nodes = ray_cluster.nodes(self._ray)
        places = self._ray.util.placement_group_table(group)["bundles_to_node_id"]
        own = self._ray.util.get_node_ip_address()
        found = [places[index] for index in range(len(places))]
        hosts = [nodes[node][0] for node in found]
        one_machine = all(host == own for host in hosts)
        return [(f"{host} ({node[:8]})", "127.0.0.1" if one_machine else host) for node, host in zip(found, hosts)]
