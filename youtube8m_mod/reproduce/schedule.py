"""Runs trainings in worker processes, each as soon as what it needs is there, and keeps the results file."""

import concurrent.futures
import itertools
import multiprocessing
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from youtube8m_mod import environment, files, processes
from youtube8m_mod.errors import UserError
from youtube8m_mod.reproduce.rows import TRAININGS
from youtube8m_mod.terminal import progress

if TYPE_CHECKING:
    from youtube8m_mod.reproduce.place import Place

RESULTS = "results.json"
FOLDERS = ("data", "trainings")  # Beside it: see `Place`.


class Results:
    """The results file: settings, and an entry for each finished training; written whole after each.

    Args:
        output_dir: folder of `results.json`.
        settings: what must not change between runs that share the file.
    """

    def __init__(self, output_dir: str, settings: dict[str, Any]):
        self.path = os.path.join(output_dir, RESULTS)
        self.content = {"settings": settings, "entries": {}}
        found = files.read_json(self.path) if files.exists(self.path) else self.content
        if not isinstance(found, dict) or not all(isinstance(found.get(name), dict) for name in self.content):
            raise UserError(f"{self.path} is not the results of a reproduction; use another --output_dir.")
        changed = [name for name in settings if found["settings"].get(name) != settings[name]]
        # What failed before there was anything, for a wrong flag, binds nobody.
        if changed and (found["entries"] or any(files.list_dir(f"{output_dir}/{name}") for name in FOLDERS)):
            raise UserError(f"{self.path} was made with another {', '.join(changed)}; use another --output_dir.")
        if changed or not files.exists(self.path):
            found = self.content
            files.write_json(self.path, found)  # Before any data is: what is there belongs to these settings.
        self.content = found

    @property
    def entries(self) -> dict[str, dict[str, Any]]:
        """{"<training>/<seed>": entry of `work.run`}."""
        return self.content["entries"]

    def add(self, name: str, seed: int, entry: dict[str, Any]) -> None:
        self.entries[key(name, seed)] = entry
        files.write_json(self.path, self.content)


def key(name: str, seed: int) -> str:
    return f"{name}/{seed}"


def needed(groups: Iterable[Sequence[str]], seeds: Sequence[int]) -> list[tuple[str, int]]:
    """[(training, seed)] with what the named trainings need before them: group by group, in it seed by seed.

    Args:
        groups: lists of names of trainings.
    """
    return list(
        dict.fromkeys(
            (other, seed)
            for names in groups
            for seed in seeds
            for name in names
            for other in (*TRAININGS[name].needs, name)
        )
    )


def run_all(place: "Place", tasks: Sequence[tuple[str, int]], results: Results, jobs: int) -> None:
    """Carries out the tasks that the results lack, `jobs` at a time."""
    waiting = [task for task in tasks if key(*task) not in results.entries]
    running = {}
    context = multiprocessing.get_context("spawn")
    threads = max((os.cpu_count() or 1) // jobs, 1)
    files.make_dirs(place.output_dir)
    log = os.path.join(place.output_dir, "workers.log")
    bar = progress(total=len(tasks), initial=len(tasks) - len(waiting), unit="training", description="reproduce")
    with bar, concurrent.futures.ProcessPoolExecutor(jobs, context, _start_worker, (threads, log)) as pool:
        try:
            # The list raises their errors.
            list(pool.map(prepare, itertools.repeat(place), datasets(place, waiting)))
            while waiting or running:
                for task in [task for task in waiting if _ready(task, results)][: jobs - len(running)]:
                    waiting.remove(task)
                    running[pool.submit(run, place, *task)] = task
                done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    task = running.pop(future)
                    results.add(*task, future.result())
                    bar.set_postfix_str(f"{task[0]}, seed {task[1]}")
                    bar.update()
        except BaseException:
            for worker in multiprocessing.active_children():  # An unfinished training begins anew in any case.
                worker.kill()
            raise


def datasets(place: "Place", tasks: Iterable[tuple[str, int]]) -> list[tuple[str, str, int]]:
    """[(folder, variation, seed)] of the miniature datasets that tasks use, each once."""
    found = {}
    for name, seed in tasks:
        training = TRAININGS[name]
        if training.phase != "gap":
            found.setdefault(place.dataset(training, seed), (training.variation, seed))
    return [(folder, *what) for folder, what in found.items()]


def _ready(task, results):
    name, seed = task
    return all(key(other, seed) in results.entries for other in TRAININGS[name].needs)


def _start_worker(threads, log):
    """Sends what trainings print to a file: the schedule has a progress line of its own."""
    processes.end_with_parent()  # An unfinished training begins anew in any case.
    with open(log, "ab", buffering=0) as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    prepare_process(threads)


def prepare_process(threads: int) -> None:
    """What a process needs once, before it trains."""
    environment.prepare()
    # Otherwise the first worker takes all memory of a GPU, and the others end.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    from youtube8m_mod.reproduce import work

    work.limit_threads(threads)


def prepare(place: "Place", dataset: tuple[str, str, int]) -> None:
    from youtube8m_mod.reproduce import data

    folder, variation, seed = dataset
    data.prepare_dataset(folder, place.scale, seed, variation, place.bank_path)


def run(place: "Place", name: str, seed: int) -> dict[str, Any]:
    from youtube8m_mod.reproduce import work

    return work.run(place, name, seed)
