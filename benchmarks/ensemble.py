"""Joining submissions at the challenge's size: python -m youtube8m_mod.ensemble, the whole process, on generated files.

    python -m benchmarks.ensemble [--quick] [--folder=...]

Three submissions of 1000 classes x 100,000 segments, which agree as runs of one model do: each ranks the same
150,000 candidates of a class by their value and noise of its own. Prints a table and one JSON line a case, with the
process's seconds from start to end and its peak memory.
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
from youtube8m_mod.formats.submission import write_submission
from youtube8m_mod.localization.ranking import SLOTS

CLASSES, VIDEOS, MEMBERS = 1000, 28_000, 3
LISTED = {"full": (20_000, 100_000), "quick": (1_000, 5_000)}
DIFFERENT = 16  # Lists that are drawn; classes take them in turn.


def generate(folder, listed, rng):
    """Writes the submissions; returns their paths."""
    video_ids = np.array([b"%04x" % number for number in range(VIDEOS)])
    lists = [[] for _ in range(MEMBERS)]
    for _ in range(DIFFERENT):
        codes = rng.choice(VIDEOS * SLOTS, listed * 3 // 2, replace=False)
        values = rng.normal(size=len(codes))
        for own in lists:
            best = codes[np.argsort(values + 0.5 * rng.normal(size=len(codes)))[:listed]]
            own.append((best // SLOTS, best % SLOTS * SEGMENT_FRAMES))
    paths = [os.path.join(folder, f"member{number}.csv") for number in range(MEMBERS)]
    for path, own in zip(paths, lists):
        write_submission(path, range(CLASSES), (own[c % DIFFERENT] for c in range(CLASSES)), video_ids, SLOTS)
    return paths


def measure(listed, parent):
    """The row of one case."""
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        paths = generate(folder, listed, np.random.default_rng(0))
        output = os.path.join(folder, "joined.csv")
        flags = [f"--inputs={','.join(paths)}", "--weights=0.4,0.3,0.3", f"--output_file={output}"]
        costs = timed(["-m", "youtube8m_mod.ensemble", *flags])
        return {
            "case": f"{MEMBERS} x {CLASSES} x {listed:,}",
            "read_gb": round(sum(map(os.path.getsize, paths)) / 1e9, 3),
            "written_gb": round(os.path.getsize(output) / 1e9, 3),
            **costs,
        }


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="lists of a twentieth of the length")
    parser.add_argument("--folder", help="where the files are made (5 GB); default: the system's for temporary files")
    args = parser.parse_args(argv)
    rows = []
    for listed in LISTED["quick" if args.quick else "full"]:
        rows.append(measure(listed, args.folder))
        print(json.dumps(rows[-1]), flush=True)
    print("\n" + terminal.format_table(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
