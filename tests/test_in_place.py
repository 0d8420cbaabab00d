"""Variables updated in their own arrays: where that is safe the plan copies none, elsewhere it does, and numbers agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow_runtime.executor import threads
from graphflow_runtime.native_code.pool import is_supported
from tests.forced_threads import force


def copied(session: gf.Session, fetches: Any) -> list[str]:
    """What is copied to variables at the end of a run, or aside before."""
    lines = session.explain(fetches).splitlines()
    return [line for line in lines if "copy of" in line and "to output" not in line]


# ---------------------------------------------------------------------------------------------- what can fail


@pytest.mark.parametrize(
    ("dtype", "update", "checked"),
    [
        (gf.float32, lambda v: gf.pow(v, 1.5), False),
        (gf.float32, lambda v: gf.pow(2.0, v), False),
        (gf.float64, lambda v: v % 0.7, False),
        (gf.float32, lambda v: v // 0.3, False),
        (gf.int32, lambda v: gf.pow(v, v), True),
        (gf.uint8, lambda v: gf.pow(v, v), False),
        (gf.int32, lambda v: 7 // v, True),
        (gf.int64, lambda v: gf.truncatemod(v, v + 1), True),
    ],
)
def test_only_what_can_fail_is_copied(dtype: Any, update: Callable[[Any], Any], checked: bool) -> None:
    start = np.array([1, 2, 3, 1, 2], dtype.as_numpy_dtype)
    found = []
    for backend in ("native", "reference"):
        with gf.Graph().as_default(), gf.Session(backend=backend) as session:
            v = gf.Variable(start)
            step = v.assign(update(v))
            session.run(v.initializer)
            if backend == "native":
                assert bool(copied(session, step.op)) == checked
            session.run(step.op)
            found.append(session.run(v))
    np.testing.assert_allclose(*found, rtol=1e-6)


def test_ftrl_copies_nothing() -> None:
    """Its formula has powers: for one kernel a variable, none of them may count as what can fail the run."""
    with gf.Graph().as_default(), gf.Session() as session:
        pairs = [(gf.fill([n, 7], 0.5), gf.Variable(np.ones((n, 7), np.float32))) for n in (5, 9, 12)]
        step = gf.train.FtrlOptimizer(0.1, l1_regularization_strength=0.01).apply_gradients(pairs)
        text = session.explain(step)
    assert "copy of" not in text and text.count("updates in place") == 3


# ---------------------------------------------------------------------------------------------- kernels over rows

RATE = 0.1
Row = Callable[[Any], Any]


def total(x: Any) -> Any:
    return gf.reduce_sum(x, -1, keepdims=True)


def norm(x: Any) -> Any:
    return gf.sqrt(total(x * x) + 1e-6)


def layer_norm(v: Any) -> Any:
    centred = v - gf.reduce_mean(v, -1, keepdims=True)
    return centred / gf.sqrt(gf.reduce_mean(centred * centred, -1, keepdims=True) + 1e-3)


def constrained(v: Any) -> Any:
    """The value before the constraint is computed in both passes, from the old elements."""
    after = v - RATE * gf.tanh(v)
    return after / gf.maximum(norm(after), 1.0)


def run_on(
    team: threads.Pool | None, build: Callable[..., Any], starts: Sequence[Any], expected: Sequence[str] | None, backend: str
) -> list[Any]:
    """What two runs of `build(variables)` = (assignments, fetches) give, and the variables after them.

    `expected`: the variables, by name, that must be copied, all others being updated in place."""
    with gf.Graph().as_default(), gf.Session(backend=backend) as session:
        variables = [gf.Variable(a, name=name) for a, name in zip(starts, "abc", strict=False)]
        steps, fetches = build(*variables)
        fetches = [*fetches, *(s.op for s in steps)]
        session.run(gf.global_variables_initializer())
        if backend == "native" and expected is not None:
            assert [line.split(" to ")[1].split(",")[0] for line in copied(session, fetches)] == list(expected)
        found = [x for _ in range(2) for x in session.run(fetches) if x is not None]
        return [*found, *session.run(variables)]


def agree(build: Callable[..., Any], starts: Sequence[Any], expected: Sequence[str] | None, rtol: float = 3e-5) -> None:
    """Native on 1, 2 and 7 threads: the same bits, and what the reference computes."""
    wanted = run_on(None, build, starts, None, "reference")
    first = run_on(None, build, starts, expected, "native")
    for got, want in zip(first, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=rtol, atol=1e-5)
    if not is_supported():
        return
    for team in TEAMS:
        with pytest.MonkeyPatch.context() as monkeypatch:
            force(team, monkeypatch)
            for got, want in zip(run_on(team, build, starts, expected, "native"), first, strict=True):
                assert got.tobytes() == want.tobytes()


TEAMS = [threads.Pool(2), threads.Pool(7)] if is_supported() else []
SHAPES = [(5, 1), (4, 17), (33, 17), (7, 1, 6, 2), (3, 1000), (40, 1000), (100_000,), (2, 100_000), (18, 20_000)]


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    "row",
    [
        gf.nn.softmax,
        layer_norm,
        constrained,
        lambda v: v - RATE * gf.clip_by_norm(gf.tanh(v) * 2.0, 1.0),
        lambda v: v - RATE * gf.clip_by_norm(gf.tanh(v) * 2.0, 1.0, axes=[-1]),
        lambda v: v - gf.reduce_max(v, -1, keepdims=True) * gf.reduce_mean(gf.exp(v), -1, keepdims=True),
    ],
    ids=["softmax", "layer_norm", "constrained", "clip", "clip_rows", "two_reductions"],
)
def test_rows_of_a_variable_made_of_themselves(row: Row, shape: tuple[int, ...]) -> None:
    agree(lambda a: ([a.assign(row(a))], []), [numbers(*shape)], [])


@pytest.mark.parametrize("shape", [(6, 17), (50, 1000), (2, 40_000)], ids=str)
def test_several_variables_in_one_kernel(shape: tuple[int, ...]) -> None:
    def momentum(a: Any, b: Any, c: Any) -> Any:
        """The slot `b` is read in the first pass and in the last, `c` too."""
        gradient = gf.tanh(a) + 0.3 * c
        slot = 0.9 * b + gradient / (norm(gradient + b) + norm(c))
        mean = 0.9 * c + 0.1 * slot
        return [gf.assign(a, a - RATE * slot), gf.assign(b, slot), gf.assign(c, mean)], []

    def crossed(a: Any, b: Any) -> Any:
        scale = total(a * b) / shape[-1]
        new_a, new_b = b * scale, a - scale
        return [a.assign(new_a), b.assign(new_b)], []

    agree(momentum, [numbers(*shape, seed=k) for k in range(3)], [])
    agree(crossed, [numbers(*shape, seed=k) for k in range(2)], [])


@pytest.mark.parametrize("shape", [(6, 17), (50, 1000), (2, 40_000)], ids=str)
def test_a_value_stored_in_an_early_pass(shape: tuple[int, ...]) -> None:
    def in_time(a: Any) -> Any:
        """The sum takes the old elements in in the pass that stores the new ones, later passes read the new ones back."""
        new = a * 2.0
        both = new * total(a)
        return [a.assign(new)], [both]

    def read_later(a: Any) -> Any:
        new = a * 2.0
        share = a / (total(new) + 100.0)
        return [a.assign(new)], [share]

    def computed_again(a: Any) -> Any:
        """`above` is cheap, so the second pass computes it again, and with it the new value from the old one."""
        new = a * 2.0
        above = new + 1.0
        share = above / (total(above) + 100.0)
        return [a.assign(new)], [share]

    agree(in_time, [numbers(*shape)], [])
    agree(read_later, [numbers(*shape)], ["a"])
    agree(computed_again, [numbers(*shape)], ["a"])


@pytest.mark.parametrize("n", [17, 300])
@pytest.mark.parametrize(
    ("other", "copies"),
    [
        (gf.transpose, ["a"]),
        (lambda v: gf.reverse(v, [0]), ["a"]),
        (lambda v: v[::-1], ["a"]),
        # What has another shape is a kernel of its own, which comes before.
        (lambda v: gf.reshape(gf.reshape(v, [-1])[::-1], gf.shape(v)), []),
        (lambda v: gf.concat([v[1:], v[:1]], 0), []),
        (lambda v: gf.broadcast_to(v[0], gf.shape(v)), []),
        (lambda v: v[:, :1], []),
    ],
    ids=["transpose", "reverse", "slice", "reverse_flat", "rolled", "first_row", "first_column"],
)
def test_other_elements_than_ones_own(other: Row, copies: list[str], n: int) -> None:
    agree(lambda a: ([a.assign(gf.nn.softmax(a + other(a)))], []), [numbers(n, n)], copies)
    agree(lambda a: ([a.assign(gf.nn.softmax(a) * other(a))], []), [numbers(n, n)], copies)


def test_two_kernels_that_read_each_others_variable() -> None:
    def build(a: Any, b: Any) -> Any:
        new_a, new_b = gf.nn.softmax(b) + 1.0, gf.nn.softmax(a)
        return [a.assign(new_a), b.assign(new_b)], []

    agree(build, [numbers(6, 50), numbers(6, 50, seed=1)], None)


@pytest.mark.parametrize(("rows", "length", "copies"), [(40, 30, []), (40, 3000, []), (3, 30, []), (3, 20_000, ["a"])])
def test_one_number_a_row(rows: int, length: int, copies: list[str]) -> None:
    """Few large rows are several kernels, of which later ones compute again what rows have before the first."""
    starts = [numbers(rows), numbers(rows, length)]
    agree(lambda a, x: ([a.assign(0.9 * a + 0.1 * gf.reduce_mean(gf.exp(x), -1))], []), starts, copies)

    def broadcast(a: Any, x: Any) -> Any:
        scaled = gf.exp(x) * gf.expand_dims(a, 1)
        share = scaled / (total(gf.abs(scaled)) + 100.0)
        return [a.assign(a + gf.reduce_sum(scaled, 1))], [share]

    agree(broadcast, starts, ["a"], rtol=1e-3)


@pytest.mark.parametrize("rows", [1, 20, 5000])
def test_one_number_of_all_rows(rows: int) -> None:
    """A running mean of a loss: the kernel that makes the loss updates it."""
    starts = [np.float32(3), numbers(rows, 10)]

    def running(a: Any, x: Any) -> Any:
        return [a.assign(0.9 * a + 0.1 * gf.reduce_mean(gf.reduce_logsumexp(x, -1)))], []

    def also_by_rows(a: Any, x: Any) -> Any:
        losses = gf.reduce_logsumexp(x + a, -1)
        return [a.assign(0.9 * a + 0.1 * gf.reduce_mean(losses))], [losses]

    agree(running, starts, [])
    agree(also_by_rows, starts, ["a"])


@pytest.mark.parametrize("clip", ["norm", "global_norm"])
@pytest.mark.parametrize("make", [gf.train.GradientDescentOptimizer, gf.train.AdamOptimizer, gf.train.FtrlOptimizer])
def test_clipped_updates_copy_nothing(make: Callable[[float], Any], clip: str) -> None:
    def build(*variables: Any) -> Any:
        pairs = make(0.1).compute_gradients(gf.add_n([gf.reduce_sum(gf.square(v - 1.0)) for v in variables]))
        found = [g for g, _ in pairs]
        clipped = [gf.clip_by_norm(g, 1.0) for g in found] if clip == "norm" else gf.clip_by_global_norm(found, 1.0)[0]
        return [gf.identity(0.0)], [make(0.1).apply_gradients(list(zip(clipped, variables, strict=True)))]

    agree(build, [numbers(30, 7), numbers(12), numbers(150, 300)], [])
