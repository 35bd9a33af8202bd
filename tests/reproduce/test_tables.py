import math

import numpy as np
import pytest

from youtube8m_mod.reproduce import plots, tables
from youtube8m_mod.reproduce.rows import (
    CLAIMS,
    GAP_CLAIMS,
    GAP_ROWS,
    OPEN_QUESTIONS,
    ROWS,
    TRAININGS,
    VARIATIONS,
    Claim,
    Row,
)
from youtube8m_mod.reproduce.scale import DEFAULT


def entry(**test):
    scores = {
        "test": test,
        "validation": {part: score / 2 for part, score in test.items()},
        "train": {part: 0.9 for part in test},
    }
    return {"scores": scores, "curve": [{"step": 1, "scores": scores}], "parameters": 1000}


def test_summary_of_three_values():
    summary = tables.Summary.of([0.5, 0.6, 0.7])
    assert summary.mean == pytest.approx(0.6) and summary.count == 3
    assert summary.std == pytest.approx(0.1)  # Sample deviation: sqrt((0.01 + 0 + 0.01) / 2).
    assert summary.margin == pytest.approx(4.30 * 0.1 / math.sqrt(3))
    assert str(summary) == "0.6000 ± 0.1000"


def test_summary_of_one_and_of_none():
    assert str(tables.Summary.of([0.25])) == "0.2500"
    assert tables.Summary.of([0.25]).margin is None
    assert tables.Summary.of([]) is None


def test_paired_differences_use_shared_seeds_only():
    difference = tables.paired({0: 0.7, 1: 0.6, 5: 0.1}, {0: 0.5, 1: 0.5, 7: 0.9})
    assert difference.count == 2
    assert difference.mean == pytest.approx(0.15)
    assert difference.std == pytest.approx(math.sqrt(2 * 0.05**2))
    assert tables.paired({0: 0.7}, {1: 0.7}) is None


@pytest.mark.parametrize(
    "values, expected",
    [
        ([0.02, 0.021, 0.019], "confirmed"),
        ([-0.02, -0.021, -0.019], "contradicted"),
        ([0.02, -0.01, 0.0], "undecided"),
        ([0.02], "one seed only"),
        ([], "not measured"),
    ],
)
def test_verdict(values, expected):
    assert tables.verdict(tables.Summary.of(values)) == expected


def test_verdict_goes_by_student_not_by_sign():
    # All three are positive, but their 95% interval is 0.02 +- 0.025.
    assert tables.verdict(tables.Summary.of([0.01, 0.02, 0.03])) == "undecided"


@pytest.mark.parametrize(
    "degrees, at_975, at_80",
    [(1, 12.7062, 1.3764), (2, 4.3027, 1.0607), (3, 3.1824, 0.9785), (9, 2.2622, 0.8834), (60, 2.0003, 0.8477)],
)
def test_quantiles_of_student(degrees, at_975, at_80):
    """Against printed tables."""
    assert tables.student_quantile(0.975, degrees) == pytest.approx(at_975, rel=2e-3)
    assert tables.student_quantile(0.8, degrees) == pytest.approx(at_80, rel=2e-3)


def test_seeds_needed_decide_as_often_as_they_say():
    """Of 4000 studies of so many seeds, 80% come to a verdict; with half as many, far fewer."""
    difference = tables.Summary(0.01, 0.012, 3)
    seeds = tables.seeds_needed(difference)
    assert seeds == 14 and tables.seeds_to_decide(difference) == "14"
    random = np.random.default_rng(0)

    def decided(count):
        samples = random.normal(0.01, 0.012, (4000, count))
        return np.mean([tables.verdict(tables.Summary.of(sample)) == "confirmed" for sample in samples.tolist()])

    assert decided(seeds) == pytest.approx(0.8, abs=0.03)
    assert decided(seeds // 2) < 0.6


def test_seeds_to_decide_where_there_is_nothing_to_say():
    assert tables.seeds_to_decide(tables.Summary.of([0.02, 0.021, 0.019])) is None
    assert tables.seeds_to_decide(tables.Summary.of([0.02])) is None
    assert tables.seeds_to_decide(None) is None and tables.seeds_needed(None) is None
    assert tables.seeds_to_decide(tables.Summary(1e-6, 0.01, 3)) == "> 1000"


def test_undecided_statements_say_what_they_would_take():
    rows = {name: Row(name, name, "", "", name) for name in ("high", "low")}
    entries = {f"high/{seed}": entry(root=value) for seed, value in enumerate((0.52, 0.49, 0.51))}
    entries |= {f"low/{seed}": entry(root=0.5) for seed in range(3)}
    (line,) = tables.claims_table(entries, [Claim("up", "high", "low")], rows)
    assert line["verdict"] == "undecided" and line["seeds to decide"] == "44"
    assert tables.in_words([line])[-1].startswith("0 of 1 statements are decided.")
    assert tables.in_words([line])[-1].endswith(": up: 44.")


def test_scores_pick_training_part_and_partition():
    entries = {
        "finetune_nextvlad/0": entry(root=0.5),
        "finetune_nextvlad/11": entry(root=0.6),
        "finetune_nextvlad_large/0": entry(root=0.9),
    }
    assert tables.scores(entries, "finetune_nextvlad", "root") == {0: 0.5, 11: 0.6}
    assert tables.scores(entries, "finetune_nextvlad", "root", "validation") == {0: 0.25, 11: 0.3}
    assert tables.scores(entries, "finetune_nextvlad", "leaf") == {}


def test_map_table_puts_differences_beside_the_paper():
    entries = {
        f"{name}/{seed}": entry(root=score + 0.1 * seed, leaf=0.3)
        for name, score in (("finetune_nextvlad", 0.5), ("finetune_mix_nextvlad_T20", 0.55))
        for seed in (0, 1)
    }
    table = {row["row"]: row for row in tables.map_table(entries)}
    mixture = table["MixNeXtVLAD (T=20)"]
    assert mixture["MAP"] == "0.6000 ± 0.0707"
    assert mixture["minus NeXtVLAD"] == "+0.0500 ± 0.0000"
    assert (mixture["paper, private"], mixture["paper, public"]) == (0.81984, 0.82699)
    assert table["MODNeXtVLAD (T=20)"]["MAP"] is None


def test_gap_table_has_train_and_test():
    entries = {f"gap_mix_nextvlad_T{t}/0": entry(root=0.5 + t / 100, leaf=0.4, average=0.6) for t in (0, 20)}
    table = {row["row"]: row for row in tables.gap_table(entries)}
    assert table["MixNeXtVLAD (T=20)"]["minus mixture at T = 0"] == "+0.2000"
    assert table["MixNeXtVLAD (T=0), plain average"]["test GAP"] == "0.6000"
    assert table["MixNeXtVLAD (T=0)"]["train GAP"] == "0.9000"
    assert "MODNeXtVLAD (T=20)" not in table


def test_words_follow_the_numbers():
    claims = [Claim("up", "nextvlad", "dummy"), Claim("down", "dummy", "nextvlad"), Claim("unknown", "mod", "dummy")]
    entries = {f"finetune_nextvlad/{seed}": entry(root=0.7) for seed in range(3)}
    entries |= {f"pretrain_nextvlad/{seed}": entry(video=0.5 + seed / 1000) for seed in range(3)}
    table = tables.claims_table(entries, claims)
    assert [line["verdict"] for line in table] == ["confirmed", "contradicted", "not measured"]
    assert table[0]["paper (private)"] == "+0.1483"
    sentences = tables.in_words(table)
    assert sentences[0] == "Confirmed: up (+0.1990 ± 0.0010; on shared candidates +0.1990 ± 0.0010, confirmed)."
    assert sentences[1] == (
        "Contradicted: the opposite holds for: down (-0.1990 ± 0.0010; on shared candidates "
        "-0.1990 ± 0.0010, contradicted)."
    )
    assert sentences[2] == "Not measured: unknown."


def test_rows_and_claims_name_what_there_is():
    for row in (ROWS | GAP_ROWS).values():
        assert row.training in TRAININGS
    for claim in (*CLAIMS, *OPEN_QUESTIONS):
        assert {claim.better, claim.worse} <= ROWS.keys()
    for claim in GAP_CLAIMS:
        assert {claim.better, claim.worse} <= GAP_ROWS.keys()
    for claim in CLAIMS:  # What the paper says is what its tables say.
        assert ROWS[claim.better].paper[0] > ROWS[claim.worse].paper[0]
        assert ROWS[claim.better].paper[1] > ROWS[claim.worse].paper[1]


def test_variations_change_what_they_say():
    base, long = (DEFAULT.phase(TRAININGS[f"finetune_nextvlad{suffix}"], 1000) for suffix in ("", "_long"))
    assert base.max_steps == 1000 * DEFAULT.finetune_epochs // DEFAULT.finetune_batch
    assert long.max_steps == 4000 * DEFAULT.finetune_epochs // DEFAULT.finetune_batch
    narrow, standard = (DEFAULT.model(TRAININGS[f"finetune_nextvlad{suffix}"]) for suffix in ("_narrow", ""))
    assert 4 * narrow.hidden_size == standard.hidden_size
    # Where only the finetuning differs, the pretraining is that of the tables.
    for variation in VARIATIONS:
        training = TRAININGS["finetune_nextvlad" + ("" if variation == "base" else f"_{variation}")]
        own = variation in ("noisy", "narrow")
        assert training.pretraining == "pretrain_nextvlad" + (f"_{variation}" if own else "")


def test_curves_of_seeds_that_differ_in_length():
    """Segments, and so steps, differ from seed to seed, and trainings end in any order."""

    def training(steps, score):
        scores = {"test": {"root": score, "shared root": score - 0.1, "leaf": score, "average": score}}
        return {"curve": [{"step": step, "scores": scores} for step in steps]}

    entries = {
        "finetune_mix_nextvlad_T0/0": training((31, 62, 70), 0.5),
        "finetune_mix_nextvlad_T20/1": training((30, 60, 68), 0.7),
        "finetune_mix_nextvlad_T20/0": training((31, 62, 70), 0.6),
    }
    curve = plots._curve_by_seed(entries, "finetune_mix_nextvlad_T20", "root", "test", shared=True)
    assert [step for step, _ in curve] == [31, 62, 70]
    assert curve[0][1] == {0: pytest.approx(0.5), 1: pytest.approx(0.6)}
    assert plots.distillation_over_time(entries)
    del entries["finetune_mix_nextvlad_T20/0"]  # Now they share no seed.
    assert plots.distillation_over_time(entries)
