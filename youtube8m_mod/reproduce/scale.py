"""How small the miniature is: its dataset, its models, its schedules. The same for all rows."""

import dataclasses

from youtube8m_mod import config
from youtube8m_mod.miniature.composition import Settings
from youtube8m_mod.reproduce.rows import VARIATIONS, Training


@dataclasses.dataclass(frozen=True)
class Scale:
    """The size of a reproduction.

    Width, learning rates, batch norm's momentum and lengths were chosen on validation videos with a single NeXtVLAD,
    before any mixture was trained (docs/reproduce.md).
    """

    name: str
    train_videos: int = 1000
    finetuning_shards: int = 8  # Of `videos_per_shard` videos each; as many more are for validation as below.
    validation_shards: int = 2
    test_videos: int = 4000  # A class then has as many ratings as a real one, 200.
    curve_test_videos: int = 400  # The first so many of them are scored during training.
    videos_per_shard: int = 50
    min_frames: int = 20
    max_frames: int = 40
    num_classes: int = 500  # The commonest classes of the bank; a record without any of them is left out.
    num_segment_classes: int = 100
    feature_sizes: tuple[int, ...] = (256, 128)  # The leading (principal) components of rgb, all of audio.
    clusters: int = 32  # Of the standard model; a large one has twice as many.
    hidden_size: int = 256
    pretrain_steps: int = 480
    pretrain_batch: int = 64
    pretrain_rate: float = 2e-3
    finetune_epochs: int = 20
    finetune_batch: int = 128
    finetune_rate: float = 1e-3
    gap_records: int = 3000
    gap_steps: int = 1800
    gap_batch: int = 96
    gap_rate: float = 2e-3
    gap_clusters: int = 16
    gap_hidden: int = 128
    # The paper's runs take 500,000 steps, in which averages with a momentum of 0.999 settle; these take a few hundred.
    batch_norm_momentum: float = 0.98
    curve_points: int = 8  # Scored checkpoints of a training.
    log_points: int = 40  # Lines of a training's log.

    def dataset(self, seed: int, variation: str, num_classes: int | None = None) -> Settings:
        """`Settings` of the miniature dataset: each seed has videos of its own.

        Args:
            num_classes: of the bank; None: synthetic scenes.
        """
        noise = dict(missed_rate=0.4, spurious_rate=1.5) if VARIATIONS[variation].label_noise else {}
        return Settings(
            seed=seed,
            train_videos=self.train_videos,
            validate_videos=(self.finetuning_shards + self.validation_shards) * self.videos_per_shard,
            test_videos=self.test_videos,
            min_frames=self.min_frames,
            max_frames=self.max_frames,
            videos_per_shard=self.videos_per_shard,
            feature_sizes=self.feature_sizes,
            num_classes=num_classes or self.num_classes,
            num_segment_classes=self.num_segment_classes,
            real_shares=True,
            **noise,
        )

    def model(self, training: Training) -> config.ModelConfig:
        """The miniature's `ModelConfig` of a training."""
        named = config.MODELS[training.model]
        gap = training.phase == "gap"
        width = VARIATIONS[training.variation].width
        hidden = int((self.gap_hidden if gap else self.hidden_size) * width)
        clusters = int((self.gap_clusters if gap else self.clusters) * width)
        sizes = dict(clusters=4 * self.clusters, hidden_size=hidden, experts=2)
        if named.pooling == "nextvlad":
            # What the paper's large model has over the other, it has here: twice the clusters and the expansion.
            standard = config.MODELS["nextvlad"]
            sizes = dict(
                clusters=clusters * named.clusters // standard.clusters,
                groups=4,
                expansion=(0.125 if gap else 0.5) * named.expansion / standard.expansion,
                hidden_size=hidden,
                gating_reduction=4,
            )
        if gap:
            sizes |= dict(max_frames=1)
        else:
            sizes |= dict(max_frames=self.max_frames, feature_sizes=self.feature_sizes, num_classes=self.num_classes)
        return dataclasses.replace(named, branching=training.tree, **sizes)

    def phase(self, training: Training, num_examples: int | None = None) -> config.PhaseConfig:
        """The miniature's `PhaseConfig` of a training; a finetuning's length follows from its number of segments."""
        epochs = self.finetune_epochs * VARIATIONS[training.variation].finetuning_length
        changed = {
            "pretrain": dict(
                max_steps=self.pretrain_steps,
                batch_size=self.pretrain_batch,
                base_learning_rate=self.pretrain_rate,
                dropout=0.5,
            ),
            "finetune": dict(
                max_steps=max(int((num_examples or 0) * epochs) // self.finetune_batch, 1),
                num_epochs=None,
                batch_size=self.finetune_batch,
                base_learning_rate=self.finetune_rate,
                dropout=0.75,
            ),
            "gap": dict(
                max_steps=self.gap_steps, batch_size=self.gap_batch, base_learning_rate=self.gap_rate, dropout=0.5
            ),
        }[training.phase]
        phase = config.PHASES["finetune" if training.phase == "finetune" else "pretrain"]
        recipe = config.BINARY if training.binary else dict(temperature=training.temperature)
        return dataclasses.replace(phase, batch_norm_momentum=self.batch_norm_momentum, **recipe, **changed)


DEFAULT = Scale("default")
QUICK = Scale(
    "quick",
    train_videos=200,
    finetuning_shards=2,
    validation_shards=1,
    test_videos=800,
    curve_test_videos=100,
    videos_per_shard=50,
    clusters=16,
    hidden_size=64,
    pretrain_steps=20,
    finetune_epochs=4,
    finetune_batch=64,
    gap_records=300,
    gap_steps=20,
    gap_batch=64,
    gap_hidden=32,
    curve_points=2,
    log_points=10,
)
