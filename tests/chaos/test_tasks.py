"""Tasks while their workers are killed: every result right, none missing."""

import hashlib
import random
import time

import numpy as np
import pytest

from tests.chaos.worker_killer import WorkerKiller

DEADLINE = 60.0


def test_every_result_of_ten_thousand_retried_tasks_is_right(ll):
    @ll.remote(max_retries=-1)
    def square(x):
        if x % 100 == 0:
            time.sleep(0.01)
        return x * x

    with WorkerKiller(seed=1, pause=0.1) as killer:
        refs = [square.remote(x) for x in range(10_000)]
        assert ll.get(refs, timeout=DEADLINE) == [x * x for x in range(10_000)]
    assert killer.kills


def test_large_results_and_arguments_are_bit_exact(ll):
    def block(seed):
        return np.random.default_rng(seed).integers(0, 1 << 62, size=50_000)

    def digest(array):
        return hashlib.sha256(array).hexdigest()

    @ll.remote(max_retries=-1)
    def make(seed):
        return block(seed)

    @ll.remote(max_retries=-1)
    def mixed(left, right):
        return left ^ right

    with WorkerKiller(seed=2, pause=0.1) as killer:
        made = [make.remote(seed) for seed in range(100)]
        mixes = [mixed.remote(made[seed], made[99 - seed]) for seed in range(100)]
        del made
        for seed, ref in enumerate(mixes):
            assert digest(ll.get(ref, timeout=DEADLINE)) == digest(block(seed) ^ block(99 - seed))
    assert killer.kills


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_random_graph_of_tasks_computes_what_the_same_code_computes_in_sequence(ll, seed):
    """Nested tasks, results that contain refs, several results, arguments in lists: all of it retried."""
    modulus = 1_000_003

    def combine(*values):
        total = 17
        for value in values:
            total = (total * 31 + value) % modulus
        return total

    @ll.remote(max_retries=-1)
    def plain(*values):
        return combine(*values)

    @ll.remote(max_retries=-1)
    def listed(refs):
        return combine(*ll.get(refs))

    @ll.remote(max_retries=-1, num_returns=2)
    def halves(value):
        return value // 2, value - value // 2

    @ll.remote(max_retries=-1)
    def nested(value, depth):
        return combine(ll.get(nested.remote(value + 1, depth - 1))) if depth else value % modulus

    @ll.remote(max_retries=-1)
    def wrapped(value):
        return [ll.put(value), ll.put(value + 1)]

    def nested_here(value, depth):
        return combine(nested_here(value + 1, depth - 1)) if depth else value % modulus

    chooser = random.Random(seed)
    refs = [plain.remote(number) for number in range(5)]
    values = [combine(number) for number in range(5)]
    with WorkerKiller(seed, pause=0.15):
        for _ in range(200):
            picks = chooser.sample(range(len(refs)), k=3)
            kind = chooser.choice(["plain", "listed", "halves", "nested", "wrapped"])
            first = values[picks[0]]
            if kind == "plain":
                refs.append(plain.remote(*(refs[pick] for pick in picks)))
                values.append(combine(*(values[pick] for pick in picks)))
            elif kind == "listed":
                refs.append(listed.remote([refs[pick] for pick in picks]))
                values.append(combine(*(values[pick] for pick in picks)))
            elif kind == "halves":
                refs += halves.remote(refs[picks[0]])
                values += [first // 2, first - first // 2]
            elif kind == "nested":
                refs.append(nested.remote(refs[picks[0]], 3))
                values.append(nested_here(first, 3))
            else:
                # What a task puts belongs to its worker, and ends with it: read on, retried as a whole.
                refs.append(read_wrapped(ll, wrapped, combine).remote(refs[picks[0]]))
                values.append(combine(first, first + 1))
        assert ll.get(refs, timeout=DEADLINE) == values


def read_wrapped(ll, wrapped, combine):
    @ll.remote(max_retries=-1, retry_exceptions=[ll.exceptions.OwnerDiedError])
    def read(value):
        return combine(*ll.get(ll.get(wrapped.remote(value))))

    return read


def test_a_task_without_retries_fails_with_its_workers_end_and_harms_no_other(ll):
    @ll.remote(max_retries=0)
    def fragile(x):
        time.sleep(0.01)
        return x

    with WorkerKiller(seed=5, pause=0.1) as killer:
        refs = [fragile.remote(x) for x in range(300)]
        outcomes, errors = [], []
        for ref in refs:
            try:
                outcomes.append(ll.get(ref, timeout=DEADLINE))
            except ll.exceptions.WorkerCrashedError as error:
                errors.append(str(error))
                outcomes.append(None)
    assert killer.kills
    assert all("SIGKILL" in error for error in errors)
    assert all(outcome in (None, x) for x, outcome in enumerate(outcomes))
    assert outcomes.count(None) <= killer.kills
