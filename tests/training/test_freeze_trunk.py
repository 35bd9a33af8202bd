"""A frozen trunk stays as it was, bit for bit; what is above it is trained."""

from tests.training import tiny
from youtube8m_mod.training.checkpoint_store import steps


def test_the_trunk_stays(tmp_path, eager):
    data = tiny.write_data(tmp_path / "data")
    tiny.trainer(data, tmp_path / "pre", tiny.run(name="mix_nextvlad_tiny", model=["branching=2"], max_steps=1)).train()
    run = tiny.run("finetune", name="mix_nextvlad_tiny", model=["branching=2"], max_steps=3)
    run.started_from, run.freeze_trunk = str(tmp_path / "pre"), True
    tiny.trainer(data, tmp_path / "ft", run).train()
    (first,), (last,) = steps(str(tmp_path / "pre")), steps(str(tmp_path / "ft"))
    before, after = tiny.stored(tmp_path / "pre", first), tiny.stored(tmp_path / "ft", last)
    weights = {name for name in before if name.startswith("model/") and "random_state" not in name}
    assert weights == {name for name in after if name.startswith("model/") and "random_state" not in name}
    changed = {name for name in weights if before[name].tobytes() != after[name].tobytes()}
    # Of each leaf only the classifier, and the mixing net.
    assert changed and all("classifier" in name or "mixing" in name for name in changed), sorted(changed)
    assert sum("classifier" in name for name in changed) == 4
