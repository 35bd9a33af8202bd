"""Subtrees that are alike share one traced function: in a step that gives the same numbers."""

import numpy as np
import pytest

from tests.distribution.placed_models import Run, assert_close, batch
from tests.eagerly import eagerly


def calls(run):
    graph = run.step.graph(batch())
    return [operation.get_attr("f").name for operation in graph.get_operations() if "PartitionedCall" in operation.type]


@pytest.mark.parametrize("branching", ("3", "2,2"))
def test_step_is_that_of_subtrees_traced_one_by_one(branching, monkeypatch):
    batches = [batch(seed=seed) for seed in range(3)]
    shared = Run(branching=branching)
    with monkeypatch.context() as patch:
        patch.setattr("youtube8m_mod.models.traced_once._kind", id)  # No two are alike.
        alone = Run(branching=branching)
        assert not calls(alone)
        terms = alone.train(batches)
    np.testing.assert_allclose(shared.train(batches), terms, rtol=1e-5)
    assert_close(shared.state(), alone.state(), absolute=1e-5)
    # Forward and backward pass, for each subtree one call of the same function.
    assert len(calls(shared)) == 2 * len(shared.model.subtrees) and len(set(calls(shared))) == 2


@pytest.mark.parametrize("change", ("rate", "momentum", "trainable"))
def test_a_subtree_of_other_settings_has_a_trace_of_its_own(change):
    run = Run(branching="2")
    leaf = run.model.node("1")
    if change == "rate":
        leaf.dropout.rate = 0.25
    elif change == "momentum":
        leaf.gating.norm.momentum = 0.5
    else:
        leaf.hidden.trainable = False
        run.model.compile(run.optimizer.__class__(0.001))
        run.step = run.placement.step(run.model.train_step)
    assert not calls(run)


def test_averages_and_random_states_are_each_subtrees_own():
    run = Run(branching="3")
    before = [[variable.numpy() for variable in subtree.non_trainable_variables] for subtree in run.model.subtrees]
    run.train([batch()])
    for subtree, values in zip(run.model.subtrees, before):
        changed = [not np.array_equal(v, old) for v, old in zip(subtree.non_trainable_variables, values)]
        assert all(changed) and changed
    states = [
        variable.numpy().tolist()
        for subtree in run.model.subtrees
        for variable in subtree.non_trainable_variables
        if variable.name == "seed_generator_state"
    ]
    assert len({*map(str, states)}) == 3


def test_eagerly_it_is_the_function_itself():
    run = Run(branching="2")
    with eagerly():
        eager = run.train([batch()])
    np.testing.assert_allclose(Run(branching="2").train([batch()]), eager, rtol=1e-5)
