"""The rows of the paper's tables, once: the miniature trains them, and the full scale's commands are printed from them.

A `Training` is a run of train.py or finetune.py; a `Row` is a part of a trained model that is scored. Rows name their
training, trainings name the pretraining that they start from, so what is shared is trained once.
"""

import dataclasses

from youtube8m_mod import config


@dataclasses.dataclass(frozen=True)
class Variation:
    """What the exploration changes in the miniature, for pretraining and finetuning alike."""

    name: str
    axis: str  # What is explored, in words.
    finetuning_shards: int | None = None  # None: all but those held out for validation.
    finetuning_length: float = 1.0  # Times the epochs of finetuning.
    label_noise: bool = False  # Far noisier video labels.
    width: float = 1.0  # Times clusters and hidden units.


VARIATIONS = {
    variation.name: variation
    for variation in (
        Variation("base", "as in the tables"),
        Variation("eighth", "an eighth of the finetuning videos", finetuning_shards=1),
        Variation("half", "half of the finetuning videos", finetuning_shards=4),
        Variation("long", "four times the epochs of finetuning", finetuning_length=4.0),
        Variation("noisy", "noisier video labels", label_noise=True),
        Variation("narrow", "models of a quarter of the width", width=0.25),
    )
}


@dataclasses.dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        name: unique; also the name of its folder.
        model: named model of `config.MODELS`.
        phase: "pretrain" (train.py on videos), "finetune" (finetune.py on rated segments) or "gap" (train.py on
            video-level records).
        temperature: T of the phase; 0: no distillation.
        pretraining: name of the training that a finetuning starts from; None: from scratch.
        candidates: name of the pretraining whose video probabilities give candidates and P_vid (Eq. 1).
        shared_candidates: the same for a leaf alone (a single model, as the other models are removed), and to compare
            all rows on the same candidates.
        branching: of the tree, where not the named model's.
    """

    name: str
    model: str
    phase: str
    temperature: float
    pretraining: str | None = None
    candidates: str | None = None
    shared_candidates: str | None = None
    branching: tuple[int, ...] | None = None
    variation: str = "base"
    binary: bool = False  # The recipe beyond the paper, `config.BINARY`, in place of a temperature.

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the trainings that come before."""
        return tuple(dict.fromkeys(filter(None, (self.pretraining, self.candidates, self.shared_candidates))))

    @property
    def tree(self) -> tuple[int, ...]:
        """The branching of the model's tree."""
        return config.MODELS[self.model].branching if self.branching is None else self.branching


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        part: what of the trained model is scored: "root", "leaf" (its first leaf alone), "average" (the plain average
            of all leaves' logits), "video" (the video's probabilities for each of its segments), or "random" (no
            model: the rated segments in a random order).
        paper: the paper's MAP@100,000 on the private and public leaderboard; None: the paper has no such row.
        paper_parameters: as the paper's table gives them.
    """

    name: str
    title: str
    table: str
    group: str
    training: str
    part: str = "root"
    paper: tuple[float, float] | None = None
    paper_parameters: str = ""


DEEP = (2, 2, 3)
TEMPERATURES = (0, 1, 10, 20)


def _pair(name, model, finetune_temperature, pretrain_temperature=1, branching=None, variation="base"):
    """Pretraining and finetuning of a model. The scripts pretrain with T = 1 whatever T the finetuning takes."""
    suffix = _suffix(variation)
    changed = VARIATIONS[variation]
    # Where only the finetuning differs, the pretraining is shared.
    pretrained = variation if changed.label_noise or changed.width != 1 else "base"
    own = _suffix(pretrained)
    undistilled = "_T0" if pretrain_temperature == 0 else ""
    pretraining = f"pretrain_{name}{undistilled}{own}"
    temperature = f"_T{finetune_temperature:g}" if config.MODELS[model].branching or branching else ""
    return (
        Training(pretraining, model, "pretrain", pretrain_temperature, branching=branching, variation=pretrained),
        Training(
            f"finetune_{name}{temperature}{suffix}",
            model,
            "finetune",
            finetune_temperature,
            pretraining,
            pretraining,
            f"pretrain_nextvlad{own}",
            branching,
            variation,
        ),
    )


def _binary_pair():
    """Pretraining and finetuning of the mixture of 3 by the recipe beyond the paper."""
    pretraining, finetuning = _pair("mix_nextvlad", "mix_nextvlad", 1)
    own = dataclasses.replace(pretraining, name="pretrain_mix_nextvlad_binary", binary=True)
    return own, dataclasses.replace(
        finetuning, name="finetune_mix_nextvlad_binary", pretraining=own.name, candidates=own.name, binary=True
    )


def _suffix(variation):
    return "" if variation == "base" else f"_{variation}"


def _trainings():
    found = [
        *_pair("nextvlad", "nextvlad", 0, 1),
        Training("scratch_dbof", "dbof", "finetune", 0, None, "pretrain_nextvlad", "pretrain_nextvlad"),
        Training("scratch_nextvlad", "nextvlad", "finetune", 0, None, "pretrain_nextvlad", "pretrain_nextvlad"),
        *_pair("nextvlad_large", "nextvlad_large", 0, 1),
        # Without distillation means none in pretraining either.
        *(
            training
            for temperature in TEMPERATURES
            for training in _pair("mix_nextvlad", "mix_nextvlad", temperature, min(temperature, 1))
        ),
        *_binary_pair(),
        *_pair("mix_nextvlad_large", "mix_nextvlad_large", 20),
        *_pair("mod_nextvlad", "mod_nextvlad", 20),
        *_pair("deep_mod_nextvlad", "mod_nextvlad", 20, branching=DEEP),
    ]
    return {training.name: training for training in found}


def _explored():
    found = []
    for variation in VARIATIONS:
        if variation != "base":
            found += _pair("nextvlad", "nextvlad", 0, 1, variation=variation)
            found += _pair("mix_nextvlad", "mix_nextvlad", 0, 0, variation=variation)
            found += _pair("mix_nextvlad", "mix_nextvlad", 20, 1, variation=variation)
    return {training.name: training for training in found}


def _gap():
    found = [Training("gap_nextvlad", "nextvlad", "gap", 0)]
    found += [
        Training(f"gap_mix_nextvlad_T{temperature}", "mix_nextvlad", "gap", temperature) for temperature in TEMPERATURES
    ]
    found += [Training("gap_mod_nextvlad_T20", "mod_nextvlad", "gap", 20)]
    return {training.name: training for training in found}


TABLE_TRAININGS = _trainings()
EXPLORED_TRAININGS = _explored()
GAP_TRAININGS = _gap()
TRAININGS = TABLE_TRAININGS | EXPLORED_TRAININGS | GAP_TRAININGS


def _rows(table, group, *rows):
    """{name: `Row`} of a group of a table, of its rows' other fields."""
    return {name: Row(name, title, table, group, *fields) for name, title, *fields in rows}


ROWS = {
    **_rows(
        "Table 1",
        "Without finetune",
        ("dummy", "Dummy prediction", "pretrain_nextvlad", "video", (0.64809, 0.66188), "83M"),
    ),
    **_rows(
        "Table 1",
        "Without pretrain",
        ("dbof", "DBoF baseline", "scratch_dbof", "root", (0.69882, 0.71077), "16M"),
        ("nextvlad_scratch", "NeXtVLAD(8G, 128K, X2, 2048H)", "scratch_nextvlad", "root", (0.77009, 0.77730), "83M"),
    ),
    **_rows(
        "Table 1",
        "Pretrain and finetune",
        ("nextvlad", "NeXtVLAD(8G, 128K, X2, 2048H)", "finetune_nextvlad", "root", (0.79642, 0.80635), "83M"),
        (
            "nextvlad_large",
            "NeXtVLAD_large(8G, 256K, X4, 2048H)",
            "finetune_nextvlad_large",
            "root",
            (0.80586, 0.81611),
            "320M",
        ),
        (
            "mod_leaf",
            "NeXtVLAD_distill: one leaf of the MOD",
            "finetune_mod_nextvlad_T20",
            "leaf",
            (0.81509, 0.82267),
            "83M",
        ),
    ),
    **_rows(
        "Table 2",
        "One-layer mixture",
        ("mix_T0", "MixNeXtVLAD (T=0)", "finetune_mix_nextvlad_T0", "root", (0.80797, 0.81688), "250M"),
        ("mix_T1", "MixNeXtVLAD (T=1)", "finetune_mix_nextvlad_T1", "root", (0.81125, 0.82023), "250M"),
        ("mix_T10", "MixNeXtVLAD (T=10)", "finetune_mix_nextvlad_T10", "root", (0.81617, 0.82477), "250M"),
        ("mix_T20", "MixNeXtVLAD (T=20)", "finetune_mix_nextvlad_T20", "root", (0.81984, 0.82699), "250M"),
        (
            "mix_large",
            "MixNeXtVLAD_large (T=20)",
            "finetune_mix_nextvlad_large_T20",
            "root",
            (0.82262, 0.83014),
            "1280M",
        ),
    ),
    **_rows(
        "Table 2",
        "Two-layer mixture",
        ("mod", "MODNeXtVLAD (T=20)", "finetune_mod_nextvlad_T20", "root", (0.82512, 0.83251), "1000M"),
    ),
    **_rows(
        "Beyond",
        "Beyond the paper",
        ("deep", "Three layers, 2 x 2 x 3 (T=20)", "finetune_deep_mod_nextvlad_T20"),
        ("pretrained", "NeXtVLAD, pretrained only, on segments", "pretrain_nextvlad"),
        ("mix_T0_average", "MixNeXtVLAD (T=0), plain average of the leaves", "finetune_mix_nextvlad_T0", "average"),
        ("mix_T20_average", "MixNeXtVLAD (T=20), plain average of the leaves", "finetune_mix_nextvlad_T20", "average"),
        ("mod_average", "MODNeXtVLAD (T=20), plain average of the leaves", "finetune_mod_nextvlad_T20", "average"),
        ("mix_T0_leaf", "One leaf of MixNeXtVLAD (T=0)", "finetune_mix_nextvlad_T0", "leaf"),
        ("mix_T20_leaf", "One leaf of MixNeXtVLAD (T=20)", "finetune_mix_nextvlad_T20", "leaf"),
        ("mix_binary", "MixNeXtVLAD (binary)", "finetune_mix_nextvlad_binary"),
        (
            "mix_binary_average",
            "MixNeXtVLAD (binary), plain average of the leaves",
            "finetune_mix_nextvlad_binary",
            "average",
        ),
        ("mix_binary_leaf", "One leaf of MixNeXtVLAD (binary)", "finetune_mix_nextvlad_binary", "leaf"),
        ("random", "Random order of the rated segments", "pretrain_nextvlad", "random"),
    ),
}
"""Tables 1 and 2, and rows that the paper leaves open."""

GAP_ROWS = {
    row.name: row
    for row in (
        Row("gap_nextvlad", "NeXtVLAD", "GAP", "", "gap_nextvlad"),
        *(
            Row(
                f"gap_mix_T{temperature}{'' if part == 'root' else '_' + part}",
                f"MixNeXtVLAD (T={temperature}){title}",
                "GAP",
                "",
                f"gap_mix_nextvlad_T{temperature}",
                part,
            )
            for temperature in TEMPERATURES
            for part, title in (("root", ""), ("average", ", plain average"), ("leaf", ", one leaf"))
        ),
        *(
            Row(
                f"gap_mod{'' if part == 'root' else '_' + part}",
                f"MODNeXtVLAD (T=20){title}",
                "GAP",
                "",
                "gap_mod_nextvlad_T20",
                part,
            )
            for part, title in (("root", ""), ("average", ", plain average"), ("leaf", ", one leaf"))
        ),
    )
}
"""The second table: GAP on real video-level records."""


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement of the paper as a comparison of two rows: `better` scores above `worse`."""

    text: str
    better: str
    worse: str


CLAIMS = (
    Claim("finetuning on segments beats the dummy prediction", "nextvlad", "dummy"),
    Claim("NeXtVLAD beats the DBoF baseline, both without pretraining", "nextvlad_scratch", "dbof"),
    Claim("pretraining and finetuning beats finetuning alone", "nextvlad", "nextvlad_scratch"),
    Claim("a larger NeXtVLAD beats the NeXtVLAD", "nextvlad_large", "nextvlad"),
    Claim("one leaf of a distilled MOD beats a single NeXtVLAD", "mod_leaf", "nextvlad"),
    Claim("one leaf of a distilled MOD beats the larger NeXtVLAD", "mod_leaf", "nextvlad_large"),
    Claim("a mixture of 3 without distillation beats a single NeXtVLAD", "mix_T0", "nextvlad"),
    Claim("distillation at T = 1 beats none", "mix_T1", "mix_T0"),
    Claim("distillation at T = 10 beats T = 1", "mix_T10", "mix_T1"),
    Claim("distillation at T = 20 beats T = 10", "mix_T20", "mix_T10"),
    Claim("distillation at T = 20 beats none", "mix_T20", "mix_T0"),
    Claim("a mixture of 4 large models beats the mixture of 3", "mix_large", "mix_T20"),
    Claim("two layers beat one (T = 20)", "mod", "mix_T20"),
    Claim("two layers beat the mixture of 4 large models", "mod", "mix_large"),
)
"""What Tables 1 and 2 say."""

OPEN_QUESTIONS = (
    Claim("three layers beat two", "deep", "mod"),
    Claim("the learned gate of the mixture (T = 0) beats a plain average", "mix_T0", "mix_T0_average"),
    Claim("the learned gate of the mixture (T = 20) beats a plain average", "mix_T20", "mix_T20_average"),
    Claim("the learned gates of the MOD beat a plain average", "mod", "mod_average"),
    Claim("a leaf of a distilled mixture beats one of an undistilled mixture", "mix_T20_leaf", "mix_T0_leaf"),
    Claim("binary distillation beats none", "mix_binary", "mix_T0"),
    Claim("binary distillation beats T = 20", "mix_binary", "mix_T20"),
    Claim(
        "a leaf distilled by binary divergence beats one of an undistilled mixture", "mix_binary_leaf", "mix_T0_leaf"
    ),
    Claim("a leaf distilled by binary divergence beats one of T = 20", "mix_binary_leaf", "mix_T20_leaf"),
)
"""What the paper asks or leaves open."""

GAP_CLAIMS = (
    Claim("a mixture of 3 without distillation beats a single model", "gap_mix_T0", "gap_nextvlad"),
    Claim("distillation at T = 1 beats none", "gap_mix_T1", "gap_mix_T0"),
    Claim("distillation at T = 10 beats T = 1", "gap_mix_T10", "gap_mix_T1"),
    Claim("distillation at T = 20 beats T = 10", "gap_mix_T20", "gap_mix_T10"),
    Claim("distillation at T = 20 beats none", "gap_mix_T20", "gap_mix_T0"),
    Claim("two layers beat one (T = 20)", "gap_mod", "gap_mix_T20"),
    Claim("one leaf of a distilled MOD beats a single model", "gap_mod_leaf", "gap_nextvlad"),
    Claim("the learned gate (T = 20) beats a plain average", "gap_mix_T20", "gap_mix_T20_average"),
)
"""The same statements, where video-level records can answer them."""
