"""Training, inference and the reproduction's tasks on a Ray cluster of three nodes, a head and two with a CPU each."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests import command_line
from tests.eagerly import eagerly
from tests.training import tiny
from youtube8m_mod.commands import finetune
from youtube8m_mod.distribution import ray_cluster
from youtube8m_mod.distribution.placement import Placement
from youtube8m_mod.distribution.ray_workers import RayWorkers
from youtube8m_mod.errors import UserError
from youtube8m_mod.inference.ray_pool import RayPool
from youtube8m_mod.inference.run import Inference
from youtube8m_mod.reproduce import ray_schedule, schedule
from youtube8m_mod.reproduce.place import Place
from youtube8m_mod.reproduce.scale import QUICK
from youtube8m_mod.training import checkpoint_store
from youtube8m_mod.training.trainer import Trainer, TrainingOptions

# Sockets on loopback only, no report of usage: before Ray is imported.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's default, 15, starves where other tests run beside.
ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="module")
def address(cluster):
    return cluster.address


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny.write_data(tmp_path_factory.mktemp("data"))


class Lost(Exception):
    pass


class Supervisor:
    """In place of `processes.Supervised`, which would end the process of the tests."""

    def __init__(self, restarts=0):
        self.restarts, self.sentences, self.told = restarts, [], threading.Event()

    def lost(self, sentence):
        self.sentences.append(sentence)
        self.told.set()
        raise Lost(sentence)


def light_server():
    class LightServer:
        """A `TensorFlowServer` without TensorFlow."""

        def start(self, task, host):
            return f"{host}:{task + 1}"

        def ping(self):
            return os.getpid()

        def live(self):
            time.sleep(600)

    return LightServer


@pytest.mark.parametrize(
    "number, timeout, message",
    [
        (signal.SIGKILL, 300, "Worker 1 on node 127.0.0.1 .* died"),  # Known long before the timeout.
        (signal.SIGSTOP, 4, "Worker 1 on node .* froze: .* for 4 s"),
    ],
    ids=["killed", "frozen"],
)
def test_a_lost_worker_is_found_and_named(address, monkeypatch, number, timeout, message):
    monkeypatch.setattr("youtube8m_mod.distribution.ray_workers.TensorFlowServer", light_server())
    supervisor = Supervisor()
    workers = RayWorkers(address, 2, timeout, supervisor)
    assert workers.addresses == ["127.0.0.1:1", "127.0.0.1:2"]
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with workers.guard():
        if number == signal.SIGSTOP:
            time.sleep(timeout + 0.5)
            assert not supervisor.sentences
        os.kill(ray.get(workers._actors[1].ping.remote()), number)
        assert supervisor.told.wait(250)
    ray.util.remove_placement_group(workers._group)
    assert len(supervisor.sentences) == 1 and re.match(message, supervisor.sentences[0])


def test_too_few_devices(address):
    with pytest.raises(UserError, match=r"has 2 free CPUs, expected 3 \(one a subtree\): .* --ray_workers"):
        RayWorkers(address, 3, 1.0, Supervisor())


def test_after_a_restart_fewer_devices_will_do(address, monkeypatch, capsys):
    monkeypatch.setattr("youtube8m_mod.distribution.ray_workers.TensorFlowServer", light_server())
    workers = RayWorkers(address, 3, 4.0, Supervisor(restarts=1))
    assert len(workers.addresses) == 2
    assert "going on with 2 of 3 CPUs" in capsys.readouterr().err
    for actor in workers._actors:
        ray.kill(actor)
    ray.util.remove_placement_group(workers._group)


def test_training_goes_on_by_itself_when_a_worker_is_killed(cluster, data, tmp_path, capfd):
    """The weights are those of one process that nobody disturbed."""
    run, pattern = tiny.run("finetune", ("branching=2",), max_steps=6), f"{data}/validate-*.tfrecord"
    options = TrainingOptions(log_steps=3)
    Trainer(run, str(tmp_path / "undisturbed"), pattern, options, Placement(("CPU:0", "CPU:1"))).train()
    train_dir = tmp_path / "killed"
    raylets = [str(node.all_processes["raylet"][0].process.pid) for node in cluster.list_all_nodes()]

    def kill():
        while not checkpoint_store.steps(str(train_dir)):
            time.sleep(0.05)
        command = ["pgrep", "-P", ",".join(raylets), "-f", "^ray::TensorFlowServer"]
        pids = subprocess.run(command, capture_output=True, text=True).stdout.split()
        os.kill(int(pids[-1]), signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    flags = [f"--set={text}" for text in (*tiny.MODEL, "branching=2")]
    code = command_line.call(
        finetune,
        [
            f"--train_data_pattern={pattern}",
            f"--train_dir={train_dir}",
            "--model=nextvlad_tiny",
            "--rgb_eigenvalues=none",
            "--batch_size=4",
            "--max_steps=6",
            "--checkpoint_steps=1",
            "--log_steps=3",
            f"--ray_address={cluster.address}",
            *flags,
        ],
    )
    said = capfd.readouterr()
    assert code == 0, said.err
    assert re.search(r"warning: Worker \d on node 127.0.0.1 \(\w+\) died; going on .* \(restart 1 of 3\)", said.err)
    assert "Traceback" not in said.err and "(raylet)" not in said.out + said.err
    tiny.assert_same(tiny.stored(train_dir, 6), tiny.stored(tmp_path / "undisturbed", 6))
    devices = json.loads((train_dir / "placement.json").read_text())["devices"]
    for worker in range(2):
        found = devices[f"worker:{worker}/CPU:0"]
        assert found["subtrees"] == [worker] and found["forward_matmuls"] > 0 and found["backward_matmuls"] > 0


class Pool(RayPool):
    """Kills or freezes a worker when it has been given its first files."""

    number, killed = signal.SIGKILL, False

    def _assign(self):
        super()._assign()
        if not self.killed and (busy := [worker for worker in self._workers if worker.group]):
            os.kill(ray.get(busy[0].actor.ping.remote()), self.number)
            self.killed = True


def test_inference_gives_the_bytes_of_one_process_though_a_worker_is_killed(address, data, tmp_path, capfd):
    with eagerly():
        tiny.trainer(data, tmp_path / "run", tiny.run(max_steps=1)).train()

    def inference(folder):
        return Inference(
            train_dir=str(tmp_path / "run"),
            input_data_pattern=f"{data}/*.tfrecord",
            output_file=f"{tmp_path}/{folder}/submission.csv",
            video_predictions_file=f"{tmp_path}/{folder}/videos.csv",
            segment_predictions_file=f"{tmp_path}/{folder}/segments.csv",
            embeddings_file=f"{tmp_path}/{folder}/segments.npz",
            embeddings_of="segments",
            group_megabytes=1e-3,
        )

    counts = inference("one").run()
    pool = Pool(address, inference("ray"))
    found = inference("ray").run(pool)
    assert found["files_done_again"] == 1
    assert all(found[name] == counts[name] for name in ("videos", "segments", "records"))
    for name in ("submission.csv", "videos.csv", "segments.csv", "segments.npz"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert re.search(r"warning: Node 127.0.0.1 \(\w+\) is lost; its 1 files, .* are done again", capfd.readouterr().err)


def test_what_a_frozen_worker_of_inference_was_at_is_done_again(address, monkeypatch, capsys):
    class Light:
        """An actor without models."""

        def load(self, folder, inference):
            pass

        def localize(self, paths):
            time.sleep(0.5)
            return f"piece of {paths}"

        def ping(self):
            return os.getpid()

    monkeypatch.setattr("youtube8m_mod.inference.ray_pool.Localizing", Light)
    monkeypatch.setattr(Pool, "number", signal.SIGSTOP)
    pool = Pool(address, None, timeout=2.0)
    groups = [[f"x{number}", f"y{number}"] for number in range(6)]
    done = list(pool.localize(groups))
    assert sorted(done) == [(group, f"piece of {group}") for group in groups]
    assert pool.files_done_again == 2
    assert re.search(r"froze: it has not answered for 2 s; its 2 files, x\d first, are done", capsys.readouterr().err)


def test_what_a_worker_of_inference_cannot_read_is_an_error_here(address, monkeypatch):
    class Lacking:
        """An actor whose node lacks the model."""

        def load(self, folder, inference):
            raise UserError("runs/m is not a train_dir.")

        def ping(self):
            return os.getpid()

    monkeypatch.setattr("youtube8m_mod.inference.ray_pool.Localizing", Lacking)
    with pytest.raises(UserError, match=r"^Node 127.0.0.1 \(\w+\): runs/m is not a train_dir\.$"):
        list(RayPool(address, None).localize([["x"]]))


def test_trainings_wait_for_what_they_need(address, tmp_path, monkeypatch):
    order = str(tmp_path / "order")

    def note(*what):
        with open(order, "a", encoding="utf-8") as file:
            file.write(" ".join(map(str, what)) + "\n")

    def prepare(folder, place, dataset):
        note("data", dataset[2])

    def train(folder, place, name, seed, threads, *needed):
        note(name, seed)
        return {"name": name}

    monkeypatch.setattr(ray_schedule, "_prepare", prepare)
    monkeypatch.setattr(ray_schedule, "_train", train)
    place = Place(str(tmp_path), QUICK)
    results = schedule.Results(place.output_dir, {})
    tasks = schedule.needed([["finetune_nextvlad"]], [3])
    assert len(tasks) > 1
    ray_schedule.run_all(place, tasks, results, None, address)
    lines = open(order).read().splitlines()
    assert lines == ["data 3", *(f"{name} {seed}" for name, seed in tasks)]
    ray_schedule.run_all(place, tasks, schedule.Results(place.output_dir, {}), None, address)
    assert open(order).read().splitlines() == lines  # Nothing is done again.


@pytest.mark.parametrize(
    "address, message",
    [
        ("auto", "this machine is part of no Ray cluster"),
        ("head", 'must be auto, local or host:port of a Ray cluster\'s head, got "head"'),
        ("ray://head:10001", "must be auto, local or host:port"),
        ("127.0.0.1:1", r"no Ray cluster answers at 127.0.0.1:1 \(.*refused\); start one with ray start --head"),
    ],
)
def test_no_cluster(address, message, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", "/nonexistent")
    with pytest.raises(UserError, match=message):
        ray_cluster.connect(address)


def test_ray_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"needs Ray, which is not installed: pip install 'youtube8m_mod\[cluster\]'"):
        ray_cluster.connect("local")
