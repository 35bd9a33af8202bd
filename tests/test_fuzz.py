"""A few hundred of the cases of `benchmarks.fuzz`, and that it would notice."""

import random
import types

import pytest

from benchmarks import fuzz, mutations
from benchmarks.fuzz_targets import SHARES, TARGETS
from youtube8m_mod.errors import UserError

CASES = {
    "records": 100,
    "foreign records": 50,
    "foreign files": 6,
    "label names": 30,
    "label tables": 20,
    "dataset files": 20,
    "feature files": 20,
    "shards": 4,
    "truth": 12,
    "submissions": 70,
    "label caches": 60,
    "predictions": 30,
    "class ids": 20,
    "run files": 60,
    "overrides": 60,
    "histories": 20,
    "arrays": 20,
    "eigenvalues": 20,
    "checkpoints": 15,
    "inferences": 3,
    "evaluations": 6,
    "trainings": 60,
}


@pytest.mark.parametrize("kind", CASES)
def test_ends_in_a_result_or_in_an_error_of_ours(tmp_path, kind):
    outcomes, done = set(), 0
    for number, found, failure in fuzz.run_kind(kind, CASES[kind], seed=1, folder=str(tmp_path)):
        assert not failure, f"{kind} {number}: {failure}"
        outcomes |= set(found)
        done += sum(found.values())
    assert done >= CASES[kind]
    assert fuzz.RESULT in outcomes or CASES[kind] < 10  # Where there are enough, not all is refused.


def test_every_kind_is_tried():
    assert set(CASES) == set(TARGETS) == set(SHARES) and abs(sum(SHARES.values()) - 1) < 1e-9


def test_a_mutated_record_stays_small():
    import tensorflow as tf

    record = tf.train.SequenceExample()
    lists = record.feature_lists.feature_list
    lists["rgb"].feature.add().int64_list.value.extend([-1] * 20_000)
    mutations._mutate_frames(types.SimpleNamespace(choice=lambda values: values[-1], randrange=lambda _: 2), lists)
    assert 2 < len(lists["rgb"].feature) < 30 and record.ByteSize() < 1.1 * mutations.RECORD_BYTES


def raising(error):
    def target(_):
        raise error

    return target


def busy(_):
    while True:
        pass


@pytest.mark.parametrize(
    "target, outcome",
    [
        (raising(KeyError("x")), "KeyError"),
        (raising(RecursionError()), "RecursionError"),
        (raising(UserError("")), "error without a good sentence"),
        (busy, "TooLong"),
    ],
)
def test_a_failure_is_noticed(monkeypatch, target, outcome):
    monkeypatch.setattr(fuzz, "SECONDS", 0.2 if outcome == "TooLong" else 60)
    outcomes, failure = fuzz.run_case(target, 0, "case")
    assert outcomes == {outcome: 1} and failure is not None


def test_memory_is_noticed(monkeypatch):
    peaks = iter((1_000_000, 1_000_000 + 600 * 1024))  # In kilobytes, before and after.
    monkeypatch.setattr(fuzz.resource, "getrusage", lambda _: types.SimpleNamespace(ru_maxrss=next(peaks)))
    assert fuzz.run_case(lambda _: None, 0, "case") == ({"memory": 1}, "600 MB")


def test_a_case_is_the_same_each_time(tmp_path):
    texts = [mutations.mutate_text(random.Random("0/submissions/7"), b"a,b\nc,d\n") for _ in range(2)]
    assert texts[0] == texts[1] != mutations.mutate_text(random.Random("0/submissions/8"), b"a,b\nc,d\n")


def test_an_error_shows_what_came_on_one_short_line():
    text = str(UserError('got "a\nb\x00\ud800' + "x" * 100_000 + '".'))
    assert text.startswith(r'got "a\nb\x00\ud800xxx') and text.endswith('xxx".') and len(text) < 2100
