"""The arithmetic of the tables: means over seeds, paired differences, and what they say in words."""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from youtube8m_mod.reproduce.rows import CLAIMS, GAP_CLAIMS, GAP_ROWS, OPEN_QUESTIONS, ROWS, VARIATIONS, Claim, Row

Entries = Mapping[str, dict[str, Any]]  # Of `schedule.Results`: what `work.run` gives of each training.

LEVEL, POWER = 0.95, 0.8
MOST_SEEDS = 1000

CLAIMS_TITLE = "What the paper says"


@dataclasses.dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation (None with one value) of `count` values."""

    mean: float
    std: float | None
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> "Summary | None":
        """The summary of numbers; None where there are none."""
        values = list(values)
        if not values:
            return None
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))

    @property
    def margin(self) -> float | None:
        """Half the width of the mean's 95% interval (Student's t, two decimals); None with one value."""
        if self.std is None:
            return None
        return round(student_quantile((1 + LEVEL) / 2, self.count - 1), 2) * self.std / math.sqrt(self.count)

    def __str__(self):
        return f"{self.mean:.4f}" if self.std is None else f"{self.mean:.4f} ± {self.std:.4f}"


def student_quantile(probability: float, degrees: int) -> float:
    """Quantile of Student's t: exact at 1 and 2 degrees of freedom, within 0.2% from 3 on.

    By the expansion around the normal quantile (Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5).
    """
    if degrees == 1:
        return math.tan(math.pi * (probability - 0.5))
    if degrees == 2:
        return (2 * probability - 1) * math.sqrt(0.5 / (probability * (1 - probability)))
    x = statistics.NormalDist().inv_cdf(probability)
    terms = (
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return x + sum(term / degrees**power for power, term in enumerate(terms, 1))


def seeds_needed(difference: Summary | None) -> int | None:
    """Seeds with which a difference as large and as variable as that seen is decided with a probability of `POWER`.

    The smallest n with |mean| >= (t(0.975, n - 1) + t(POWER, n - 1)) std / sqrt(n): the interval of `verdict` then
    leaves out 0 so often. An estimate: mean and deviation are those of the seeds so far.

    Returns:
        n; None where it is above `MOST_SEEDS`, or unknown because there is one seed at most.
    """
    if difference is None or difference.std is None:
        return None
    for seeds in range(2, MOST_SEEDS + 1):
        quantiles = (student_quantile(probability, seeds - 1) for probability in ((1 + LEVEL) / 2, POWER))
        if abs(difference.mean) * math.sqrt(seeds) >= sum(quantiles) * difference.std:
            return seeds
    return None


def seeds_to_decide(difference: Summary | None) -> str | None:
    """Text for a table: how many seeds an undecided difference would take; None for any other verdict."""
    if verdict(difference) != "undecided":
        return None
    seeds = seeds_needed(difference)
    return f"> {MOST_SEEDS}" if seeds is None else str(max(seeds, difference.count + 1))


def scores(
    entries: Entries, training: str, part: str, partition: str = "test", shared: bool = False
) -> dict[int, float]:
    """{seed: score} of a part of a trained model, from the results' entries.

    Args:
        shared: on the video-level probabilities that all rows share, not on the model's own.
    """
    found = {}
    for name, entry in entries.items():
        own, _, seed = name.rpartition("/")
        if own == training and part in entry["scores"][partition]:
            found[int(seed)] = score_of(entry["scores"][partition], part, shared)
    return found


def score_of(scored: Mapping[str, float], part: str, shared: bool = False) -> float:
    """The score of a part of a model in a partition: of its whole pipeline, or on shared candidates if it has that."""
    return scored.get(f"shared {part}", scored[part]) if shared else scored[part]


def row_scores(entries: Entries, row: Row, partition: str = "test", shared: bool = False) -> dict[int, float]:
    """{seed: score} of a `Row`."""
    return scores(entries, row.training, row.part, partition, shared)


def paired(better: Mapping[int, float], worse: Mapping[int, float]) -> Summary | None:
    """`Summary` of the differences better - worse over the seeds that both have; None without any."""
    return Summary.of(better[seed] - worse[seed] for seed in sorted(better.keys() & worse.keys()))


def verdict(difference: Summary | None) -> str:
    """What a paired difference says about the statement that it is above 0.

    "confirmed" and "contradicted" where its 95% interval (Student's t) leaves out 0, else "undecided".
    """
    if difference is None:
        return "not measured"
    if difference.margin is None:
        return "one seed only"
    if abs(difference.mean) > difference.margin:
        return "confirmed" if difference.mean > 0 else "contradicted"
    return "undecided"


def signed(difference: Summary | None) -> str | None:
    """Text of a paired difference."""
    if difference is None:
        return None
    return f"{difference.mean:+.4f}" + ("" if difference.std is None else f" ± {difference.std:.4f}")


def map_table(entries: Entries) -> list[dict[str, Any]]:
    """Rows of Tables 1 and 2 and beyond: MAP in the miniature beside the paper's."""
    reference = row_scores(entries, ROWS["nextvlad"])
    table = []
    for row in ROWS.values():
        found = row_scores(entries, row)
        own = Summary.of(found.values())
        shared = Summary.of(row_scores(entries, row, shared=True).values())
        validation = Summary.of(row_scores(entries, row, "validation").values())
        parameters = next(
            (entry["parameters"] for name, entry in entries.items() if name.rpartition("/")[0] == row.training), None
        )
        table.append(
            {
                "table": row.table,
                "group": row.group,
                "row": row.title,
                "parameters": parameters if row.part in ("root", "video") else None,
                "seeds": own and own.count,
                "MAP": own and str(own),
                "on shared candidates": shared and str(shared),
                "minus NeXtVLAD": None if row.name == "nextvlad" else signed(paired(found, reference)),
                "validation MAP": validation and str(validation),
                "paper, private": row.paper and row.paper[0],
                "paper, public": row.paper and row.paper[1],
                "paper, parameters": row.paper_parameters or None,
            }
        )
    return table


def gap_table(entries: Entries) -> list[dict[str, Any]]:
    """Rows of the second table: GAP on real video-level records."""
    reference = row_scores(entries, GAP_ROWS["gap_mix_T0"])
    table = []
    for row in GAP_ROWS.values():
        test, train = (row_scores(entries, row, partition) for partition in ("test", "train"))
        best = Summary.of(best_of_curve(entries, row).values())
        if test:
            table.append(
                {
                    "row": row.title,
                    "seeds": len(test),
                    "test GAP": str(Summary.of(test.values())),
                    "train GAP": str(Summary.of(train.values())),
                    "best test GAP of the curve": str(best),
                    "minus mixture at T = 0": signed(paired(test, reference)),
                }
            )
    return table


def best_of_curve(entries: Entries, row: Row) -> dict[int, float]:
    """{seed: the row's best test score over the scored checkpoints}."""
    found = {}
    for name, entry in entries.items():
        own, _, seed = name.rpartition("/")
        if own == row.training:
            found[int(seed)] = max(point["scores"]["test"][row.part] for point in entry["curve"])
    return found


def claims_table(entries: Entries, claims: Sequence[Claim], rows: Mapping[str, Row] = ROWS) -> list[dict[str, Any]]:
    """What the paper says, what it measured, and what comes out here.

    The verdict goes by whole pipelines, each row with the video-level probabilities of its own pretraining; the second
    one by the segment classifiers alone, on the same video-level probabilities for all rows.
    """
    table = []
    for claim in claims:
        better, worse = rows[claim.better], rows[claim.worse]
        difference, alone = (
            paired(*(row_scores(entries, row, shared=shared) for row in (better, worse))) for shared in (False, True)
        )
        paper = f"{better.paper[0] - worse.paper[0]:+.4f}" if better.paper and worse.paper else None
        line = {
            "statement": claim.text,
            "paper (private)": paper,
            "here": signed(difference),
            "seeds": difference and difference.count,
            "verdict": verdict(difference),
            "seeds to decide": seeds_to_decide(difference),
        }
        if rows is ROWS:
            line |= {
                "on shared candidates": signed(alone),
                "verdict on them": verdict(alone),
                "seeds to decide on them": seeds_to_decide(alone),
            }
        table.append(line)
    return table


def in_words(table: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences on a table of claims: what is confirmed, contradicted, undecided, and what the rest would take."""
    sentences = []
    for outcome, opening in (
        ("confirmed", "Confirmed"),
        ("contradicted", "Contradicted: the opposite holds for"),
        ("undecided", "Undecided (the 95% interval holds 0)"),
        ("one seed only", "One seed only, no verdict"),
        ("not measured", "Not measured"),
    ):
        texts = [line["statement"] + _in_brackets(line) for line in table if line["verdict"] == outcome]
        if texts:
            sentences.append(f"{opening}: {'; '.join(texts)}.")
    waiting = [f"{line['statement']}: {line['seeds to decide']}" for line in table if line["seeds to decide"]]
    if waiting:
        decided = sum(line["verdict"] in ("confirmed", "contradicted") for line in table)
        sentences.append(
            f"{decided} of {len(table)} statements are decided. Seeds to decide the others with a probability of "
            f"{POWER:.0%}, if differences and deviations are as seen so far: {'; '.join(waiting)}."
        )
    return sentences


def _in_brackets(line):
    """The differences behind a sentence: of whole pipelines, and on shared candidates where there are such scores."""
    if not line["here"]:
        return ""
    shared = line.get("on shared candidates")
    return f" ({line['here']}" + (f"; on shared candidates {shared}, {line['verdict on them']})" if shared else ")")


def regime_table(entries: Entries) -> list[dict[str, Any]]:
    """What distillation, mixing and width bring, regime by regime: paired differences of test MAP.

    On the video-level probabilities that all rows share, so that the segment classifiers alone are compared.
    """
    table = []
    for variation in VARIATIONS.values():
        suffix = "" if variation.name == "base" else f"_{variation.name}"
        single, plain, distilled = (
            scores(entries, f"finetune_{name}{suffix}", "root", shared=True)
            for name in ("nextvlad", "mix_nextvlad_T0", "mix_nextvlad_T20")
        )
        difference = paired(distilled, plain)
        pipelines = paired(*(scores(entries, f"finetune_mix_nextvlad_T{t}{suffix}", "root") for t in (20, 0)))
        leaf_plain, leaf_distilled = (scores(entries, f"finetune_mix_nextvlad_T{t}{suffix}", "leaf") for t in (0, 20))
        if plain and distilled:
            table.append(
                {
                    "regime, on shared candidates": variation.axis,
                    "single": str(Summary.of(single.values())),
                    "mixture, T = 0": str(Summary.of(plain.values())),
                    "mixture, T = 20": str(Summary.of(distilled.values())),
                    "T = 20 minus T = 0": signed(difference),
                    "verdict on T = 20": verdict(difference),
                    "leaf, T = 20 minus T = 0": signed(paired(leaf_distilled, leaf_plain)),
                    "mixture (T = 0) minus single": signed(paired(plain, single)),
                    "whole pipelines, T = 20 minus T = 0": signed(pipelines),
                    "verdict on them": verdict(pipelines),
                }
            )
    return table


def all_tables(entries: Entries) -> dict[str, list[dict[str, Any]]]:
    """{title: rows for `report.format_table`}; tables without rows are left out."""
    tables = {
        "MAP@100,000 of Tables 1 and 2 in miniature": map_table(entries),
        CLAIMS_TITLE: claims_table(entries, CLAIMS),
        "What the paper leaves open": claims_table(entries, OPEN_QUESTIONS),
        "GAP on real video-level records": gap_table(entries),
        "The paper's statements on video-level records (GAP)": claims_table(entries, GAP_CLAIMS, GAP_ROWS),
        "Where distillation helps or hurts": regime_table(entries),
    }
    if not tables["GAP on real video-level records"]:
        del tables["The paper's statements on video-level records (GAP)"]
    return {title: rows for title, rows in tables.items() if rows}
