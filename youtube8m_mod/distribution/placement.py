"""Which subtree lives on which device. Device strings do not leave this file."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from youtube8m_mod import environment
from youtube8m_mod.errors import UserError

if TYPE_CHECKING:
    from youtube8m_mod.distribution.servers import Servers

# Where checkpoints are read and written: by default each worker would do so for its variables, on disks of its own.
CHECKPOINT_OPTIONS = tf.train.CheckpointOptions(experimental_io_device="/job:localhost/replica:0/task:0/device:CPU:0")


class Placement:
    """Deals the subtrees to devices, round robin.

    Args:
        devices: names as `available_devices` gives them; none: TensorFlow places everything itself.
        cluster: the `Servers` that the devices belong to, if any.
    """

    replicas = 1

    def __init__(self, devices: Iterable[str] = (), cluster: "Servers | None" = None):
        self.devices = tuple(devices)
        self.cluster = cluster

    def device_of(self, subtree: int) -> str:
        """The device of a subtree, "" where TensorFlow chooses."""
        return self.devices[subtree % len(self.devices)] if self.devices else ""

    def subtree(self, subtree: int) -> contextlib.AbstractContextManager:
        """A scope: what is made or computed in it is on the subtree's device."""
        return tf.device(_full_name(self.device_of(subtree))) if self.devices else contextlib.nullcontext()

    def shifted(self, number: int) -> "Placement":
        """The placement that begins with another device: where a second model stands beside a first."""
        first = number % len(self.devices) if self.devices else 0
        return Placement(self.devices[first:] + self.devices[:first], self.cluster)

    def root(self) -> contextlib.AbstractContextManager:
        """A scope on the device of the root's own mixing net: that of the first subtree."""
        return self.subtree(0)

    def once_a_device(self, compute: Callable[[], Any]) -> Callable[[int], Any]:
        """A function from a subtree's number to what `compute()` gives, computed once on each device that asks."""
        computed = {}

        def on_the_device_of(subtree):
            device = self.device_of(subtree)
            if device not in computed:
                with self.subtree(subtree):
                    computed[device] = compute()
            return computed[device]

        return on_the_device_of

    def variables(self) -> contextlib.AbstractContextManager:
        """A scope that model and optimizer are made in."""
        return contextlib.nullcontext()

    def check_batch_size(self, size: int) -> None:
        """Raises `UserError` where batches of a size cannot be split over the replicas."""
        if size % self.replicas:
            raise UserError(
                f"A batch of {size} examples does not split evenly over {self.replicas} devices; choose "
                "another --batch_size."
            )

    def step(self, function: Callable[[Any], dict[str, tf.Tensor]]) -> "PlacedStep":
        """`function(batch)`, which trains a step and gives the same logs on each replica, as a `PlacedStep`."""
        return PlacedStep(function)


class DataParallelPlacement(Placement):
    """The whole model on each of several devices, each with its part of every batch (`MirroredStrategy`).

    Gradients are summed over devices before they are clipped and applied, losses averaged. Batch norm takes the
    statistics of each device's part, and its moving averages are the mean over devices.

    Args:
        devices: names of local devices.
    """

    def __init__(self, devices: Iterable[str]):
        super().__init__()
        names = [_full_name(device) for device in devices]
        # The default is NCCL: one whole GPU for each replica.
        gpus = tf.config.list_physical_devices("GPU")
        whole = all("GPU" in name for name in names) and len(names) <= len(gpus)
        reduction = None if whole else tf.distribute.ReductionToOneDevice()
        self.strategy = tf.distribute.MirroredStrategy(names, cross_device_ops=reduction)
        self.replicas = len(names)

    def variables(self) -> contextlib.AbstractContextManager:
        return self.strategy.scope()

    def step(self, function: Callable[[Any], dict[str, tf.Tensor]]) -> "PlacedStep":
        def on_all(parts):
            logs = self.strategy.run(function, (parts,))
            return tf.nest.map_structure(lambda values: self.strategy.experimental_local_results(values)[0], logs)

        return PlacedStep(on_all, self._split)

    def _split(self, batch):
        size = len(batch["labels"])
        part = -(-size // self.replicas)
        if size % self.replicas:  # The last batch of a run: filled up with examples of its own.
            order = tf.range(part * self.replicas) % size
            batch = {key: tf.gather(values, order) for key, values in batch.items()}
        return self.strategy.experimental_distribute_values_from_function(
            lambda replica: {
                key: values[part * replica.replica_id_in_sync_group :][:part] for key, values in batch.items()
            }
        )


class PlacedStep:
    """A training step as a TensorFlow function of a batch.

    Args:
        function: of a batch, as `prepare` gives it.
        prepare: of a batch as the reader gives it.
    """

    def __init__(
        self,
        function: Callable[[Any], dict[str, tf.Tensor]],
        prepare: Callable[[dict[str, tf.Tensor]], Any] = lambda batch: batch,
    ):
        self.function, self.prepare = tf.function(function, autograph=False), prepare

    def __call__(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return self.function(self.prepare(batch))

    def graph(self, batch: dict[str, tf.Tensor]) -> tf.Graph:
        """The traced `tf.Graph` for batches of this shape."""
        return self.function.get_concrete_function(self.prepare(batch)).graph


def make_placement(
    devices: Sequence[str] | None = None,
    *,
    data_parallel: bool = False,
    cluster: "Servers | None" = None,
    logical_cpus: int | None = None,
    logical_gpus: int | None = None,
    logical_gpu_megabytes: int = 4096,
) -> Placement:
    """The placement that a command line asks for. Clusters and logical devices: before TensorFlow's first operation.

    Args:
        devices: names of devices, in the order in which subtrees are assigned; None: all GPUs, without any all CPUs, of
            the cluster where there is one, of this machine otherwise.
        data_parallel: the whole model on each device, in place of a subtree or some.
        cluster: `Servers` to connect to.
        logical_cpus, logical_gpus, logical_gpu_megabytes: see `split_devices`.

    Raises:
        UserError: on a device that is not there, a server that cannot be reached, or data parallelism over a cluster.
    """
    if data_parallel and cluster:
        raise UserError("--data_parallel works on the devices of one machine: it does not go with workers on others.")
    split_devices(logical_cpus, logical_gpus, logical_gpu_megabytes)
    if cluster:
        cluster.connect()
    there = available_devices()
    if unknown := [device for device in devices or () if device not in there]:
        raise UserError(f'Unknown device "{unknown[0]}" in --devices: there are {", ".join(there)}.')
    if not devices:
        candidates = [name for name in there if name.startswith("worker:") == bool(cluster)]
        devices = [name for name in candidates if "GPU" in name] or [name for name in candidates if "CPU" in name]
    return DataParallelPlacement(devices) if data_parallel else Placement(devices, cluster)


def split_devices(
    logical_cpus: int | None = None, logical_gpus: int | None = None, logical_gpu_megabytes: int = 4096
) -> None:
    """Splits the CPU, and the first GPU, into several devices; only before TensorFlow's first operation.

    Raises:
        UserError: where there is no GPU to split, or a number below 1.
    """
    kinds = (("CPU", logical_cpus, {}), ("GPU", logical_gpus, {"memory_limit": logical_gpu_megabytes}))
    for kind, count, options in kinds:
        if count is None:
            continue
        if count < 1:
            raise UserError(f"--logical_{kind.lower()}s must be at least 1, got {count}.")
        physical = tf.config.list_physical_devices(kind)
        if not physical:
            raise UserError(
                f"--logical_{kind.lower()}s={count} needs a {kind}: this machine has none that TensorFlow can use."
            )
        tf.config.set_logical_device_configuration(
            physical[0], [tf.config.LogicalDeviceConfiguration(**options)] * count
        )


def available_devices() -> list[str]:
    """Names of all devices: "GPU:0" on this machine, "worker:1/GPU:0" on the machine of a worker."""
    environment.start()
    return [
        device_name(device.name) for device in tf.config.list_logical_devices() if device.device_type in ("CPU", "GPU")
    ]


def device_name(device: str) -> str:
    """The name that `--devices` takes for a device string of TensorFlow's."""
    spec = tf.DeviceSpec.from_string(device)
    own = f"{spec.device_type or 'CPU'}:{spec.device_index or 0}"
    return own if spec.job in (None, "localhost") else f"{spec.job}:{spec.task or 0}/{own}"


def _full_name(name):
    """TensorFlow's device string for a name of ours."""
    owner, _, own = name.rpartition("/")
    job, _, task = (owner or "localhost:0").partition(":")
    kind, _, index = own.partition(":")
    return f"/job:{job}/replica:0/task:{task}/device:{kind}:{index}"
