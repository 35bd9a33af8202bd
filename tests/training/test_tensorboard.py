"""What a run writes for TensorBoard."""

import glob

import pytest
import tensorflow as tf

from tests.training import tiny

pytestmark = pytest.mark.filterwarnings("ignore:Even though")


def test_what_tensorboard_shows(data, tmp_path):
    run = tiny.run(max_steps=10, name="mod_nextvlad_tiny", model=("branching=2x2",))
    tiny.trainer(data, tmp_path, run, log_steps=1).train()
    found = {}
    for path in glob.glob(f"{tmp_path}/events/*"):
        for event in tf.compat.v1.train.summary_iterator(path):
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value))
    assert {"configuration", "loss", "learning_rate", "examples_per_second"} <= set(found)
    assert "mod_nextvlad_tiny" in str(found["configuration"][0][1].tensor.string_val)
    for node in ("root", "0", "1"):
        assert [step for step, _ in found[f"mixing/{node}"]] == [10]
        means = [tf.make_ndarray(found[f"mixing/{node}/child_{child}"][0][1].tensor) for child in (0, 1)]
        assert sum(means) == pytest.approx(1, abs=1e-5)
