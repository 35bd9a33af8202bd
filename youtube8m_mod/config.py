"""Named models (the rows of the paper's Tables 1 and 2) and training phases, as frozen dataclasses.

Nothing here depends on the machine: the number of subtrees is `branching`, not the number of devices.
"""

import dataclasses
import math
import re

from youtube8m_mod.errors import UserError
from youtube8m_mod.overrides import Overrides, check_positive, check_types, override

SEGMENT_FRAMES = 5  # A rated segment is 5 s long, one frame a second (section 4.1.2).
DATASET_SITE = "https://research.google.com/youtube8m/download.html"


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A model: what it reads, its pooling, and the tree of mixtures above its leaves.

    `branching` gives the number of children of a node, level by level from the root: `()` is a single model,
    `(3,)` the mixture of Fig. 6, `(4, 3)` that of Fig. 7; any depth works.
    """

    name: str
    pooling: str = "nextvlad"  # "nextvlad" (Fig. 5) or "dbof", the starter code's deep bag of frames.
    branching: tuple[int, ...] = ()
    feature_names: tuple[str, ...] = ("rgb", "audio")  # The first is de-whitened; further ones have K/2, G/2.
    feature_sizes: tuple[int, ...] = (1024, 128)
    num_classes: int = 3862
    max_frames: int = 300  # Frames of a video beyond it are cut, shorter videos are padded to it.
    groups: int = 8  # G
    clusters: int = 128  # K; with "dbof" the number of clusters of the bag.
    expansion: float = 2  # lambda; the expanded width is int(lambda * N).
    hidden_size: int = 2048  # H
    gating_reduction: int = 16  # r of the context gating: 8 in single models, 16 in mixtures.
    experts: int = 5  # "dbof" only: experts of the mixture-of-experts classifier.
    sampled_frames: int = 30  # "dbof" only: frames drawn from a video.
    # Float features are clipped to the dataset's [-2, 2]; False for features of another scale.
    clip_features: bool = True

    def __post_init__(self):
        check_types(self)
        if len(self.feature_names) != len(self.feature_sizes) or not self.feature_names:
            raise UserError(
                f"feature_sizes must have one size for each of feature_names {self.feature_names}, "
                f"got {self.feature_sizes}."
            )
        if len({name.replace("/", ".") for name in self.feature_names} - {""}) < len(self.feature_names):
            raise UserError(f"feature_names must differ and not be empty, got {self.feature_names}.")
        check_positive(
            self,
            "num_classes",
            "max_frames",
            "groups",
            "clusters",
            "hidden_size",
            "gating_reduction",
            "experts",
            "sampled_frames",
        )
        if any(size < 1 for size in self.feature_sizes):
            raise UserError(f"feature_sizes must all be at least 1, got {self.feature_sizes}.")
        if any(children < 1 for children in self.branching):
            raise UserError(f"branching must name at least one child at each level, got {self.branching}.")
        if self.pooling not in ("nextvlad", "dbof"):
            raise UserError(f'pooling must be "nextvlad" or "dbof", got "{self.pooling}".')
        if self.gating_reduction > self.hidden_size:
            raise UserError(
                f"gating_reduction must be at most hidden_size {self.hidden_size}, got {self.gating_reduction}."
            )
        if not 0 < self.expansion <= 1e6:
            raise UserError(f"expansion must be above 0 and at most a million, got {self.expansion}.")
        if self.pooling == "nextvlad":
            for name, size, groups, clusters in self.streams:
                width = int(self.expansion * size)
                if groups < 1 or clusters < 1 or width < 1 or width % groups:
                    raise UserError(
                        f'The feature "{name}" of {size} values expanded by {self.expansion:g} to {width} must split '
                        f"into {groups} groups of equal width (and at least 1 group and cluster, got {clusters} "
                        "clusters)."
                    )

    @property
    def streams(self) -> tuple[tuple[str, int, int, int], ...]:
        """(name, size, groups, clusters) of each feature: K, G for the first, K/2, G/2 for the others (Fig. 5)."""
        return tuple(
            (name, size, self.groups if i == 0 else self.groups // 2, self.clusters if i == 0 else self.clusters // 2)
            for i, (name, size) in enumerate(zip(self.feature_names, self.feature_sizes))
        )

    @property
    def feature_size(self) -> int:
        """Width of a frame: all features side by side."""
        return sum(self.feature_sizes)

    @property
    def whitened_size(self) -> int:
        """Leading values of a frame that are de-whitened: the first feature; "dbof" reads them as they are."""
        return self.feature_sizes[0] if self.pooling == "nextvlad" else 0

    @property
    def num_leaves(self) -> int:
        return math.prod(self.branching)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a tree of mixtures is trained for: the weights and temperatures of its losses (Eq. 6 and 7).

    A level is the depth of a student: 1 are the root's children, 2 their children.
    """

    l2_penalty: float = 1e-5  # s of s/2 * sum(w^2), classifier weights and biases only.
    temperature: float = 1  # T of Eq. 7, at every level; 0 trains without distillation (Table 2, T = 0).
    distillation_weight: float | None = None  # lambda before the KL; None means T^2 (Eq. 6).
    # From the root to its children, where they differ from those below: the original's final_temperature, final_lambda.
    root_temperature: float | None = None
    root_distillation_weight: float | None = None  # None: distillation_weight, or the square of the root's T.
    # Beyond the paper (distillation.py; docs/distillation.md).
    distillation: str = "softmax"  # "softmax" (Eq. 7), "binary" (a class at a time) or "relation" (correlations).
    teacher_gradient: bool = True  # Whether the gradient of the distillation flows into the teacher too.
    teacher_without_child: bool = False  # The teacher of a child is the mixture of the other children.
    averaged_teacher: bool = False  # The teacher is the model with the averages of its weights (`ema_momentum`).
    standardized_logits: bool = False  # Logits of an example are given mean 0 and deviation 1 first.
    distilled_classes: str = "all"  # "all", "rated", "unrated", "top:<m>" (the teacher's best), or numbers: "3,17".
    distillation_ramp_steps: int = 0  # The weight rises over so many steps.
    distillation_last_step: int | None = None  # No distillation from this step on; None: to the end.
    # From trained models (--teacher) into every node, beside the distillation in the tree.
    teacher_weight: float = 0.0  # lambda of it; 0: there is no teacher.
    teacher_temperature: float = 1.0  # T of it.
    original_accidents: bool = False  # Train with the original's accidents too (docs/fidelity.md).

    def __post_init__(self):
        check_types(self)
        for field in ("l2_penalty", "temperature"):
            if not 0 <= getattr(self, field) < math.inf:
                raise UserError(f"{field} must be finite and not negative, got {getattr(self, field)}.")
        if self.distillation_weight is not None and not 0 <= self.distillation_weight < math.inf:
            raise UserError(f"distillation_weight must be finite and not negative, got {self.distillation_weight}.")
        for field in ("root_temperature", "root_distillation_weight"):
            if getattr(self, field) is not None and not 0 <= getattr(self, field) < math.inf:
                raise UserError(f"{field} must be finite and not negative, got {getattr(self, field)}.")
        if not 0 <= self.teacher_weight < math.inf:
            raise UserError(f"teacher_weight must be finite and not negative, got {self.teacher_weight}.")
        if not 0 < self.teacher_temperature < math.inf:
            raise UserError(f"teacher_temperature must be finite and above 0, got {self.teacher_temperature}.")
        if self.distillation not in ("softmax", "binary", "relation"):
            raise UserError(f'distillation must be softmax, binary or relation, got "{self.distillation}".')
        if not re.fullmatch(r"all|rated|unrated|top:0*[1-9]\d*|\d+(,\d+)*", self.distilled_classes):
            raise UserError(
                "distilled_classes must be all, rated, unrated, top:<m> or numbers of classes separated by commas, got "
                f'"{self.distilled_classes}".'
            )
        if self.distillation_ramp_steps < 0 or (self.distillation_last_step or 0) < 0:
            raise UserError(
                "distillation_ramp_steps and distillation_last_step must not be negative, got "
                f"{self.distillation_ramp_steps} and {self.distillation_last_step}."
            )

    def temperature_at(self, level: int) -> float:
        """T of the distillation into the students of a level; 0: they are not distilled into."""
        return self.temperature if level > 1 or self.root_temperature is None else self.root_temperature

    def distillation_weight_at(self, level: int) -> float:
        """lambda of the distillation into the students of a level: `distillation_weight`, or T^2 (Eq. 6)."""
        weight = self.distillation_weight
        if level == 1 and self.root_distillation_weight is not None:
            weight = self.root_distillation_weight
        return self.temperature_at(level) ** 2 if weight is None else weight


@dataclasses.dataclass(frozen=True)
class PhaseConfig(Recipe):
    """How a model is trained: its recipe, on what, for how long, with which optimizer.

    Defaults of the two phases are in `PHASES`; section 4.2 of the paper and, where it is silent, the original scripts.
    """

    name: str  # Of `PHASES`.
    segments: bool  # Rated 5-frame segments (True) or whole videos with video labels (False).
    batch_size: int
    num_epochs: int | None
    max_steps: int | None
    dropout: float
    base_learning_rate: float = 2e-4
    learning_rate_decay: float = 0.8
    learning_rate_decay_examples: int = 2_500_000  # A staircase: one decay each time so many examples were seen.
    clip_gradient_norm: float = 1.0  # Per variable; 0 does not clip.
    # Of the moving averages that inference uses: after n steps momentum^n of them is still where they began, so a
    # run of some hundred steps wants a lower one.
    batch_norm_momentum: float = 0.999
    # Of an average of the weights that is kept in training and scores in their place, e.g. 0.999; 0: none is kept.
    ema_momentum: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        check_positive(self, "batch_size", "learning_rate_decay_examples", "num_epochs", "max_steps")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout must be in [0, 1), got {self.dropout}.")
        if not 0 <= self.clip_gradient_norm < math.inf:
            raise UserError(f"clip_gradient_norm must be finite and not negative, got {self.clip_gradient_norm}.")
        for field in ("base_learning_rate", "learning_rate_decay"):
            if not 0 < getattr(self, field) < math.inf:
                raise UserError(f"{field} must be finite and above 0, got {getattr(self, field)}.")
        if not 0 <= self.batch_norm_momentum < 1:
            raise UserError(f"batch_norm_momentum must be in [0, 1), got {self.batch_norm_momentum}.")
        if not 0 <= self.ema_momentum < 1:
            raise UserError(f"ema_momentum must be in [0, 1), got {self.ema_momentum}.")
        if self.averaged_teacher and not self.ema_momentum:
            raise UserError("averaged_teacher needs an average of the weights: expected ema_momentum above 0, got 0.")

    def frames(self, model: ModelConfig) -> int:
        """Frames of an example for a `ModelConfig`: those of a segment, or of a whole video."""
        return SEGMENT_FRAMES if self.segments else model.max_frames


_NEXTVLAD = ModelConfig("nextvlad", gating_reduction=8)
_LARGE = ModelConfig("nextvlad_large", clusters=256, expansion=4, gating_reduction=8)
_MIX = ModelConfig("mix_nextvlad", branching=(3,))
_MIX_LARGE = ModelConfig("mix_nextvlad_large", branching=(4,), clusters=256, expansion=4)
_MOD = ModelConfig("mod_nextvlad", branching=(4, 3))
_DBOF = ModelConfig("dbof", pooling="dbof", clusters=2048, hidden_size=1024)

_TINY = dict(clusters=16, groups=4, expansion=0.125, hidden_size=64, gating_reduction=4, max_frames=60)
_TINY_LARGE = _TINY | dict(clusters=32, expansion=0.25)

MODELS = {
    config.name: config
    for config in (
        _NEXTVLAD,
        _LARGE,
        _MIX,
        _MIX_LARGE,
        _MOD,
        _DBOF,
        dataclasses.replace(_NEXTVLAD, name="nextvlad_tiny", **_TINY),
        dataclasses.replace(_LARGE, name="nextvlad_large_tiny", **_TINY_LARGE),
        dataclasses.replace(_MIX, name="mix_nextvlad_tiny", **_TINY),
        dataclasses.replace(_MIX_LARGE, name="mix_nextvlad_large_tiny", **_TINY_LARGE),
        dataclasses.replace(_MOD, name="mod_nextvlad_tiny", **_TINY),
        dataclasses.replace(_DBOF, name="dbof_tiny", clusters=128, hidden_size=64, experts=2, max_frames=60),
    )
}
"""The rows of Tables 1 and 2, and each in a size for demos and tests."""

BINARY = dict(distillation="binary", temperature=1.0, distillation_weight=10.0)
"""Distillation beyond the paper: a class at a time, T = 1, lambda = 10 at every level (docs/distillation.md)."""

_PAPER_PHASES = {
    config.name: config
    for config in (
        # 500K steps in the paper, 583K in the original's scripts (docs/reproduce.md).
        PhaseConfig(
            "pretrain",
            segments=False,
            batch_size=80,
            num_epochs=None,
            max_steps=500_000,
            dropout=0.5,
            l2_penalty=1e-5,
            temperature=1,
            learning_rate_decay_examples=2_500_000,
        ),
        PhaseConfig(
            "finetune",
            segments=True,
            batch_size=512,
            num_epochs=10,
            max_steps=None,
            dropout=0.75,
            l2_penalty=1e-4,
            temperature=20,
            learning_rate_decay_examples=1_000_000,
        ),
    )
}
PHASES = _PAPER_PHASES | {
    f"{name}_plus": dataclasses.replace(phase, name=f"{name}_plus", **BINARY) for name, phase in _PAPER_PHASES.items()
}
"""The paper's two phases, and both with `BINARY` (docs/distillation.md says what it brings)."""


def model_config(name: str, overrides: Overrides = ()) -> ModelConfig:
    """The named model with fields replaced; see `override`."""
    return override(_lookup(MODELS, name, "model"), overrides)


def phase_config(name: str, overrides: Overrides = ()) -> PhaseConfig:
    """The named phase with fields replaced; see `override`."""
    return override(_lookup(PHASES, name, "phase"), overrides)


def _lookup(table, name, kind):
    if name not in table:
        raise UserError(f'Unknown {kind} "{name}": expected one of {", ".join(table)}.')
    return table[name]
