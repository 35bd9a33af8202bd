"""The whole job in miniature: writes a dataset, pretrains and finetunes a tiny MOD, localises, scores, draws.

    python -m youtube8m_mod.demo --output_dir=runs/demo [--bank='<glob of video-level TFRecords>'] [--seed=0]

Prints the command of every stage: the same four scripts do it on the real dataset. A stage that is done is not redone.
"""

import os
import shlex
import time
from typing import Any

from absl import flags

from youtube8m_mod import config, files
from youtube8m_mod.commands.command import run_command
from youtube8m_mod.miniature.writer import LABEL_NAMES, REAL_CLASSES, SYNTHETIC_CLASSES, TRUTH, write_miniature
from youtube8m_mod.terminal import format_table

FLAGS = flags.FLAGS
MODEL = "mod_nextvlad_tiny"
LEAF = "0/0"
MAX_FRAMES = 40  # Of a video: two to four scenes still fit, and a step costs two thirds of one with 60.
# A tiny model on little data wants larger steps than the paper's, fewer examples in each, and batch-norm averages that
# settle in some hundred of them.
PRETRAIN = {
    "batch_size": 50,
    "num_epochs": 10,
    "max_steps": None,
    "base_learning_rate": 5e-3,
    "learning_rate_decay_examples": 6_000,
    "dropout": 0.3,
    "batch_norm_momentum": 0.98,
}
FINETUNE = {
    "batch_size": 100,
    "num_epochs": 6,
    "base_learning_rate": 1e-3,
    "learning_rate_decay_examples": 10_000,
    "dropout": 0.5,
    "batch_norm_momentum": 0.98,
}
_WITHOUT_FLAG = ("dropout", "batch_norm_momentum")  # Of the phase's fields above.
TIMELINES = 4  # Videos in the picture of classes along time.


class Demo:
    """The stages, in order; each leaves its files in a folder of its own."""

    def __init__(self, output_dir: str, bank: str | None, seed: int):
        self.output_dir, self.bank, self.seed = output_dir.rstrip("/"), bank, seed
        self.data_dir, self.pretrain_dir, self.finetune_dir, self.scores_dir = (
            f"{self.output_dir}/{name}" for name in ("data", "pretrain", "finetune", "scores")
        )
        self.names_file = f"{self.data_dir}/{LABEL_NAMES}"
        # What the finetuned root writes besides its submission, for a person and for other tools.
        self.localised = {
            "segment_predictions_file": f"{self.scores_dir}/segments.csv",
            "video_predictions_file": f"{self.scores_dir}/videos.csv",
            "segment_candidates": True,
            "timeline_file": f"{self.output_dir}/concepts.csv",
        }
        self.num_classes = REAL_CLASSES if bank else SYNTHETIC_CLASSES
        self.seconds = {}

    def run(self) -> None:
        started = time.monotonic()
        self._timed("data", self.write_data)
        self._timed("pretraining", self.pretrain)
        self._timed("finetuning", self.finetune)
        rows = self.score()
        pictures = self.draw()
        page = self.explore()
        seconds = time.monotonic() - started
        files.write_json(
            f"{self.output_dir}/results.json",
            {"rows": rows, "seconds": seconds, "stages": self.seconds, "bank": self.bank},
        )
        print("\n" + format_table(rows, {"name": "scores of segments", "map": "MAP@100,000", "seconds": "seconds"}))
        print(f"\n{seconds:.0f} s in all; {self.output_dir}/results.json, " + ", ".join(pictures))
        print(f"\nThe test videos, concept by concept: open {page} in a browser.")

    def write_data(self) -> None:
        from youtube8m_mod.miniature.composition import Settings

        self._say("python -m youtube8m_mod.miniature", **self._data_flags())
        write_miniature(self.data_dir, Settings(seed=self.seed, max_frames=MAX_FRAMES), self.bank)

    def _data_flags(self):
        return {"output_dir": self.data_dir, "bank": self.bank, "seed": self.seed, "max_frames": MAX_FRAMES}

    def pretrain(self) -> None:
        fields = {"num_classes": self.num_classes, "max_frames": MAX_FRAMES}
        self._say(
            "python train.py",
            train_data_pattern=f"{self.data_dir}/train*.tfrecord",
            train_dir=self.pretrain_dir,
            model=MODEL,
            rgb_eigenvalues="none",
            seed=self.seed,
            **_flags(PRETRAIN, **fields),
        )
        self._train(
            config.model_config(MODEL, fields), config.phase_config("pretrain", PRETRAIN), self.pretrain_dir, "train"
        )

    def finetune(self) -> None:
        from youtube8m_mod.training.run import Run

        self._say(
            "python finetune.py",
            train_data_pattern=f"{self.data_dir}/validate*.tfrecord",
            pretrained_dir=self.pretrain_dir,
            train_dir=self.finetune_dir,
            seed=self.seed,
            **_flags(FINETUNE),
        )
        self._train(
            Run.load(self.pretrain_dir).model,
            config.phase_config("finetune", FINETUNE),
            self.finetune_dir,
            "validate",
            started_from=self.pretrain_dir,
        )

    def score(self) -> list[dict[str, Any]]:
        """MAP of what the demo compares: rows of {"name", "map", "seconds"}."""
        from youtube8m_mod.evaluation import mean_average_precision, rated_labels
        from youtube8m_mod.inference.run import Inference

        test = f"{self.data_dir}/test*.tfrecord"
        rated = rated_labels.load_labels(test)
        variants = (
            ("video-level dummy prediction", self.pretrain_dir, {"video_exponent": 1.0, "segment_exponent": 0.0}),
            ("pretrained model on segments", self.pretrain_dir, {}),
            ("finetuned root", self.finetune_dir, self.localised),
            (f"finetuned single leaf ({LEAF})", self.finetune_dir, {"node": LEAF}),
        )
        if files.exists(self.names_file):
            self.localised["label_names"] = self.names_file
        rows = []
        for number, (name, train_dir, settings) in enumerate(variants):
            started = time.monotonic()
            submission = f"{self.scores_dir}/{number}.csv"
            self._say(
                "python inference.py",
                train_dir=train_dir,
                video_train_dir=self.pretrain_dir,
                input_data_pattern=test,
                output_file=submission,
                **settings,
            )
            self._say("python eval_map.py", submission_file=submission, eval_data_pattern=test)
            Inference(train_dir, test, submission, video_train_dir=self.pretrain_dir, **settings).run()
            result = mean_average_precision.evaluate(submission, rated, num_classes=self.num_classes)
            rows.append({"name": name, "map": result.map, "seconds": time.monotonic() - started})
        return rows

    def draw(self) -> tuple[str, str]:
        """Writes the pictures; returns their paths."""
        from youtube8m_mod.figures import loss_figure, save_figure, timeline_figure
        from youtube8m_mod.training.history import read_history

        phases = {"pretraining": self.pretrain_dir, "finetuning": self.finetune_dir}
        losses, timelines = f"{self.output_dir}/losses.png", f"{self.output_dir}/timelines.png"
        temperatures = {
            "pretraining": config.PHASES["pretrain"].temperature,
            "finetuning": config.PHASES["finetune"].temperature,
        }
        save_figure(
            loss_figure(
                {phase: read_history(folder) for phase, folder in phases.items()},
                config.MODELS[MODEL].branching,
                temperatures,
            ),
            losses,
        )
        save_figure(timeline_figure(self.timelines(), self.label_names()), timelines)
        return losses, timelines

    def explore(self) -> str:
        """Writes the page of the test videos; returns its path."""
        from youtube8m_mod.explore import outputs, page, truth

        segments, videos = (self.localised[f"{kind}_predictions_file"] for kind in ("segment", "video"))
        scenes, path = f"{self.data_dir}/{TRUTH}", f"{self.output_dir}/videos.html"
        title = "Test videos of the demo"
        self._say(
            "python -m youtube8m_mod.explore",
            segment_predictions_file=segments,
            video_predictions_file=videos,
            truth_file=scenes,
            label_names=self.names_file if files.exists(self.names_file) else None,
            title=title,
            output=path,
        )
        contents = outputs.read_outputs(segments, videos, title=title)
        contents.names = self.label_names()
        truths = {}
        truth.add_scenes(truths, scenes)
        truth.attach(contents, truths)
        page.write_page(path, contents)
        return path

    def label_names(self) -> dict[int, str]:
        """{class: name}; none where the scenes are real ones."""
        from youtube8m_mod.formats.label_names import read_label_names

        return read_label_names(self.names_file, self.num_classes) if files.exists(self.names_file) else {}

    def timelines(self) -> list[dict[str, Any]]:
        """What `timeline_figure` draws, of the first test videos in which several rated classes come and go."""
        import numpy as np

        from youtube8m_mod.data.reader import Reader
        from youtube8m_mod.inference.folded import fold_checkpoint
        from youtube8m_mod.localization.segments import split_segments
        from youtube8m_mod.training.run import Run

        run, folded = Run.load(self.finetune_dir), fold_checkpoint(self.finetune_dir)
        truth = files.read_json(f"{self.data_dir}/{TRUTH}")["videos"]
        videos = []
        for batch in Reader(f"{self.data_dir}/test*.tfrecord", run.model).read(1):
            video_id = batch["ids"].numpy()[0].decode()
            scenes = truth[video_id]["scenes"]
            found = [label for scene in scenes for label in scene["labels"] if label in run.classes]
            shown = sorted(label for label in set(found) if found.count(label) < len(scenes))[:4]
            if len(scenes) < 3 or len(shown) < 3:
                continue
            features, present, _, starts = split_segments(batch["features"], batch["num_frames"])
            probabilities = folded.predict(features, None, present).numpy()[:, shown]
            videos.append(
                {
                    "id": video_id,
                    "starts": np.asarray(starts),
                    "classes": shown,
                    "probabilities": probabilities,
                    "scenes": scenes,
                }
            )
            if len(videos) == TIMELINES:
                break
        return videos

    def _train(self, model, phase, train_dir, partition, started_from=None):
        from youtube8m_mod.training.run import Run
        from youtube8m_mod.training.trainer import Trainer, TrainingOptions

        run = Run(model, phase, self.seed, started_from=started_from)
        Trainer(run, train_dir, f"{self.data_dir}/{partition}*.tfrecord", TrainingOptions(log_steps=20)).train()

    def _timed(self, name, stage):
        started = time.monotonic()
        stage()
        self.seconds[name] = time.monotonic() - started

    @staticmethod
    def _say(command, **flags):
        values = [
            (name, value)
            for name, given in flags.items()
            if given is not None
            for value in (given if isinstance(given, list) else [given])
        ]
        shown = " ".join(f"--{name}={shlex.quote(str(value))}" for name, value in values)
        print(f"\n$ {command} {shown}", flush=True)


def _flags(phase, **fields):
    """The flags of a training script for fields of the phase, and of the model; what has no flag goes through --set."""
    named = {name: value for name, value in phase.items() if name not in _WITHOUT_FLAG}
    fields |= {name: phase[name] for name in _WITHOUT_FLAG}
    return named | {"set": [f"{name}={value}" for name, value in fields.items()]}


def define_flags() -> None:
    flags.DEFINE_string("output_dir", "runs/demo", "Folder for data, models, results and pictures.")
    flags.DEFINE_string(
        "bank", None, "Glob of video-level TFRecords: real features and labels in place of synthetic ones."
    )
    flags.DEFINE_integer("seed", 0, "Of data and training.", lower_bound=0)


def main(_: list[str]) -> None:
    os.environ.setdefault("MPLBACKEND", "Agg")
    Demo(FLAGS.output_dir, FLAGS.bank, FLAGS.seed).run()


def run() -> None:
    run_command(main, define_flags)


if __name__ == "__main__":
    run()
