"""What does a checkpoint cost, and what share of the time is that at the default interval?

    python -m benchmarks.checkpoint [--model=mod_nextvlad_tiny] [--batch_size=80] [--steps=5] [--set field=value ...]

Trains some steps on random videos, writes and reads checkpoints, and prints seconds, bytes and the share that one in
1000 steps has. Where that would be above 2%, the trainer waits longer between checkpoints.
"""

import argparse
import json
import os
import sys
import tempfile
import time

from youtube8m_mod import config
from youtube8m_mod.errors import run_main
from youtube8m_mod.terminal import format_table


def seconds(function, times):
    """The shortest of several runs."""
    spans = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        spans.append(time.perf_counter() - start)
    return min(spans)


def main(argv):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.checkpoint", allow_abbrev=False, description=__doc__.split("\n")[0]
    )
    parser.add_argument("--model", default="mod_nextvlad_tiny")
    parser.add_argument("--phase", default="pretrain", choices=list(config.PHASES))
    parser.add_argument("--batch_size", type=int, default=80)
    parser.add_argument("--steps", type=int, default=5, help="timed; the shortest counts")
    parser.add_argument("--set", action="append", default=[], metavar="field=value", help="of the model")
    parser.add_argument("--folder", help="where to write (default: a temporary folder)")
    settings = parser.parse_args(argv)
    from benchmarks.measure import batch_of
    from youtube8m_mod.models.mod import MOD
    from youtube8m_mod.training import checkpoint_store, checkpoints
    from youtube8m_mod.training.callbacks import DEFAULT_CHECKPOINT_STEPS
    from youtube8m_mod.training.optimizer import FusedAdam

    model_config = config.model_config(settings.model, settings.set)
    phase = config.phase_config(settings.phase, {"batch_size": settings.batch_size})
    model, optimizer = MOD.for_phase(model_config, phase), FusedAdam(1e-4)
    model.compile(optimizer)
    batch = batch_of(model_config, phase.batch_size, phase.frames(model_config), phase.segments)

    step = model.placement.step(model.train_step)
    step(batch)
    step_s = seconds(lambda: step(batch)["loss"].numpy(), settings.steps)
    with tempfile.TemporaryDirectory(dir=settings.folder) as folder:

        def save():
            checkpoints.save(folder, model, optimizer, checkpoint_store.new_state(1), keep=1)

        save_s = seconds(save, 3)
        restore_s = seconds(lambda: checkpoints.restore_latest(folder, model, optimizer), 2)
        size = sum(os.path.getsize(os.path.join(path, name)) for path, _, names in os.walk(folder) for name in names)
    row = {
        "case": "checkpoint",
        "model": settings.model,
        "batch_size": settings.batch_size,
        "parameters": model.count_params(),
        "megabytes": round(size / 1e6, 1),
        "save_s": round(save_s, 3),
        "restore_s": round(restore_s, 3),
        "step_s": round(step_s, 4),
        "megabytes_per_s": round(size / 1e6 / save_s, 1),
        "share_at_default": round(save_s / (DEFAULT_CHECKPOINT_STEPS * step_s), 5),
    }
    print(format_table([{name: value for name, value in row.items() if name != "case"}]))
    print(json.dumps(row))


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
