"""Inference over Ray: groups of files as tasks of actors that hold the folded models, done again where one is lost."""

import collections
import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import tensorflow as tf
from tqdm import tqdm

from youtube8m_mod.distribution import ray_cluster
from youtube8m_mod.distribution.servers import check_timeout
from youtube8m_mod.errors import UserError
from youtube8m_mod.inference.ray_actor import Localizing

if TYPE_CHECKING:
    from youtube8m_mod.inference.pieces import Piece
    from youtube8m_mod.inference.run import Inference

_PLACE_SECONDS = 60  # At least so long may all nodes be busy, or processes take to start.
_LOAD_SECONDS = 1800  # An actor that imports and loads may be deaf for so long.
_ATTEMPTS = 3  # A group that loses so many workers, or a node that does, is not tried again.
_LOOK_SECONDS = 5  # Between two looks at which nodes there are.


class _Worker:
    """An actor, and what it was asked: its task is first to load the models, then a group."""

    def __init__(self, node, name, actor, inference):
        self.node, self.name, self.actor = node, name, actor
        self.task, self.group, self.ready = actor.load.remote(os.getcwd(), inference), None, False
        self.ping, self.asked, self.placed = actor.ping.remote(), time.monotonic(), False


class RayPool:
    """Actors on the nodes of a Ray cluster: one a GPU where there are any, else one a node, on new nodes too.

    Args:
        address: of the cluster; see `ray_cluster.connect`.
        inference: an `Inference`, whose models the actors load; its paths must mean the same on all nodes.
        timeout: seconds after which a node that does not answer is lost, and how long a run waits when none is left (a
            minute at least).

    Attributes:
        files_done_again: input files that a lost node was at, which were done again elsewhere.
    """

    def __init__(self, address: str, inference: "Inference", timeout: float = 60.0):
        check_timeout(timeout)
        with contextlib.suppress(RuntimeError):  # Initialised already: then this process keeps what it has.
            tf.config.set_visible_devices([], "GPU")  # They are the actors', those of this machine too.
        self._ray, self._address = ray_cluster.connect(address), address
        self._inference, self._timeout = inference, timeout
        self._actor = self._ray.remote(Localizing)
        self._workers, self._failures, self._attempts = [], collections.Counter(), collections.Counter()
        self._waiting, self.files_done_again = collections.deque(), 0

    def localize(self, groups: Iterable[list[str]]) -> "Iterator[tuple[list[str], Piece]]":
        """Yields (group, its `Piece`) as they are done; a group is a list of paths.

        Raises:
            UserError: of a group or a model, or where no node is left.
        """
        self._waiting = collections.deque(groups)
        looked, alone_since = float("-inf"), time.monotonic()
        try:
            while self._waiting or any(worker.group for worker in self._workers):
                if time.monotonic() - looked > _LOOK_SECONDS:
                    self._start_workers()
                    looked = time.monotonic()
                self._assign()
                yield from self._finished()
                self._look()
                if any(worker.placed for worker in self._workers):
                    alone_since = time.monotonic()
                elif time.monotonic() - alone_since > (seconds := max(self._timeout, _PLACE_SECONDS)):
                    raise UserError(
                        f"Ray at {self._address} has had no free device for {seconds:g} s; what is done is kept, and "
                        "the same command goes on."
                    )
        finally:
            for worker in self._workers:
                self._ray.kill(worker.actor)
            self._workers = []

    def _start_workers(self):
        nodes = ray_cluster.nodes(self._ray)
        kind = "GPU" if any(resources.get("GPU", 0) >= 1 for _, resources in nodes.values()) else "CPU"
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        for node, (address, resources) in nodes.items():
            there = int(resources.get(kind, 0))
            wanted = there if kind == "GPU" else min(there, 1)
            present = sum(worker.node == node for worker in self._workers)
            for _ in range(wanted - present if self._failures[node] < _ATTEMPTS else 0):
                actor = self._actor.options(
                    num_gpus=1 if kind == "GPU" else 0,
                    num_cpus=0 if kind == "GPU" else 1,
                    max_concurrency=2,  # A sign of life while it works.
                    scheduling_strategy=strategy(node, soft=False),
                ).remote()
                self._workers.append(_Worker(node, f"Node {address} ({node[:8]})", actor, self._inference))

    def _assign(self):
        for worker in self._workers:
            if worker.ready and worker.group is None and self._waiting:
                worker.group = self._waiting.popleft()
                worker.task = worker.actor.localize.remote(worker.group)

    def _finished(self):
        """(group, `Piece`) of the tasks that are done, after a second at the most."""
        tasks = {worker.task: worker for worker in self._workers if worker.task}
        if not tasks:
            time.sleep(1)
            return
        done, _ = self._ray.wait(list(tasks), timeout=1)
        for task in done:
            worker = tasks[task]
            try:
                result = ray_cluster.result(self._ray, task, f"{worker.name}: " if not worker.ready else "")
            except ray_cluster.lost(self._ray):
                self._lose(worker, "is lost")
                continue
            group, worker.group, worker.task = worker.group, None, None
            if worker.ready:
                yield group, result
            worker.ready = True

    def _look(self):
        """Asks the workers for signs of life."""
        for worker in list(self._workers):
            now = time.monotonic()
            if worker.ping is None:
                if now - worker.asked > self._timeout / 4:
                    worker.ping, worker.asked = worker.actor.ping.remote(), now
            elif self._ray.wait([worker.ping], timeout=0)[0]:
                try:
                    self._ray.get(worker.ping)
                    worker.ping, worker.placed = None, True
                except ray_cluster.lost(self._ray):
                    self._lose(worker, "is lost")
            elif worker.placed and now - worker.asked > (seconds := self._timeout if worker.ready else _LOAD_SECONDS):
                self._lose(worker, f"froze: it has not answered for {seconds:g} s")

    def _lose(self, worker, how):
        self._workers.remove(worker)
        self._ray.kill(worker.actor)
        self._failures[worker.node] += 1
        again = ""
        if worker.group:
            first = worker.group[0]
            self._attempts[first] += 1
            if self._attempts[first] >= _ATTEMPTS:
                raise UserError(f"{worker.name} {how}, the third one at {first}: what is done is kept.")
            self._waiting.appendleft(worker.group)
            self.files_done_again += len(worker.group)
            again = f"; its {len(worker.group)} files, {first} first, are done again elsewhere"
        tqdm.write(f"warning: {worker.name} {how}{again}", file=sys.stderr)
