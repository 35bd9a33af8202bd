"""What ensembles, shifts in time and context bring: MAP of the demo's test videos, for some seeds of training.

    python -m benchmarks.gains --output_dir=... [--bank='<glob of video-level TFRecords>'] [--seeds=3]

One dataset as the demo makes it (with --bank of real features), and on it the demo's pretraining and finetuning once a
seed. Prints a table and writes it to gains.json: mean and range over the seeds, of ensembles over those that the seeds
allow. Trainings that are done are not redone.
"""

import argparse
import itertools
import sys

import numpy as np

from youtube8m_mod import files
from youtube8m_mod.commands.command import run_main
from youtube8m_mod.demo import LEAF, Demo
from youtube8m_mod.terminal import format_table

# Fixed before any was looked at: the widest shifts of the documentation, and shares in proportion to their sources.
SINGLE_MODEL = {
    "single leaf": {"node": LEAF},
    "MOD": {},
    "MOD, shifts -1 to 1": {"segment_shifts": "-1,0,1"},
    "MOD, shifts -2 to 2": {"segment_shifts": "-2,-1,0,1,2"},
    "MOD, context of neighbours 0.2": {"context": "0.2,0"},
    "MOD, context of the video 0.1": {"context": "0,0.1"},
    "MOD, context of both 0.2, 0.1": {"context": "0.2,0.1"},
    "MOD, shifts -1 to 1 and context of both": {"segment_shifts": "-1,0,1", "context": "0.2,0.1"},
}


class Gains:
    """The trained seeds, and what they score."""

    def __init__(self, output_dir, bank, seeds):
        from youtube8m_mod.evaluation import rated_labels

        self.output_dir = output_dir.rstrip("/")
        self.demos = [Demo(f"{self.output_dir}/{seed}", bank, seed) for seed in range(seeds)]
        for demo in self.demos:
            demo.data_dir = f"{self.output_dir}/data"
        self.demos[0].write_data()
        for demo in self.demos:
            demo.pretrain()
            demo.finetune()
        self.test = f"{self.output_dir}/data/test*.tfrecord"
        self.rated = rated_labels.load_labels(self.test)

    def map_of(self, seeds, settings):
        """MAP of the ensemble of some seeds, or of one."""
        from youtube8m_mod.evaluation import mean_average_precision
        from youtube8m_mod.inference.run import Inference

        demos = [self.demos[seed] for seed in seeds]
        names = ",".join(demo.finetune_dir for demo in demos)
        submission = f"{self.output_dir}/submission.csv"
        if files.exists(submission):
            files.remove(submission)
        Inference(names, self.test, submission, **settings).run()
        return mean_average_precision.evaluate(submission, self.rated, num_classes=demos[0].num_classes).map

    def rows(self):
        seeds = range(len(self.demos))
        cases = [(name, settings, [(seed,) for seed in seeds]) for name, settings in SINGLE_MODEL.items()]
        for size in range(2, len(seeds) + 1):
            groups = [*itertools.combinations(seeds, size)]
            cases.append((f"ensemble of {size} single leaves", {"node": LEAF}, groups))
            cases.append((f"ensemble of {size} MODs", {}, groups))
        together = "shifts -1 to 1 and context of both"
        cases.append((f"ensemble of {len(seeds)} MODs, {together}", SINGLE_MODEL[f"MOD, {together}"], [(*seeds,)]))
        for name, settings, groups in cases:
            maps = [self.map_of(group, settings) for group in groups]
            yield {"scores": name, "MAP": np.mean(maps), "lowest": min(maps), "highest": max(maps), "of": maps}


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gains", description=__doc__.split("\n")[0])
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--bank", help="glob of video-level TFRecords: real features in place of synthetic ones")
    parser.add_argument("--seeds", type=int, default=3)
    settings = parser.parse_args(argv)
    rows = [*Gains(settings.output_dir, settings.bank, settings.seeds).rows()]
    print(format_table(rows, ("scores", "MAP", "lowest", "highest")))
    files.write_json(f"{settings.output_dir}/gains.json", rows)
    return 0


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
