"""Shapes: how inference makes sizes agree, and TensorFlow's `TensorShape` and `Dimension` for users.

Inside, a shape is a tuple of `Dim` (an int, or a `SymDim` for a size known only at run time), or None where even the
rank is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

# `X as X` tells type checkers that the name is passed on: users of shapes need not know `dims`.
from graphflow.framework.dims import Dim as Dim
from graphflow.framework.dims import Shape as Shape
from graphflow.framework.dims import SymDim as SymDim
from graphflow.framework.dims import divided as divided
from graphflow.framework.dims import evaluate as evaluate
from graphflow.framework.dims import floordiv as floordiv
from graphflow.framework.dims import fresh_dim as fresh_dim
from graphflow.framework.dims import fresh_number as fresh_number
from graphflow.framework.dims import is_never_0 as is_never_0
from graphflow.framework.dims import is_open as is_open
from graphflow.framework.dims import maximum as maximum
from graphflow.framework.dims import minimum as minimum
from graphflow.framework.dims import mod as mod
from graphflow.framework.dims import never_negative as never_negative
from graphflow.framework.dims import product as product
from graphflow.framework.dims import settled as settled
from graphflow.framework.dims import size as size
from graphflow.framework.dims import substitute as substitute
from graphflow.framework.dtypes import DType
from graphflow.framework.errors import ShapeError


def format_shape(shape: Shape | None) -> str:
    """``(32, ?)``, ``(batch, 10)``, ``<unknown>``."""
    if shape is None:
        return "<unknown>"
    texts = ["?" if isinstance(d, SymDim) and str(d).startswith("?") else str(d) for d in shape]
    return "(" + ", ".join(texts) + ("," if len(texts) == 1 else "") + ")"


# ---------------------------------------------------------------------------------------------- inference policy


class DimPolicy:
    """How inference treats two sizes that must agree.

    This class is for the user's graph, where an unknown size may turn out to be anything: only conflicts that are certain are
    errors. The compiler has a subclass: there unknown sizes are known not to be 1, every agreement becomes a check in the run,
    and `final` is true, because what is fed is known and no type will become more exact.
    """

    final = False

    def unify(self, a: Dim, b: Dim, message: Callable[[], str]) -> Dim:
        """The common value of two dims that must be equal; ShapeError(message()) if they cannot be."""
        if a == b:
            return a
        if isinstance(a, int) and isinstance(b, int):
            raise ShapeError(message())
        # The number says more than the symbol.
        return a if isinstance(a, int) else b if isinstance(b, int) else a

    def at_least(self, a: Dim, least: Dim, message: Callable[[], str]) -> None:
        """ShapeError(message()) if a number cannot be as large as it must be."""
        difference = a - least
        if isinstance(difference, int) and difference < 0:
            raise ShapeError(message())

    def not_0(self, a: Dim, message: Callable[[], str]) -> None:
        """ShapeError(message()) if a divisor is 0."""
        if not is_never_0(a):
            self.at_least(a * a, 1, message)

    def fits(self, a: SymDim, dtype: DType, message: Callable[[], str]) -> None:
        """Is told of a number that has to fit into an integer type."""

    def broadcast(self, a: Dim, b: Dim, message: Callable[[], str]) -> Dim:
        """The broadcast of two dims (equal, or one of them 1)."""
        if a == b or b == 1:
            return a
        if a == 1:
            return b
        if isinstance(a, int) and isinstance(b, int):
            raise ShapeError(message())
        # A number other than 1 wins: the unknown size must equal it or be 1.
        if isinstance(a, int):
            return a
        if isinstance(b, int):
            return b
        # Either may be 1 in a run, so the result is neither of them for sure.
        return fresh_dim()

    def broadcast_shapes(self, a: Shape, b: Shape, what: str = "operands") -> Shape:
        """numpy's broadcasting of two shapes. Raises ShapeError naming both."""

        def message() -> str:
            return (
                f"{what}: shapes {format_shape(a)} and {format_shape(b)} do not broadcast. "
                f"Dimensions must be equal, but are {_differing(a, b)} with input shapes: "
                f"{_tf_shape(a)}, {_tf_shape(b)}. Incompatible shapes"
            )

        rank = max(len(a), len(b))
        padded_a, padded_b = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
        return tuple(self.broadcast(x, y, message) for x, y in zip(padded_a, padded_b, strict=True))

    def unify_shapes(self, a: Shape, b: Shape, message: Callable[[], str]) -> Shape:
        if len(a) != len(b):
            raise ShapeError(message())
        return tuple(self.unify(x, y, message) for x, y in zip(a, b, strict=True))


def _differing(a: Shape, b: Shape) -> str:
    for x, y in zip(reversed(a), reversed(b), strict=False):
        if x != y and 1 not in (x, y):
            return f"{x} and {y}"
    return "?"


def _tf_shape(s: Shape) -> str:
    return "[" + ",".join("?" if isinstance(d, SymDim) else str(d) for d in s) + "]"


class _RunPolicy(DimPolicy):
    """For the arrays of a run, whose sizes are all known."""

    final = True


GRAPH_POLICY, RUN_POLICY = DimPolicy(), _RunPolicy()

# ---------------------------------------------------------------------------------------------- what users see


class Dimension:
    """One dimension of a TensorShape, TensorFlow 1 style: ``.value`` is an int or None; arithmetic keeps None."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        if value is None or isinstance(value, Dimension):
            self._value: int | None = value.value if isinstance(value, Dimension) else None
            return
        if isinstance(value, SymDim) or (isinstance(value, str) and value):
            self._value = None
            return
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError(f"Dimension value must be integer or None or have an __index__ method, got {value!r}")
        self._value = int(value.__index__())
        if self._value < 0:
            raise ValueError(f"Dimension {self._value} must be >= 0")

    @property
    def value(self) -> int | None:
        return self._value

    def __int__(self) -> int:
        if self._value is None:
            raise TypeError("__int__ returned non-int: the dimension is unknown")
        return self._value

    def __index__(self) -> int:
        return int(self)

    def __repr__(self) -> str:
        return f"Dimension({self._value})"

    def __str__(self) -> str:
        return "?" if self._value is None else str(self._value)

    def __hash__(self) -> int:
        return hash(self._value)

    def __eq__(self, other: object) -> Any:
        try:
            o = as_dimension(other)
        except (TypeError, ValueError):
            return NotImplemented
        if self._value is None or o.value is None:
            # As in TensorFlow 1: an unknown size is neither equal nor different.
            return None
        return self._value == o.value

    def __ne__(self, other: object) -> Any:
        equal = self.__eq__(other)
        return equal if equal is None or equal is NotImplemented else not equal

    def _arith(self, other: Any, f: Callable[[int, int], int]) -> Any:
        try:
            o = as_dimension(other)
        except (TypeError, ValueError):
            return NotImplemented
        return Dimension(None if self._value is None or o.value is None else f(self._value, o.value))

    def _compare(self, other: Any, f: Callable[[int, int], bool]) -> Any:
        o = as_dimension(other)
        return None if self._value is None or o.value is None else f(self._value, o.value)

    def __add__(self, other: Any) -> Any:
        return self._arith(other, lambda a, b: a + b)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self._arith(other, lambda a, b: a - b)

    def __rsub__(self, other: Any) -> Any:
        return self._arith(other, lambda a, b: b - a)

    def __mul__(self, other: Any) -> Any:
        return self._arith(other, lambda a, b: a * b)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        return self._arith(other, lambda a, b: a // b)

    def __rfloordiv__(self, other: Any) -> Any:
        return self._arith(other, lambda a, b: b // a)

    def __mod__(self, other: Any) -> Any:
        return self._arith(other, lambda a, b: a % b)

    def __rmod__(self, other: Any) -> Any:
        return self._arith(other, lambda a, b: b % a)

    def __lt__(self, other: Any) -> Any:
        return self._compare(other, lambda a, b: a < b)

    def __le__(self, other: Any) -> Any:
        return self._compare(other, lambda a, b: a <= b)

    def __gt__(self, other: Any) -> Any:
        return self._compare(other, lambda a, b: a > b)

    def __ge__(self, other: Any) -> Any:
        return self._compare(other, lambda a, b: a >= b)

    def is_compatible_with(self, other: Any) -> bool:
        o = as_dimension(other)
        return self._value is None or o.value is None or self._value == o.value

    def merge_with(self, other: Any) -> Dimension:
        o = as_dimension(other)
        if not self.is_compatible_with(o):
            raise ValueError(f"Dimensions {self} and {o} are not compatible")
        return Dimension(o.value if self._value is None else self._value)


def as_dimension(value: Any) -> Dimension:
    return value if isinstance(value, Dimension) else Dimension(value)


class TensorShape:
    """A possibly partial static shape. ``TensorShape(None)`` has unknown rank; unknown dims are ``Dimension(None)``."""

    __slots__ = ("_dims",)

    def __init__(self, dims: Any = None) -> None:
        self._dims: tuple[Dimension, ...] | None
        if dims is None:
            self._dims = None
        elif isinstance(dims, TensorShape):
            self._dims = dims._dims
        elif hasattr(dims, "__iter__") and not isinstance(dims, str):
            self._dims = tuple(as_dimension(d) for d in dims)
        else:
            self._dims = (as_dimension(dims),)

    @property
    def dims(self) -> list[Dimension] | None:
        return None if self._dims is None else list(self._dims)

    @property
    def ndims(self) -> int | None:
        return None if self._dims is None else len(self._dims)

    rank = ndims

    def as_list(self) -> list[int | None]:
        if self._dims is None:
            raise ValueError("as_list() is not defined on an unknown TensorShape.")
        return [d.value for d in self._dims]

    def is_fully_defined(self) -> bool:
        return self._dims is not None and all(d.value is not None for d in self._dims)

    def assert_is_fully_defined(self) -> None:
        if not self.is_fully_defined():
            raise ValueError(f"Shape {self} is not fully defined")

    def num_elements(self) -> int | None:
        if not self.is_fully_defined() or self._dims is None:
            return None
        total = 1
        for d in self._dims:
            total *= int(d)
        return total

    def is_compatible_with(self, other: Any) -> bool:
        o = TensorShape(other)
        if self._dims is None or o._dims is None:
            return True
        return len(self._dims) == len(o._dims) and all(
            a.is_compatible_with(b) for a, b in zip(self._dims, o._dims, strict=True)
        )

    def assert_is_compatible_with(self, other: Any) -> None:
        if not self.is_compatible_with(other):
            raise ValueError(f"Shapes {self} and {TensorShape(other)} are incompatible")

    def assert_same_rank(self, other: Any) -> None:
        o = TensorShape(other)
        if self.ndims is not None and o.ndims is not None and self.ndims != o.ndims:
            raise ValueError(f"Shapes {self} and {o} must have the same rank")

    def assert_has_rank(self, rank: int) -> None:
        if self.ndims not in (None, rank):
            raise ValueError(f"Shape {self} must have rank {rank}")

    def with_rank(self, rank: int) -> TensorShape:
        self.assert_has_rank(rank)
        return TensorShape([None] * rank) if self._dims is None else self

    def with_rank_at_least(self, rank: int) -> TensorShape:
        if self.ndims is not None and self.ndims < rank:
            raise ValueError(f"Shape {self} must have rank at least {rank}")
        return self

    def merge_with(self, other: Any) -> TensorShape:
        o = TensorShape(other)
        if self._dims is None:
            return o
        if o._dims is None:
            return self
        if not self.is_compatible_with(o):
            raise ValueError(f"Shapes {self} and {o} are not compatible")
        return TensorShape([a.merge_with(b) for a, b in zip(self._dims, o._dims, strict=True)])

    def concatenate(self, other: Any) -> TensorShape:
        o = TensorShape(other)
        return TensorShape(None) if self._dims is None or o._dims is None else TensorShape(self._dims + o._dims)

    def __len__(self) -> int:
        if self._dims is None:
            raise ValueError("Cannot take the length of Shape with unknown rank.")
        return len(self._dims)

    def __bool__(self) -> bool:
        # As in TensorFlow: a shape is true if its rank is known, also a scalar's.
        return self._dims is not None

    def __iter__(self) -> Iterator[Dimension]:
        if self._dims is None:
            raise ValueError("Cannot iterate over a shape with unknown rank.")
        return iter(self._dims)

    def __getitem__(self, key: Any) -> Any:
        if self._dims is None:
            return TensorShape(None) if isinstance(key, slice) else Dimension(None)
        return TensorShape(self._dims[key]) if isinstance(key, slice) else self._dims[key]

    def __add__(self, other: Any) -> TensorShape:
        return self.concatenate(other)

    def __eq__(self, other: object) -> bool:
        try:
            o = TensorShape(other)
        except (TypeError, ValueError):
            return False
        if self._dims is None or o._dims is None:
            return self._dims is o._dims
        return self.as_list() == o.as_list()

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._dims)

    def __repr__(self) -> str:
        return f"TensorShape({None if self._dims is None else list(self._dims)})"

    def __str__(self) -> str:
        if self._dims is None:
            return "<unknown>"
        return "(" + ", ".join(map(str, self._dims)) + ("," if len(self._dims) == 1 else "") + ")"


def as_internal(shape: Any) -> Shape | None:
    """A user's shape (None, int, list, tuple, TensorShape, with ints, None, Dimensions or names) as a tuple of Dims.

    A string names a run-time size (``["batch", 784]``); None becomes a fresh size. Raises ValueError or TypeError.
    """
    if shape is None:
        return None
    if isinstance(shape, TensorShape):
        if shape.dims is None:
            return None
        shape = shape.as_list()
    if isinstance(shape, (int, Dimension, SymDim, str)) or hasattr(shape, "__index__"):
        shape = [shape]
    dims: list[Dim] = []
    for d in shape:
        if isinstance(d, SymDim):
            dims.append(d)
        elif isinstance(d, str):
            if not d.isidentifier():
                raise ValueError(f"the name of a symbolic dimension must be an identifier, got {d!r}")
            dims.append(size(d))
        else:
            value = None if d is None else as_dimension(d).value
            dims.append(fresh_dim() if value is None else value)
    # numpy's limit before its version 2.
    if len(dims) > 32:
        raise ShapeError(f"shape of rank {len(dims)}: at most 32 dimensions are supported")
    known = [d for d in dims if isinstance(d, int)]
    if product(known) >= 2**63:  # type: ignore[operator]
        raise ShapeError(f"shape {format_shape(tuple(dims))} has more elements than a 64-bit size can count")
    return tuple(dims)


def to_public(shape: Shape | None) -> TensorShape:
    return TensorShape(None if shape is None else [d if isinstance(d, int) else None for d in shape])


def static_shape(shape: Sequence[Dim]) -> tuple[int, ...] | None:
    """The shape as ints, or None where a dim is symbolic."""
    return tuple(shape) if all(isinstance(d, int) for d in shape) else None  # type: ignore[arg-type]
