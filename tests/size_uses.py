"""What random expressions of sizes are used for: shapes, slices, ranges and paddings, with numpy's idea of the result."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

import graphflow as gf
from graphflow.framework.records import record
from tests.size_expressions import Expression, Fails, Sizes, Source

Array: TypeAlias = "np.ndarray[Any, Any]"
#: The elements of a vector that is cut up.
VECTOR = np.arange(12, dtype=np.float32) + 1
_ROW = np.array([[1.0, 2.0]], np.float32)
#: Sizes are kept below this, so that results stay small.
_LARGEST = 20


@record(frozen=True)
class Use:
    """A tensor, what it is for given sizes (or `Fails`), and its text."""

    tensor: Any
    result: Callable[[Sizes], Array]
    text: str


def used(source: Source) -> Use:
    """A random use of random expressions. What graphflow refuses while the graph is built raises ValueError."""
    rng = source.rng
    if rng.random() < 0.7:
        return _fetched(source)
    rule = rng.choice(_RULES)
    build, result, count = rule(rng)
    parts = [source.expression() for _ in range(count)]
    small = [_bounded(source, e) for e in parts] if rule not in _ANY_NUMBER else parts
    text = f"{rule.__name__[1:]}({', '.join(e.text for e in small)})"
    return Use(build(*(e.tensor for e in small)), lambda s: result(*(e.value(s) for e in small)), text)


def _bounded(source: Source, e: Expression) -> Expression:
    return source.combined("min", gf.minimum(e.tensor, _LARGEST), e, _LARGEST, min)


def _fetched(source: Source) -> Use:
    """The numbers themselves."""
    e = source.expression()
    way = source.rng.randrange(6)
    if way == 0:
        return Use(gf.cast(e.tensor, gf.float64), lambda s: np.asarray(float(e.value(s))), f"float({e.text})")
    if way == 1:
        b = source.as_type(source.expression(), e.dtype)
        return Use(e.tensor < b.tensor, lambda s: np.asarray(e.value(s) < b.value(s)), f"({e.text} < {b.text})")
    if way == 2:
        rest = [source.as_type(source.expression(1), e.dtype) for _ in range(2)]
        texts = ", ".join(x.text for x in (e, *rest))
        return Use(
            gf.stack([x.tensor for x in (e, *rest)]), lambda s: np.asarray([x.value(s) for x in (e, *rest)]), f"[{texts}]"
        )
    if len(source.grown) < 30:
        source.grown.append(e)
    return Use(e.tensor, lambda s: np.asarray(e.value(s)), e.text)


# ---------------------------------------------------------------------------------------------- the rules

Rule: TypeAlias = "tuple[Callable[..., Any], Callable[..., Array], int]"


def _sized(n: int) -> int:
    if n < 0:
        raise Fails(f"no size is {n}")
    return n


def _fill(rng: random.Random) -> Rule:
    return lambda n: gf.fill([n], 7.0), lambda n: np.full(_sized(n), 7, np.float32), 1


def _zeros(rng: random.Random) -> Rule:
    return lambda n: gf.zeros([2, n]) + 1.0, lambda n: np.ones((2, _sized(n)), np.float32), 1


def _tile(rng: random.Random) -> Rule:
    return lambda n: gf.tile(gf.constant(_ROW), [n, 1]), lambda n: np.tile(_ROW, (_sized(n), 1)), 1


def _tile_both(rng: random.Random) -> Rule:
    return (
        lambda a, b: gf.tile(gf.constant(_ROW), gf.stack([a, gf.cast(b, a.dtype)])) * 2.0,
        lambda a, b: np.tile(_ROW, (_sized(a), _sized(b))) * 2,
        2,
    )


def _broadcast(rng: random.Random) -> Rule:
    return lambda n: gf.broadcast_to([[3.0], [4.0]], [2, n]), lambda n: np.tile([[3.0], [4.0]], (1, _sized(n))), 1


def _outer(rng: random.Random) -> Rule:
    def result(a: int, b: int) -> Array:
        return np.asarray(float(_sized(a) * _sized(b)))

    return lambda a, b: gf.reduce_sum(gf.ones([a, 1]) * gf.ones([1, b])), result, 2


def _reshape(rng: random.Random) -> Rule:
    def result(n: int) -> Array:
        if n == -1 or (n > 0 and len(VECTOR) % n == 0):
            return VECTOR.reshape(n, -1) if n > 0 else np.empty(0)
        raise Fails(f"no shape is [{n}, -1]")

    def checked(n: int) -> Array:
        if n == -1:
            raise Fails("two sizes are -1")
        return result(n)

    return lambda n: gf.reshape(gf.constant(VECTOR), [n, -1]), checked, 1


def _reshape_product(rng: random.Random) -> Rule:
    def result(a: int, b: int) -> Array:
        if (a < 0 and b < 0) or a < -1 or b < -1 or (-1 in (a, b) and 0 in (a, b)):
            raise Fails(f"no shape is [{a}, {b}]")
        if (a * b != len(VECTOR)) if min(a, b) >= 0 else len(VECTOR) % max(a, b):
            raise Fails(f"no shape is [{a}, {b}]")
        return VECTOR.reshape(a, b)

    return lambda a, b: gf.reshape(gf.constant(VECTOR), gf.stack([a, gf.cast(b, a.dtype)])), result, 2


def _slice(rng: random.Random) -> Rule:
    def result(begin: int, size: int) -> Array:
        size = len(VECTOR) - begin if size == -1 else size
        if not (0 <= begin <= len(VECTOR) and 0 <= size <= len(VECTOR) - begin):
            raise Fails("the slice is outside")
        return VECTOR[begin : begin + size]

    return lambda b, n: gf.slice(gf.constant(VECTOR), [b], [gf.cast(n, b.dtype)]), result, 2


def _strided(rng: random.Random) -> Rule:
    step = rng.choice((1, 1, 2, 3, -1, -2, -3))
    return lambda b, e: gf.constant(VECTOR)[b:e:step] + 0.0, lambda b, e: VECTOR[b:e:step], 2


def _strided_from(rng: random.Random) -> Rule:
    step = rng.choice((1, 2, -1, -2))
    return lambda b: gf.constant(VECTOR)[b::step], lambda b: VECTOR[b::step], 1


def _strided_to(rng: random.Random) -> Rule:
    step = rng.choice((1, 2, -1, -2))
    return lambda e: gf.size(gf.constant(VECTOR)[:e:step]), lambda e: np.asarray(VECTOR[:e:step].size), 1


def _element(rng: random.Random) -> Rule:
    def result(n: int) -> Array:
        if not -len(VECTOR) <= n < len(VECTOR):
            raise Fails(f"there is no element {n}")
        return VECTOR[n]

    return lambda n: gf.constant(VECTOR)[n], result, 1


def _gather(rng: random.Random) -> Rule:
    def result(n: int) -> Array:
        if not 0 <= n < len(VECTOR):
            raise Fails(f"there is no element {n}")
        return VECTOR[[n, 0]]

    return lambda n: gf.gather(gf.constant(VECTOR), gf.stack([n, gf.zeros_like(n)])), result, 1


def _range(rng: random.Random) -> Rule:
    step = rng.choice((1, 1, 2, 3, -1, -2))
    start = rng.randrange(-5, 6)
    return (
        lambda n: (
            gf.range(start, gf.maximum(n, start), step) + 1 if step > 0 else gf.range(gf.maximum(n, start), start, step) + 1
        ),
        lambda n: np.arange(start, max(n, start), step) + 1 if step > 0 else np.arange(max(n, start), start, step) + 1,
        1,
    )


def _pad(rng: random.Random) -> Rule:
    return (
        lambda a, b: gf.pad(gf.constant(_ROW), [[a, b], [0, 1]]),
        lambda a, b: np.pad(_ROW, ((_sized(a), _sized(b)), (0, 1))),
        2,
    )


def _one_hot(rng: random.Random) -> Rule:
    return (
        lambda n: gf.one_hot([0, 3, -1], gf.cast(n, gf.int32)),
        lambda n: (np.array([[0], [3], [-1]]) == np.arange(_sized(n))).astype(np.float32),
        1,
    )


def _segments(rng: random.Random) -> Rule:
    def result(n: int) -> Array:
        if _sized(n) < 2:
            raise Fails("segment 1 is outside")
        return np.array([1, 5, *[0] * (n - 2)], np.float32)

    return lambda n: gf.unsorted_segment_sum([1.0, 2.0, 3.0], [0, 1, 1], n), result, 1


def _random(rng: random.Random) -> Rule:
    return lambda n: gf.zeros_like(gf.random_uniform([n, 2])), lambda n: np.zeros((_sized(n), 2)), 1


def _shape_of(rng: random.Random) -> Rule:
    return lambda n: gf.shape(gf.tile(gf.constant(_ROW), [n, 3])), lambda n: np.array([_sized(n), 6]), 1


_RULES: tuple[Callable[[random.Random], Rule], ...] = (
    _fill, _zeros, _tile, _tile_both, _broadcast, _outer, _reshape, _reshape_product, _slice, _strided, _strided_from,
    _strided_to, _element, _gather, _range, _pad, _one_hot, _segments, _random, _shape_of,
)  # fmt: skip
#: These take numbers of any size: nothing grows with them.
_ANY_NUMBER = frozenset((_strided, _strided_from, _strided_to, _element, _gather, _slice))
