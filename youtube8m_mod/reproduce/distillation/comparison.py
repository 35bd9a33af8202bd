"""The tables of the study: what each recipe scores, paired differences, and what is decided."""

import os

from youtube8m_mod import files
from youtube8m_mod.errors import UserError
from youtube8m_mod.reproduce.distillation.arms import Size
from youtube8m_mod.reproduce.tables import Summary, paired, seeds_to_decide
from youtube8m_mod.terminal import format_table

PARTS = {"root": "mixture", "average": "plain average", "leaf": "one leaf"}
MOMENTS = ("best", "end")
REFERENCES = ("none", "paper")


def load(output_dir: str, size: Size) -> dict[str, dict[int, dict]]:
    """{arm: {seed: what `Trainings.run` returned}} of the files in a folder, arms in the order of the size."""
    found = {}
    for path in sorted(files.glob(os.path.join(output_dir, f"{size.name}-*.json"))):
        entry = files.read_json(path)
        if entry["phase"] != size.described(entry["arm"]):
            raise UserError(
                f'{path} was trained with another recipe than "{entry["arm"]}" has now; use another folder.'
            )
        found.setdefault(entry["arm"], {})[entry["seed"]] = entry
    return {arm: found[arm] for arm in size.arms if arm in found}


def scored(curve: list[dict], part: str, moment: str, half: str = "test") -> float:
    """GAP of a part of a model on a half: at the end, or at the step at which its validation GAP is best."""
    point = curve[-1] if moment == "end" else max(curve, key=lambda point: point["validation"][part])
    return point[half][part]


def by_seed(entries: dict[int, dict], part: str, moment: str, half: str = "test") -> dict[int, float]:
    """{seed: GAP}; see `scored`."""
    return {seed: scored(entry["curve"], part, moment, half) for seed, entry in entries.items()}


def chosen(results: dict[str, dict[int, dict]], part: str = "root") -> str:
    """The arm with the best validation GAP, mean over the seeds that all arms share. No test score is looked at."""
    shared = set.intersection(*(set(entries) for entries in results.values()))
    if not shared:
        raise UserError("The arms share no seed: none can be chosen.")
    means = {
        arm: sum(by_seed({seed: entries[seed] for seed in shared}, part, "best", "validation").values())
        for arm, entries in results.items()
    }
    return max(means, key=means.get)


def scores_table(results: dict[str, dict[int, dict]]) -> list[dict]:
    """A row an arm: validation GAP of the mixture at its best step, test GAP of all parts, what leaves disagree on."""
    table = []
    for arm, entries in results.items():
        row = {
            "recipe": arm,
            "seeds": len(entries),
            "validation, best": str(Summary.of(by_seed(entries, "root", "best", "validation").values())),
        }
        for part, title in PARTS.items():
            for moment in MOMENTS:
                row[f"{title}, {moment}"] = str(Summary.of(by_seed(entries, part, moment).values()))
        disagreement = Summary.of(entry["curve"][-1]["disagreement"] for entry in entries.values())
        table.append(row | {"leaves disagree, end": str(disagreement)})
    return table


def differences_table(results: dict[str, dict[int, dict]], reference: str) -> list[dict]:
    """A row an arm: test GAP minus that of the reference on the same seeds, with half the 95% interval (Student's t).

    Where the interval holds 0, the number of seeds follows that would decide; see `tables.seeds_needed`.
    """
    table = []
    for arm, entries in results.items():
        if arm == reference or reference not in results:
            continue
        row = {f"minus {reference}": arm, "seeds": len(entries.keys() & results[reference].keys())}
        for part, title in PARTS.items():
            for moment in MOMENTS:
                own, other = (by_seed(results[name], part, moment) for name in (arm, reference))
                row[f"{title}, {moment}"] = in_words(paired(own, other))
        table.append(row)
    return table


def in_words(difference: Summary | None) -> str | None:
    """A paired difference with half its 95% interval, and the seeds that would decide it if it is undecided."""
    if difference is None:
        return None
    if difference.margin is None:
        return f"{difference.mean:+.4f}, one seed"
    seeds = seeds_to_decide(difference)
    return f"{difference.mean:+.4f} ± {difference.margin:.4f}" + (f", undecided ({seeds} seeds)" if seeds else "")


def seconds_table(results: dict[str, dict[int, dict]]) -> list[dict]:
    """A row an arm: where the processor time of a training goes, mean over seeds (tracing: first training only)."""
    table = []
    for arm, entries in results.items():
        spent = [entry["seconds"] for entry in entries.values()]
        row = {"recipe": arm, "tracing": max(each["tracing"] for each in spent)}
        table.append(row | {name: Summary.of(s[name] for s in spent).mean for name in ("training", "scoring")})
    return table


def write(output_dir: str, size: Size) -> str:
    """Writes `tables/<size>.md` and `.json` into a folder of results; returns the tables as text.

    Raises:
        UserError: there are no results, or they are of other recipes.
    """
    results = load(output_dir, size)
    if not results:
        raise UserError(f"{output_dir} holds no finished training of the size {size.name}.")
    made = {"Test GAP": scores_table(results)}
    made |= {f"Minus {name}": differences_table(results, name) for name in REFERENCES}
    made["Seconds of processor of a training"] = seconds_table(results)
    choice = f"Best on validation: {chosen(results)}."
    made = {title: rows for title, rows in made.items() if rows}
    files.write_json(os.path.join(output_dir, "tables", f"{size.name}.json"), {"tables": made, "chosen": choice})
    with files.write_file(os.path.join(output_dir, "tables", f"{size.name}.md")) as file:
        for title, rows in made.items():
            file.write(f"## {title}\n\n{format_table(rows, markdown=True)}\n\n")
        file.write(f"{choice}\n")
    return "\n\n".join(f"{title}\n{format_table(rows)}" for title, rows in made.items()) + f"\n\n{choice}"
