"""Does bfloat16 earn its place: MAP of runs in mixed_bfloat16 against float32, the same seeds, on the miniature.

python -m benchmarks.precision [--quick] [--output_dir=runs/precision]
"""

import argparse
import statistics
import time

from benchmarks import measure
from youtube8m_mod import config, demo
from youtube8m_mod.evaluation import mean_average_precision, rated_labels
from youtube8m_mod.inference.run import Inference
from youtube8m_mod.miniature.composition import Settings
from youtube8m_mod.miniature.writer import SYNTHETIC_CLASSES, write_miniature
from youtube8m_mod.training.run import Run
from youtube8m_mod.training.trainer import Trainer, TrainingOptions

# Precision in training, then in inference.
VARIANTS = (("float32", "float32"), ("float32", "bfloat16"), ("mixed_bfloat16", "bfloat16"))


def train(folder, data, seed, precision, epochs):
    """Pretrains and finetunes a mixture of 3 as the demo does; returns the last train_dir."""
    model = config.model_config("mix_nextvlad_tiny", {"num_classes": SYNTHETIC_CLASSES})
    options = TrainingOptions(log_steps=50)
    pretrained, finetuned = f"{folder}/pretrain", f"{folder}/finetune"
    phase = config.phase_config("pretrain", demo.PRETRAIN | {"num_epochs": epochs})
    Trainer(Run(model, phase, seed, precision), pretrained, f"{data}/train*.tfrecord", options).train()
    phase = config.phase_config("finetune", demo.FINETUNE)
    run = Run(model, phase, seed, precision, started_from=pretrained)
    Trainer(run, finetuned, f"{data}/validate*.tfrecord", options).train()
    return finetuned


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, two passes: a smoke run")
    parser.add_argument("--output_dir", default="runs/precision")
    arguments = parser.parse_args()
    data = f"{arguments.output_dir}/data"
    write_miniature(data, Settings())
    rated = rated_labels.load_labels(f"{data}/test*.tfrecord")
    maps = {variant: [] for variant in VARIANTS}
    started = time.monotonic()
    for seed in range(1 if arguments.quick else 3):
        for training, inference in VARIANTS:
            folder = f"{arguments.output_dir}/{seed}-{training}"
            train_dir = train(folder, data, seed, training, 2 if arguments.quick else demo.PRETRAIN["num_epochs"])
            submission = f"{folder}/submission-{inference}.csv"
            Inference(train_dir, f"{data}/test*.tfrecord", submission, precision=inference).run()
            result = mean_average_precision.evaluate(submission, rated, num_classes=SYNTHETIC_CLASSES)
            maps[training, inference].append(result.map)
    rows = []
    for (training, inference), values in maps.items():
        differences = [value - other for value, other in zip(values, maps[VARIANTS[0]])]
        rows.append(
            {
                "training": training,
                "inference": inference,
                "map": statistics.mean(values),
                "std": statistics.stdev(values) if len(values) > 1 else None,
                "to_float32": statistics.mean(differences),
                "largest_difference": max(differences, key=abs),
                "seeds": len(values),
            }
        )
    measure.show(rows, [f"{time.monotonic() - started:.0f} s"])


if __name__ == "__main__":
    main()
