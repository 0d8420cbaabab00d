"""Random histories of sessions against a model that keeps a count for each (session, random op)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from tests.random_numbers import uniform

SIZES = (5, 1, 300)
FULL = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)


class Op:
    """A random op, and ways to fetch its numbers."""

    def __init__(self, rng: random.Random, zero: tf.Tensor) -> None:
        self.seed, self.size = rng.randint(1, 2), rng.choice(SIZES)
        self.drawn = tf.random_uniform([self.size], seed=self.seed)
        self.ways = [
            self.drawn,
            tf.identity(self.drawn),
            self.drawn + zero,
            tf.reshape(self.drawn * 1.0, [-1]),
            tf.py_func(lambda x: x, [self.drawn], tf.float32),
        ]

    def at(self, count: int) -> Any:
        return uniform(self.seed, count, self.size)


class History:
    """Does things at random to some sessions of one graph; `counts` is what each session's counts must be by now."""

    def __init__(self, rng: random.Random, backend: str) -> None:
        self.rng, self.backend = rng, backend
        self.zero = tf.placeholder_with_default(np.float32(0.0), [])
        self.feed = tf.placeholder(tf.float32, [None])
        self.failing = tf.Assert(tf.reduce_all(self.feed > 0.0), [self.feed])
        self.misfit = self.feed + np.ones(2, np.float32)
        self.missing = tf.Variable(1.0)
        self.ops = [Op(rng, self.zero) for _ in range(4)]
        self.sessions: list[tf.Session] = []
        self.counts: list[Counter[Op]] = []
        self.callables: list[tuple[int, list[Op], Any]] = []
        self.parts: list[tuple[int, Any, dict[Op, int], list[Any]]] = []
        self.new_session()

    def new_session(self) -> None:
        self.sessions.append(tf.Session(backend=self.backend))
        self.counts.append(Counter())

    def some(self) -> tuple[int, list[Op], list[tf.Tensor]]:
        """A session, some ops, and a fetch of each, some fetched twice."""
        ops = self.rng.sample(self.ops, self.rng.randint(1, 3))
        ops += [op for op in ops if self.rng.random() < 0.2]
        return self.rng.randrange(len(self.sessions)), ops, [self.rng.choice(op.ways) for op in ops]

    def check(self, at: int, ops: Sequence[Op], found: Sequence[Any]) -> None:
        for op in dict.fromkeys(ops):
            self.counts[at][op] += 1
        for op, x in zip(ops, found, strict=True):
            assert np.array_equal(x, op.at(self.counts[at][op]))

    # ------------------------------------------------------------------ what may happen
    def run(self) -> None:
        at, ops, fetches = self.some()
        self.check(at, ops, self.sessions[at].run(fetches))

    def trace(self) -> None:
        at, ops, fetches = self.some()
        self.check(at, ops, self.sessions[at].run(fetches, options=FULL, run_metadata=tf.RunMetadata()))

    def profile(self) -> None:
        at, ops, fetches = self.some()
        self.sessions[at].profile(fetches, runs=1)
        for op in dict.fromkeys(ops):
            self.counts[at][op] += 2

    def look(self) -> None:
        at, _, fetches = self.some()
        self.sessions[at].explain(fetches)
        self.sessions[at].run([self.feed, self.zero, tf.ones([])], {self.feed: [1.0]})

    def fail(self) -> None:
        at, ops, fetches = self.some()
        other, value = self.rng.choice([(self.failing, [-1.0]), (self.misfit, [1.0, 2.0, 3.0]), (self.missing, [1.0])])
        with pytest.raises((tf.errors.InvalidArgumentError, tf.errors.FailedPreconditionError)):
            self.sessions[at].run([*fetches, other], {self.feed: value})
        for op in dict.fromkeys(ops):
            self.counts[at][op] += 1

    def refuse(self) -> None:
        """Nothing of this begins."""
        at, _, fetches = self.some()
        with pytest.raises((ValueError, TypeError)):
            self.sessions[at].run([*fetches, self.feed], {self.feed: [[1.0]]})
        with pytest.raises(tf.errors.InvalidArgumentError, match="must feed"):
            self.sessions[at].run([*fetches, self.feed * 2.0])

    def give(self) -> None:
        """One op's numbers are fed."""
        at, ops, fetches = self.some()
        fed, value = ops[0], np.full(ops[0].size, 7.0, np.float32)
        found = self.sessions[at].run(fetches, {fed.drawn: value})
        assert all(np.array_equal(x, value) for op, x in zip(ops, found, strict=True) if op is fed)
        rest = [(op, x) for op, x in zip(ops, found, strict=True) if op is not fed]
        self.check(at, [op for op, _ in rest], [x for _, x in rest])

    def make_callable(self) -> None:
        at, ops, fetches = self.some()
        self.callables.append((at, ops, self.sessions[at].make_callable(fetches)))

    def call(self) -> None:
        for at, ops, call in self.rng.sample(self.callables, min(2, len(self.callables))):
            for _ in range(3):
                self.check(at, ops, call())

    def begin_parts(self) -> None:
        at = self.rng.randrange(len(self.sessions))
        fetches = [way for op in self.ops for way in op.ways]
        self.parts.append((at, self.sessions[at].partial_run_setup(fetches, []), {}, []))

    def go_on(self) -> None:
        """The next part of a partial run: what it executes again draws what it drew."""
        if self.parts:
            at, handle, drawn, done = self.rng.choice(self.parts)
            op = self.rng.choice(self.ops[:4])
            way = self.rng.choice(op.ways)
            if way in done:
                with pytest.raises(tf.errors.InvalidArgumentError, match=r"already been fetched|Must run 'setup'"):
                    self.sessions[at].partial_run(handle, way)
                return
            done.append(way)
            found = self.sessions[at].partial_run(handle, way)
            if op not in drawn:
                self.counts[at][op] += 1
                drawn[op] = self.counts[at][op]
            assert np.array_equal(found, op.at(drawn[op]))

    def grow(self) -> None:
        self.ops.append(Op(self.rng, self.zero))


EVENTS = (
    [History.run] * 6
    + [History.call] * 3
    + [History.go_on] * 3
    + [History.fail, History.give, History.make_callable] * 2
    + [History.trace, History.profile, History.look, History.refuse, History.begin_parts, History.grow, History.new_session]
)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("seed", range(6))
def test_random_histories(seed: int, backend: str) -> None:
    rng = random.Random(seed)
    with tf.Graph().as_default():
        history = History(rng, backend)
        for _ in range(60):
            rng.choice(EVENTS)(history)
