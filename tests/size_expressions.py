"""Random expressions of sizes, each as tensors and as a function of Python's integers that says what it has to be."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import graphflow as gf
from graphflow.framework.records import record

Sizes: TypeAlias = Mapping[str, int]
LIMITS = {gf.int32: 2**31, gf.int64: 2**63}


class Fails(Exception):
    """The run must fail: a division by 0, a number that does not fit its type, a size that no tensor can have."""


@record(frozen=True)
class Expression:
    """A scalar integer tensor, its value for given sizes (or `Fails`), and its text."""

    tensor: Any
    value: Callable[[Sizes], int]
    text: str

    @property
    def dtype(self) -> Any:
        return self.tensor.dtype


def fitting(value: int, dtype: Any) -> int:
    limit = LIMITS[dtype]
    if not -limit <= value < limit:
        raise Fails(f"{value} is no {dtype.name}")
    return value


def _divided(rule: Callable[[int, int], int]) -> Callable[[int, int], int]:
    def divided(a: int, b: int) -> int:
        if b == 0:
            raise Fails(f"{a} is divided by 0")
        return rule(a, b)

    return divided


_ARITHMETIC: tuple[tuple[str, Callable[[Any, Any], Any], Callable[[int, int], int]], ...] = (
    ("+", lambda a, b: a + b, lambda a, b: a + b),
    ("-", lambda a, b: a - b, lambda a, b: a - b),
    ("*", lambda a, b: a * b, lambda a, b: a * b),
    ("//", lambda a, b: a // b, _divided(lambda a, b: a // b)),
    ("%", lambda a, b: a % b, _divided(lambda a, b: a % b)),
    ("floordiv", gf.floordiv, _divided(lambda a, b: a // b)),
    ("mod", gf.mod, _divided(lambda a, b: a % b)),
    ("max", gf.maximum, max),
    ("min", gf.minimum, min),
)


class Source:
    """Grows expressions from the sizes of some placeholders; `sizes` are drawn for a run, and `feeds` made of them."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.arrays: list[tuple[Any, tuple[str | int, ...]]] = [
            (gf.placeholder(gf.float32, [None, 3], name="x"), ("n", 3)),
            (gf.placeholder(gf.float32, [None, None, 2], name="y"), ("m", "k", 2)),
            (gf.placeholder(gf.int32, [5, None], name="z"), (5, "p")),
        ]
        self.grown: list[Expression] = []

    def draw(self) -> dict[str, int]:
        """Sizes for a run: small ones, with many of 0 and 1, and now and then a larger one."""
        sizes = {name: self.rng.choice((0, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9, 12)) for name in "nmkp"}
        if self.rng.random() < 0.1:
            sizes[self.rng.choice("nmkp")] = self.rng.choice((40, 100, 257))
        return sizes

    # ------------------------------------------------------------------ leaves
    def leaf(self) -> Expression:
        """A size of a placeholder, in one of the ways in which users ask for it."""
        rng = self.rng
        x, dims = rng.choice(self.arrays)
        dtype = rng.choice((gf.int32, gf.int32, gf.int64))
        name = x.op.name
        way = rng.randrange(7)
        if way == 0:
            return Expression(gf.size(x, out_type=dtype), lambda s: _product(dims, s), f"size({name})")
        shape = gf.shape(x, out_type=dtype)
        axis = rng.randrange(len(dims))
        if way == 1:
            return Expression(gf.reduce_prod(shape[axis:]), lambda s: _product(dims[axis:], s), f"prod(shape({name})[{axis}:])")
        picked = {
            2: lambda: gf.gather(shape, axis),
            3: lambda: gf.unstack(shape)[axis],
            4: lambda: gf.squeeze(gf.slice(shape, [axis], [1])),
            5: lambda: shape[axis - len(dims)],
        }.get(way, lambda: shape[axis])()
        return Expression(picked, lambda s: _product(dims[axis : axis + 1], s), f"shape({name})[{axis}]")

    def constant(self, dtype: Any) -> int:
        value = self.rng.choice((-12, -9, -7, -5, -4, -3, -2, -1, -1, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 10, 64))
        if self.rng.random() < 0.03:
            value = self.rng.choice((2**15, 2**30, 2**31 - 1, -(2**31), 2**40, 2**62, 2**63 - 1, -(2**63)))
        return value if -LIMITS[dtype] <= value < LIMITS[dtype] else 6

    # ------------------------------------------------------------------ trees
    def expression(self, depth: int | None = None) -> Expression:
        rng = self.rng
        if depth is None:
            depth = rng.choice((0, 1, 1, 2, 2, 2, 3, 3, 4, 6))
        if depth == 0 or rng.random() < 0.1:
            return rng.choice(self.grown) if self.grown and rng.random() < 0.3 else self.leaf()
        way = rng.random()
        if way < 0.12:
            return self.carried(self.expression(depth - 1))
        op, build, rule = rng.choice(_ARITHMETIC)
        a = self.expression(depth - 1)
        if way < 0.55:
            number = self.constant(a.dtype)
            if rng.random() < 0.7:
                return self.combined(op, build(a.tensor, number), a, number, rule)
            return self.combined(op, build(number, a.tensor), number, a, rule, a.dtype)
        b = self.as_type(self.expression(rng.randrange(depth)), a.dtype)
        return self.combined(op, build(a.tensor, b.tensor), a, b, rule)

    def combined(
        self,
        op: str,
        tensor: Any,
        a: Expression | int,
        b: Expression | int,
        rule: Callable[[int, int], int],
        dtype: Any = None,
    ) -> Expression:
        want = tensor.dtype if dtype is None else dtype

        def value(s: Sizes) -> int:
            x = a if isinstance(a, int) else a.value(s)
            y = b if isinstance(b, int) else b.value(s)
            return fitting(rule(x, y), want)

        x, y = (e if isinstance(e, int) else e.text for e in (a, b))
        return Expression(tensor, value, f"{op}({x}, {y})" if op.isalpha() else f"({x} {op} {y})")

    def as_type(self, e: Expression, dtype: Any) -> Expression:
        if e.dtype is dtype:
            return e
        return Expression(gf.cast(e.tensor, dtype), lambda s: fitting(e.value(s), dtype), f"{dtype.name}({e.text})")

    def carried(self, e: Expression) -> Expression:
        """The same number by way of another op."""
        rng = self.rng
        other = rng.choice((-2, 0, 1, 5))
        way = rng.randrange(6)
        if way == 0:
            return self.as_type(e, gf.int64 if e.dtype is gf.int32 else gf.int32)
        text = f"{('id', 'reshape', 'stack', 'concat', 'expand')[way - 1]}({e.text})"
        tensor = (
            lambda: gf.identity(e.tensor),
            lambda: gf.reshape(gf.reshape(e.tensor, [1]), []),
            lambda: gf.stack([gf.constant(other, e.dtype), e.tensor])[1],
            lambda: gf.concat([[other], gf.expand_dims(e.tensor, 0)], 0)[-1],
            lambda: gf.squeeze(gf.expand_dims(e.tensor, -1), [0]),
        )[way - 1]()
        return Expression(tensor, e.value, text)


def _product(dims: tuple[str | int, ...], sizes: Sizes) -> int:
    total = 1
    for d in dims:
        total *= sizes[d] if isinstance(d, str) else d
    return total
