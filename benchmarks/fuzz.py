"""Does anything that a person can be handed break the package other than by an error of ours?

    python -m benchmarks.fuzz [--cases=10000] [--seed=0] [--kind=submissions] [--first=0]

Mutated records, shards, submissions, label caches, predictions, configurations, logs, arrays and checkpoints, and
sequences of commands (sequences.py), each from a seed of its own. A case passes with a result or with a `UserError` of
one line that names the file; any other exception, a crash, more than 60 seconds of the processor, or 512 MB more memory
fails. `--kind` and `--first` repeat a failed case.
"""

import argparse
import collections
import faulthandler
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import traceback

from youtube8m_mod.errors import UserError, run_main
from youtube8m_mod.terminal import format_table

SECONDS = 60  # Of the processor: a busy machine is no reason to fail.
HANGING_SECONDS = 1800  # By the clock: then it waits for something that will not come.
MEGABYTES = 512
RESULT, REFUSED, SKIPPED = "result", "error of ours", "counted and skipped"


class TooLong(BaseException):
    """A case took more than `SECONDS`."""


def run_case(target, seed, name):
    """Runs `target(random)`.

    Returns:
        ({outcome: number of cases}, None or the traceback of what failed). A target that does several cases at once
        returns their outcomes; else the outcome is one.
    """

    def too_long(*_):
        raise TooLong

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    previous = signal.signal(signal.SIGPROF, too_long)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        outcomes = target(random.Random(f"{seed}/{name}")) or {RESULT: 1}
    except UserError as error:
        if not str(error) or "\n" in str(error) or len(str(error)) > 4000:
            return {"error without a good sentence": 1}, str(error)
        outcomes = {REFUSED: 1}
    except (Exception, TooLong) as error:
        return {f"{type(error).__name__}": 1}, traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    if grown > MEGABYTES:
        return {"memory": 1}, f"{grown:.0f} MB"
    return outcomes, None


def run_kind(kind, cases, seed, folder, first=0):
    """Yields (number of the case, outcomes, failure) of the `cases` of a kind from `first` on."""
    from benchmarks.fuzz_targets import TARGETS

    target = TARGETS[kind](folder)
    group = getattr(target, "group", 1)
    for number in range(first, cases, group):
        outcomes, failure = run_case(target, seed, f"{kind}/{number}")
        if failure:
            outcomes = {name: group for name in outcomes}
        yield number, outcomes, failure


def work(settings):
    """The process that does the cases of one kind: a line of JSON after each, the number before it."""
    with tempfile.TemporaryDirectory() as folder:
        faulthandler.enable()
        print(settings.first, flush=True)
        for number, outcomes, failure in run_kind(settings.kind, settings.cases, settings.seed, folder, settings.first):
            faulthandler.dump_traceback_later(HANGING_SECONDS, exit=True)  # Where no signal is heard.
            print(json.dumps([number, outcomes, failure]), flush=True)


def tally(kind, cases, seed, first=0):
    """(outcomes, failures) of all cases of a kind, in a process of their own, and another one after a crash."""
    from benchmarks.fuzz_targets import TARGETS

    outcomes, failures = collections.Counter(), []
    group = getattr(TARGETS[kind], "group", 1)
    while first < cases:
        command = [
            sys.executable,
            "-m",
            "benchmarks.fuzz",
            "--work",
            "--kind",
            kind,
            "--cases",
            str(cases),
            "--seed",
            str(seed),
            "--first",
            str(first),
        ]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"},
        )
        stdout, stderr = process.communicate()
        for line in stdout.splitlines():
            value = json.loads(line)
            if isinstance(value, list):
                number, found, failure = value
                outcomes.update(found)
                first = number + group
                if failure:
                    failures.append(f"{kind} {number}: {failure}")
        if process.returncode:
            outcomes["crash"] += group
            failures.append(f"{kind} {first}: the process ended with {process.returncode}: {stderr[-2000:]}")
            first += group
    return outcomes, failures


def main(argv):
    from benchmarks.fuzz_targets import SHARES

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fuzz", allow_abbrev=False, description=__doc__.split("\n")[0]
    )
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=SHARES, help="only these cases")
    parser.add_argument("--first", type=int, default=0, help="number of the first of them")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    settings = parser.parse_args(argv)
    if settings.work:
        work(settings)
        return 0
    shares = {settings.kind: 1.0} if settings.kind else SHARES
    rows, failures, total = [], [], collections.Counter()
    for kind, share in shares.items():
        outcomes, failed = tally(kind, round(settings.cases * share), settings.seed, settings.first)
        rows.append({"kind": kind, "cases": sum(outcomes.values()), **outcomes})
        total.update(outcomes)
        failures += failed
        print(format_table(rows[-1:]), file=sys.stderr, flush=True)
    columns = ["kind", "cases", RESULT, SKIPPED, REFUSED, *sorted(set(total) - {RESULT, SKIPPED, REFUSED})]
    print(format_table([*rows, {"kind": "all", "cases": sum(total.values()), **total}], columns))
    for failure in failures[:20]:
        print(failure, file=sys.stderr)
    print(
        json.dumps(
            {"case": "fuzz", "seed": settings.seed, "cases": sum(total.values()), **total, "failures": len(failures)}
        )
    )
    return 1 if failures else 0


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
