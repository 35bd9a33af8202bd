"""Ranking at the challenge's size: 1.7 million segments, 1000 classes, lists of 100,000, on generated scores.

    python -m benchmarks.ranking [--quick]

Prints a table and one JSON line a case. Times are of one core and leave out the generation of the scores (the model's
part); every case has a process of its own, so that its peak memory is its own.
"""

import argparse
import heapq
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

from youtube8m_mod import terminal
from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.formats.predictions import format_lines
from youtube8m_mod.formats.submission import write_submission
from youtube8m_mod.localization.ranked_lists import Localization, LocalizationConfig
from youtube8m_mod.localization.ranking import SLOTS, TopK

SIZES = {"full": (1_700_000, 1000, 100_000), "quick": (60_000, 100, 10_000)}  # Segments, classes, K.
VOCABULARY = 3862
CASES = {
    "dense": "every segment ranked in every class, and all lists sorted",
    "ties": "the same with scores of bfloat16, which are equal in droves",
    "candidates": "top 20 of each video, Eq. (1), fallback, submission written",
    "original": "as the original: scores as text, parsed back, pushed into heaps",
}
ORIGINAL_SEGMENTS = {"full": 1000, "quick": 200}


class Clock:
    """Adds up the seconds spent inside `with clock:`, on the wall and on the processor."""

    seconds = cpu_seconds = 0.0

    def __enter__(self):
        self._start = time.perf_counter(), time.process_time()

    def __exit__(self, *_):
        self.seconds += time.perf_counter() - self._start[0]
        self.cpu_seconds += time.process_time() - self._start[1]


def videos(num_segments, num_classes, rng):
    """Yields (video id, scores float32 (60, classes)); drawn from a pool, as drawing takes longer than ranking."""
    pool = rng.random((SLOTS * 64, num_classes), dtype=np.float32) ** 4
    for video in range(num_segments // SLOTS):
        start = int(rng.integers(len(pool) - SLOTS))
        yield b"%04x" % (video * 48_271 % 65_536), pool[start : start + SLOTS] * np.float32(1 - 1e-3 * rng.random())


def run_dense(num_segments, num_classes, k, clock, rounded=False):
    ranking = TopK(num_classes, k)
    starts = SEGMENT_FRAMES * np.arange(SLOTS)
    for video_id, scores in videos(num_segments, num_classes, np.random.default_rng(0)):
        if rounded:
            scores = (scores.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
        with clock:
            ranking.add(video_id, starts, scores)
    with clock:
        return sum(len(scores) for scores, _, _ in ranking.lists())


def run_candidates(num_segments, num_classes, k, clock):
    rng = np.random.default_rng(0)
    class_ids = np.sort(rng.permutation(VOCABULARY)[:num_classes])
    localization = Localization(class_ids, LocalizationConfig(segment_max_pred=k))
    for video_id, scores in videos(num_segments, num_classes, rng):
        video = rng.random(VOCABULARY, dtype=np.float32)
        with clock:
            localization.add(video_id, SLOTS * SEGMENT_FRAMES, video, scores)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "submission.csv")
        with clock:
            write_submission(path, class_ids, localization.lists(), localization.video_ids(), localization.slots)
        return os.path.getsize(path)


def run_original(num_segments, num_classes, k, clock):
    heaps = {}
    for video_id, scores in videos(num_segments, num_classes, np.random.default_rng(0)):
        with clock:
            ids = [f"{video_id.decode()}:{SEGMENT_FRAMES * slot}" for slot in range(len(scores))]
            for line in format_lines(ids, scores, num_classes):
                segment, pairs = line.split(",")
                values = pairs.split()
                for name, score in zip(values[::2], values[1::2]):
                    heap = heaps.setdefault(int(name), [])
                    push = heapq.heappush if len(heap) < k else heapq.heappushpop
                    push(heap, (float(score), segment))
    with clock:
        return sum(len(sorted(heap, reverse=True)) for heap in heaps.values())


def measure(case, size):
    """Runs one case in this process; returns its row."""
    num_segments, num_classes, k = SIZES[size]
    if case == "original":
        num_segments = ORIGINAL_SEGMENTS[size]
    clock = Clock()
    runners = {
        "dense": run_dense,
        "candidates": run_candidates,
        "original": run_original,
        "ties": lambda *args: run_dense(*args, rounded=True),
    }
    runners[case](num_segments, num_classes, k, clock)
    return {
        "case": case,
        "segments": num_segments,
        "classes": num_classes,
        "k": k,
        "seconds": round(clock.seconds, 2),
        "cpu_seconds": round(clock.cpu_seconds, 2),
        "us_per_segment": round(1e6 * clock.seconds / num_segments, 2),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 3),
    }


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a thirtieth of the segments, a tenth of the classes")
    parser.add_argument("--case", choices=CASES, help="only this one, in this process")
    args = parser.parse_args(argv)
    size = "quick" if args.quick else "full"
    if args.case:
        print(json.dumps(measure(args.case, size)))
        return
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    rows = []
    for case in CASES:
        command = [sys.executable, "-m", "benchmarks.ranking", "--case", case, *(["--quick"] if args.quick else [])]
        line = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()
        print(line, flush=True)
        rows.append(json.loads(line) | {"what": CASES[case]})
    print("\n" + terminal.format_table(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
