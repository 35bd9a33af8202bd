"""Which trained models score segments and whole videos: one, or several whose logits are averaged."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from youtube8m_mod import files
from youtube8m_mod.errors import UserError
from youtube8m_mod.formats.class_lists import read_class_ids
from youtube8m_mod.training import checkpoint_store
from youtube8m_mod.training.run import Run
from youtube8m_mod.tree import parse_path

_ALIKE = ("feature_names", "feature_sizes", "num_classes", "max_frames")  # What all models must share.


@dataclasses.dataclass(frozen=True)
class Member:
    """A trained model that scores.

    Attributes:
        train_dir: as it was given.
        run: the `Run` in it.
        checkpoint: which of its checkpoints; see `checkpoint_store.chosen_steps`.
        node: path of the node that scores.
        weight: of its logits; those of all members sum to one.
    """

    train_dir: str
    run: Run
    checkpoint: str = checkpoint_store.LAST
    node: str = ""
    weight: float = 1.0

    @property
    def place(self) -> str:
        """The train_dir from every folder."""
        return files.absolute(self.train_dir)

    def identity(self) -> list[list[int | str]]:
        """What distinguishes the checkpoints from others: [step, fingerprint] of each."""
        steps = checkpoint_store.chosen_steps(self.train_dir, self.checkpoint)
        return [[step, checkpoint_store.fingerprint(self.train_dir, step)] for step in steps]

    def check_node(self) -> None:
        """Raises `UserError` where the model has no such node."""
        try:
            parse_path(self.node, self.run.model.branching)
        except UserError as error:
            raise UserError(f"{self.train_dir}: {error}") from error


def segment_members(train_dirs: str, checkpoint: str, node: str, weights: str | None) -> list[Member]:
    """The models that `--train_dir` names, checked to fit each other; those of weight 0 are left out.

    Args:
        train_dirs: one, or several separated by commas.
        checkpoint, node: one for all, or one a model.
        weights: numbers separated by commas; None: equal.

    Raises:
        UserError: where a train_dir holds no run, two differ in vocabulary or features, or numbers do not match.
    """
    paths = _paths("train_dir", train_dirs)
    chosen = _one_each("checkpoint", checkpoint, len(paths))
    nodes, shares = _one_each("node", node, len(paths)), _weights("model_weights", weights, len(paths))
    return _checked("train_dir", [*map(Member, paths, map(Run.load, paths), chosen, nodes, shares)])


def video_members(
    members: Sequence[Member], train_dirs: str | None, checkpoint: str | None, weights: str | None
) -> list[Member]:
    """The models that score whole videos beside the `members` that score segments.

    Args:
        train_dirs: of `--video_train_dir`; None: for each member the model that its finetuning started from, or else
            itself, with the member's weight.
        checkpoint: one for all, or one a model; None: of a model that finetuning started from, the one that it started
            from; of one that is a member, that member's; otherwise the last.
        weights: of `train_dirs`; None: equal.

    Raises:
        UserError: as `segment_members`, and where the model that finetuning started from is not what it was.
    """
    own = {member.place: member for member in reversed(members)}
    if train_dirs:
        paths = _paths("video_train_dir", train_dirs)
        shares = _weights("video_model_weights", weights, len(paths))
        started = [None] * len(paths)
    else:
        if weights is not None:
            raise UserError("--video_model_weights are those of --video_train_dir, which is not given.")
        paths, started = [*map(_started_from, members)], [member.run.started_step for member in members]
        shares = [member.weight for member in members]
    found = []
    for number, (path, share, step, choice) in enumerate(
        zip(paths, shares, started, _one_each("video_checkpoint", checkpoint, len(paths)))
    ):
        # A node is a part of the segment model; a video-level model that is another is whole.
        same = own.get(files.absolute(path))
        if not train_dirs:
            same = members[number] if path == members[number].train_dir else None
        if choice is None and same:
            choice = same.checkpoint
        elif choice is None and step in checkpoint_store.steps(path):
            choice = str(step)
        found.append(Member(path, Run.load(path), choice or checkpoint_store.LAST, same.node if same else "", share))
    return _checked("video_train_dir", found) if train_dirs else _merged(found)


def check_alike(members: Sequence[Member]) -> None:
    """Raises `UserError` naming two train_dirs and what differs, where the models do not read and score the same."""
    first = members[0]
    for member in members[1:]:
        for field in _ALIKE:
            expected, found = getattr(first.run.model, field), getattr(member.run.model, field)
            if found != expected:
                raise UserError(
                    f"The models of {member.train_dir} and {first.train_dir} must have the same {field}, got "
                    f"{found} and {expected}."
                )


def segment_classes(members: Sequence[Member], path: str | None) -> list[int]:
    """The segment classes: those in a file, else those that were rated in finetuning, else all.

    Raises:
        UserError: where there is no file and the members were finetuned on different classes.
    """
    first = members[0]
    if path:
        return read_class_ids(path, first.run.model.num_classes)
    for member in members[1:]:
        if member.run.classes != first.run.classes:
            counts = [f"{len(each.run.classes):,} classes" if each.run.classes else "none" for each in (first, member)]
            raise UserError(
                f"The models of {first.train_dir} and {member.train_dir} were finetuned on different segment classes "
                f"({' and '.join(counts)}): name those to score with --segment_label_ids_file."
            )
    return first.run.classes or list(range(first.run.model.num_classes))


def settings_of(members: Sequence[Member], prefix: str = "") -> dict[str, object]:
    """A JSON-able dict that identifies the members; of a single one, its values themselves."""
    values = {
        "train_dir": [member.place for member in members],
        "checkpoint": [member.identity() for member in members],
        "node": [member.node for member in members],
    }
    if len(members) == 1:
        return {prefix + name: value for name, (value,) in values.items()}
    values["model_weights"] = [member.weight for member in members]
    return {prefix + name: value for name, value in values.items()}


def _paths(name, text):
    """The train_dirs in a flag's text; one whose name holds a comma is that one."""
    whole = not files.is_remote(text) and files.exists(text)
    paths = [text] if whole else [part.strip() for part in text.split(",")]
    if not all(paths):
        raise UserError(f'--{name}: expected train_dirs separated by commas, got "{text}".')
    return paths


def _one_each(name, text, count):
    """`count` values: the one for all of them, or as many separated by commas."""
    values = [None] if text is None else [part.strip() for part in text.split(",")]
    if len(values) not in (1, count):
        models = "one value for the one model" if count == 1 else f"one value, or {count}, one a model"
        raise UserError(f'--{name}: expected {models}, got {len(values)} in "{text}".')
    return values * count if len(values) == 1 else values


def _weights(name, text, count):
    """`count` weights that sum to one."""
    if text is None:
        return [1 / count] * count
    try:
        weights = np.array([float(part) for part in text.split(",")])
    except ValueError:
        raise UserError(f'--{name}: expected numbers separated by commas, got "{text}".') from None
    if len(weights) != count:
        raise UserError(f"--{name}: expected {count} numbers, one a model, got {len(weights)}.")
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise UserError(f'--{name}: expected numbers of at least 0, not all 0, got "{text}".')
    return (weights / weights.sum()).tolist()


def _checked(name, members):
    """The members that count; raises `UserError` where one is named twice or does not fit the first."""
    check_alike(members)
    seen = set()
    for member in members if len(members) > 1 else ():
        if (key := _key(member)) in seen:
            raise UserError(
                f"--{name} names {member.train_dir} twice: expected different models, checkpoints or nodes."
            )
        seen.add(key)
    return [member for member in members if member.weight > 0]


def _merged(members):
    """The members with those that are the same joined, their weights summed."""
    if len(members) == 1:
        return members
    merged = {}
    for member in members:
        key = _key(member)
        earlier = merged.get(key)
        merged[key] = dataclasses.replace(earlier, weight=earlier.weight + member.weight) if earlier else member
    return list(merged.values())


def _key(member):
    return member.place, tuple(checkpoint_store.chosen_steps(member.train_dir, member.checkpoint)), member.node


def _started_from(member):
    """The train_dir whose model scores whole videos beside a member."""
    run = member.run
    # A model of another vocabulary cannot give the candidates.
    chosen = None if run.new_classes else run.started_from
    if not chosen:
        return member.train_dir
    words = f"{member.train_dir} started from {chosen}, whose model gives the candidates; name its place with "
    if files.absolute(chosen) != chosen:
        raise UserError(f"{words}--video_train_dir: that path means another place in each folder.")
    try:
        Run.load(chosen)
        steps = checkpoint_store.steps(chosen)
        step = run.started_step if run.started_step in steps else checkpoint_store.chosen_steps(chosen)[0]
    except UserError as error:
        raise UserError(f"{words}--video_train_dir ({error})") from error
    found = step, checkpoint_store.fingerprint(chosen, step)
    if run.started_step is not None and found != (run.started_step, run.started_fingerprint):
        raise UserError(
            f"{words}--video_train_dir: it was step {run.started_step} there, the last checkpoint now is "
            f"{'another one' if step == run.started_step else 'that'} of step {step}."
        )
    return chosen
