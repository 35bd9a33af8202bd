"""The reproduction's trainings as Ray tasks, which depend on each other by references."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from youtube8m_mod import files
from youtube8m_mod.distribution import ray_cluster
from youtube8m_mod.reproduce import schedule
from youtube8m_mod.reproduce.rows import TRAININGS
from youtube8m_mod.terminal import progress

if TYPE_CHECKING:
    from youtube8m_mod.reproduce.place import Place

_prepared = False  # Whether this process of Ray's has been.


def run_all(
    place: "Place", tasks: Sequence[tuple[str, int]], results: schedule.Results, jobs: int | None, address: str
) -> None:
    """Carries out the tasks that the results lack; those of a lost node begin anew elsewhere.

    Args:
        place: a `Place` whose folder all nodes share.
        jobs: trainings at a time; None: one a CPU of the cluster.
        address: of the cluster; see `ray_cluster.connect`.
    """
    ray = ray_cluster.connect(address)
    waiting = [task for task in tasks if schedule.key(*task) not in results.entries]
    resources = ray.cluster_resources()
    cpus = int(resources.get("CPU", 1))
    threads = max(cpus // jobs, 1) if jobs else 1
    share = int(resources.get("GPU", 0) / cpus * threads * 1e4) / 1e4  # Of a GPU: Ray counts in such steps.
    remote = ray.remote(num_cpus=threads, num_gpus=min(share, 1))
    prepare, train = remote(_prepare), remote(_train)
    files.make_dirs(place.output_dir)
    folder = os.getcwd()

    datasets = {dataset[0]: prepare.remote(folder, place, dataset) for dataset in schedule.datasets(place, waiting)}
    trained = {}
    for name, seed in waiting:  # What a training needs comes before it.
        training = TRAININGS[name]
        needed = [trained[other, seed] for other in training.needs if (other, seed) in trained]
        needed += [datasets[path] for path in [place.dataset(training, seed)] if path in datasets]
        trained[name, seed] = train.remote(folder, place, name, seed, threads, *needed)
    running = {reference: task for task, reference in trained.items()}
    bar = progress(total=len(tasks), initial=len(tasks) - len(waiting), unit="training", description="reproduce")
    with bar:
        try:
            while running:
                done, _ = ray.wait(list(running))
                name, seed = running.pop(done[0])
                results.add(name, seed, ray_cluster.result(ray, done[0], f"{name}, seed {seed}: "))
                bar.set_postfix_str(f"{name}, seed {seed}")
                bar.update()
        except BaseException:
            for reference in (*datasets.values(), *running):
                ray.cancel(reference, force=True)
            raise


def _prepare(folder, place, dataset):
    if os.path.isdir(folder):
        os.chdir(folder)  # Relative paths are those of the driver.
    schedule.prepare(place, dataset)


def _train(folder, place, name, seed, threads, *needed):
    """One training, when what it needs is there."""
    global _prepared
    if os.path.isdir(folder):
        os.chdir(folder)
    if not _prepared:
        schedule.prepare_process(threads)
        _prepared = True
    return schedule.run(place, name, seed)
