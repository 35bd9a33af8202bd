"""Scoring at the challenge's size: eval_map.py, the whole process, on generated submissions and 237K rated labels.

    python -m benchmarks.evaluation [--quick]

Prints a table and one JSON line a case, with the process's seconds from start to end and its peak memory.
"""

import argparse
import json
import os
import sys
import tempfile

import numpy as np

from benchmarks.whole_process import timed
from youtube8m_mod import terminal
from youtube8m_mod.config import SEGMENT_FRAMES
from youtube8m_mod.evaluation.rated_labels import RatedLabels
from youtube8m_mod.formats.submission import SegmentIds, write_submission
from youtube8m_mod.localization.ranking import SLOTS

CLASSES, VIDEOS, RATINGS = 1000, 28_000, 237_000
LISTED = {"full": (20_000, 100_000), "quick": (1_000, 5_000)}
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "eval_map.py")


def generate(folder, listed, rng):
    """Writes a submission and its label cache; returns their paths."""
    video_ids = np.array([b"%04x" % i for i in range(VIDEOS)])
    ids = SegmentIds(video_ids, SLOTS)

    def draw():
        codes = rng.choice(VIDEOS * SLOTS, max(listed, 2 * RATINGS // CLASSES), replace=False)
        return codes // SLOTS, codes % SLOTS * SEGMENT_FRAMES

    lists = [draw() for _ in range(16)]
    ratings = {}
    for c in range(CLASSES):  # Half of the rated segments are in the list.
        videos, starts = lists[c % 16]
        rated = rng.choice(len(videos), RATINGS // CLASSES, replace=False)
        text = (
            ids.join(videos[rated], starts[rated]) + b" " + ids.join(*(part[: RATINGS // CLASSES] for part in draw()))
        )
        chosen = rng.permutation(text.split())[: RATINGS // CLASSES].tolist()
        ratings[c] = dict(zip(chosen, rng.random(len(chosen)) < 0.5))
    submission, cache = os.path.join(folder, "submission.csv"), os.path.join(folder, "labels.csv.gz")
    write_submission(
        submission,
        range(CLASSES),
        ((videos[:listed], starts[:listed]) for c in range(CLASSES) for videos, starts in [lists[c % 16]]),
        video_ids,
        SLOTS,
    )
    RatedLabels(ratings).write_cache(cache)
    return submission, cache


def measure(listed):
    """The row of one case."""
    with tempfile.TemporaryDirectory() as folder:
        submission, cache = generate(folder, listed, np.random.default_rng(0))
        output = os.path.join(folder, "map.json")
        costs = timed([SCRIPT, f"--submission_file={submission}", f"--label_cache={cache}", f"--output_file={output}"])
        with open(output, encoding="utf-8") as file:
            score = json.load(file)["map"]
        return {
            "case": f"{CLASSES} x {listed:,}",
            "file_gb": round(os.path.getsize(submission) / 1e9, 3),
            "ratings": RATINGS,
            **costs,
            "map": round(score, 4),
        }


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="lists of a twentieth of the length")
    args = parser.parse_args(argv)
    rows = []
    for listed in LISTED["quick" if args.quick else "full"]:
        rows.append(measure(listed))
        print(json.dumps(rows[-1]), flush=True)
    print("\n" + terminal.format_table(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
