"""What the study compares: recipes of distillation, on models of two vocabularies."""

import dataclasses

from youtube8m_mod import config, overrides
from youtube8m_mod.config import ModelConfig, PhaseConfig
from youtube8m_mod.reproduce.rows import TRAININGS
from youtube8m_mod.reproduce.scale import DEFAULT, Scale


@dataclasses.dataclass(frozen=True)
class Size:
    """The size of the trainings: those of the reproduction's table of GAPs (`Scale`), on the commonest classes.

    Attributes:
        num_classes: so many of the vocabulary; records without any of them are left out.
        arms: names of `ARMS`, in the order in which each seed trains them.
        score_steps: all models are scored every so many steps.
        scale: gives records, steps, batch, learning rate and width.
    """

    name: str
    num_classes: int
    arms: tuple[str, ...]
    score_steps: int = 200
    scale: Scale = DEFAULT

    def model(self) -> ModelConfig:
        """The mixture of 3 that all arms train."""
        return dataclasses.replace(self.scale.model(TRAININGS["gap_mix_nextvlad_T0"]), num_classes=self.num_classes)

    def phase(self, arm: str) -> PhaseConfig:
        """How an arm trains it; arms differ in their recipe only."""
        phase = self.scale.phase(TRAININGS["gap_mix_nextvlad_T0"])
        return dataclasses.replace(phase, **ARMS[arm])

    def described(self, arm: str) -> dict:
        """What of the phase the results of an arm record: all that differs from a `PhaseConfig`'s defaults."""
        defaults = {field.name: field.default for field in dataclasses.fields(PhaseConfig)}
        fields = overrides.to_dict(self.phase(arm))
        return {name: value for name, value in fields.items() if value != defaults[name]}


def _binary(weight, **changed):
    return dict(distillation="binary", temperature=1.0, distillation_weight=float(weight)) | changed


ARMS = {
    "none": dict(temperature=0.0),
    "paper": dict(temperature=20.0),
    "softmax, T = 1": dict(temperature=1.0),
    "binary, 3": _binary(3),
    "binary, 10": _binary(10),
    "binary, 30": _binary(30),
    "binary, 10, teacher detached": _binary(10, teacher_gradient=False),
    "binary, 10, teacher without the child": _binary(10, teacher_without_child=True),
    "binary, 10, the teacher's best 20": _binary(10, distilled_classes="top:20"),
    "binary, 10, ramp of 600 steps": _binary(10, distillation_ramp_steps=600),
    "binary, 10, averaged teacher": _binary(10, averaged_teacher=True, ema_momentum=0.99),
    "standardized logits, softmax, T = 2": dict(temperature=2.0, distillation_weight=9.0, standardized_logits=True),
    "relation, 10": dict(distillation="relation", temperature=1.0, distillation_weight=10.0),
}
"""{name: fields of a phase}. Weights of the last two are those of their authors' code, or make the term about as large
as the label loss; they were not tuned."""

MAIN = ("none", "paper", "binary, 3", "binary, 10")

SIZES = {
    size.name: size
    for size in (
        Size("full", config.MODELS["nextvlad"].num_classes, MAIN),
        Size("small", 1000, tuple(ARMS)),
        Size(
            "quick",
            50,
            MAIN,
            score_steps=4,
            scale=dataclasses.replace(DEFAULT, gap_records=64, gap_steps=8, gap_batch=16, gap_hidden=8, gap_clusters=4),
        ),
    )
}
"""All 3862 classes, whose main arms answer the paper's question; the 1000 commonest, at a quarter of the cost."""
