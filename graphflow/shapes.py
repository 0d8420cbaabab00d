"""Shapes: symbolic dimensions for inference, and TensorFlow's `TensorShape` and `Dimension` for users.

Inside, a shape is a tuple of `Dim` (an int, or a `SymDim` for a size known only at run time), or None where even the
rank is unknown. A `SymDim` is a polynomial in named sizes, kept in a normal form, so that equal sizes compare equal:
``4 * (n + 1) - 4 == 4 * n``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from graphflow.errors import ShapeError

# ---------------------------------------------------------------------------------------------- symbolic dimensions

#: An indivisible factor of a monomial: a size's name, or ("//" | "%" | "max" | "min", left, right).
Atom: TypeAlias = "str | tuple[str, Dim, Dim]"
Monomial: TypeAlias = "tuple[Atom, ...]"


class SymDim:
    """An immutable polynomial with integer coefficients over named sizes. Arithmetic with ints and other SymDims."""

    __slots__ = ("_hash", "terms")

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]) -> None:
        self.terms = terms  # sorted by the text of the monomial, no zero coefficients
        self._hash = hash(terms)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SymDim) and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    def __add__(self, other: Dim) -> Dim:
        return _from_terms(itertools.chain(self.terms, _terms_of(other)))

    __radd__ = __add__

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: Dim) -> Dim:
        return self + other * -1

    def __rsub__(self, other: Dim) -> Dim:
        return self * -1 + other

    def __mul__(self, other: Dim) -> Dim:
        return _from_terms(
            (tuple(sorted((*m1, *m2), key=_atom_text)), c1 * c2) for m1, c1 in self.terms for m2, c2 in _terms_of(other)
        )

    __rmul__ = __mul__

    def __floordiv__(self, other: Dim) -> Dim:
        return floordiv(self, other)

    def __rfloordiv__(self, other: Dim) -> Dim:
        return floordiv(other, self)

    def __mod__(self, other: Dim) -> Dim:
        return mod(self, other)

    def __rmod__(self, other: Dim) -> Dim:
        return mod(other, self)

    def __bool__(self) -> bool:
        raise TypeError(f"the size {self} is known only at run time, so it has no truth value")

    def __repr__(self) -> str:
        return f"SymDim({self})"

    def __str__(self) -> str:
        parts = []
        for monomial, c in self.terms:
            factors = "*".join(_atom_text(a) for a in monomial)
            parts.append(str(c) if not factors else factors if c == 1 else f"{c}*{factors}")
        return "+".join(parts).replace("+-", "-")

    def is_size(self) -> bool:
        """Whether it is just one named size."""
        return (
            len(self.terms) == 1
            and self.terms[0][1] == 1
            and len(self.terms[0][0]) == 1
            and isinstance(self.terms[0][0][0], str)
        )

    def names(self) -> set[str]:
        """The sizes it depends on."""
        found: set[str] = set()
        todo: list[Dim] = [self]
        while todo:
            dim = todo.pop()
            if isinstance(dim, SymDim):
                for monomial, _ in dim.terms:
                    for a in monomial:
                        if isinstance(a, str):
                            found.add(a)
                        else:
                            todo += [a[1], a[2]]
        return found


Dim: TypeAlias = "int | SymDim"
Shape: TypeAlias = "tuple[Dim, ...]"


def _atom_text(a: Atom) -> str:
    if isinstance(a, str):
        return a
    op, x, y = a
    return f"{op}({x},{y})" if op in ("max", "min") else f"(({x}){op}({y}))"


def _terms_of(d: Dim) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(d, SymDim):
        return d.terms
    return (((), d),) if d else ()


def _from_terms(terms: Iterable[tuple[Monomial, int]]) -> Dim:
    total: dict[Monomial, int] = {}
    for monomial, c in terms:
        total[monomial] = total.get(monomial, 0) + c
    kept = [(m, c) for m, c in total.items() if c]
    if not kept:
        return 0
    if len(kept) == 1 and not kept[0][0]:
        return kept[0][1]
    return SymDim(tuple(sorted(kept, key=lambda t: tuple(map(_atom_text, t[0])))))


def size(name: str) -> SymDim:
    """The run-time size called `name`."""
    return SymDim((((name,), 1),))


_fresh = itertools.count()


def fresh_dim() -> SymDim:
    """A run-time size that is equal to no other as far as is known; it prints as ``?``-something."""
    return size(f"?{next(_fresh)}")


def _atom_dim(op: str, a: Dim, b: Dim) -> SymDim:
    return SymDim(((((op, a, b),), 1),))


def floordiv(a: Dim, b: Dim) -> Dim:
    """a // b, exact division recognised: ``(4*n) // 4`` is n and ``(4*n) // n`` is 4."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    if b == 1:
        return a
    if a == b:
        return 1
    divisor = _terms_of(b)
    if len(divisor) == 1:  # by a monomial: divide term by term where that is exact
        (factors, c0) = divisor[0]
        quotient: list[tuple[Monomial, int]] = []
        for monomial, c in _terms_of(a):
            rest = list(monomial)
            for f in factors:
                if f not in rest:
                    break
                rest.remove(f)
            else:
                if c % c0 == 0:
                    quotient.append((tuple(rest), c // c0))
                    continue
            break
        else:
            return _from_terms(quotient)
    return _atom_dim("//", a, b)


def mod(a: Dim, b: Dim) -> Dim:
    if isinstance(a, int) and isinstance(b, int):
        return a % b
    q = floordiv(a, b)
    if isinstance(q, int) or not any(isinstance(f, tuple) for m, _ in q.terms for f in m):
        return a - q * b
    return _atom_dim("%", a, b)


def never_negative(d: Dim) -> bool:
    """Whether d is at least 0 whatever its sizes are (sizes are never negative)."""
    if isinstance(d, int):
        return d >= 0
    return all(c > 0 and all(_atom_never_negative(a) for a in monomial) for monomial, c in d.terms)


def _atom_never_negative(a: Atom) -> bool:
    if isinstance(a, str):
        return True
    op, x, y = a
    if op == "max":
        return never_negative(x) or never_negative(y)
    return never_negative(x) and never_negative(y)


def maximum(a: Dim, b: Dim) -> Dim:
    difference = a - b
    if isinstance(difference, int):
        return a if difference >= 0 else b
    if never_negative(difference):
        return a
    return b if never_negative(b - a) else _atom_dim("max", a, b)


def minimum(a: Dim, b: Dim) -> Dim:
    difference = a - b
    if isinstance(difference, int):
        return a if difference <= 0 else b
    if never_negative(difference):
        return b
    return a if never_negative(b - a) else _atom_dim("min", a, b)


def evaluate(d: Dim, sizes: Mapping[str, int]) -> int:
    """The value of `d` once its sizes are known. Raises KeyError for a size that `sizes` lacks."""
    if isinstance(d, int):
        return d
    total = 0
    for monomial, c in d.terms:
        for a in monomial:
            if isinstance(a, str):
                c *= sizes[a]
            else:
                x, y = evaluate(a[1], sizes), evaluate(a[2], sizes)
                c *= x // y if a[0] == "//" else x % y if a[0] == "%" else max(x, y) if a[0] == "max" else min(x, y)
        total += c
    return total


def substitute(d: Dim, sizes: Mapping[str, Dim]) -> Dim:
    """`d` with some of its sizes replaced."""
    if isinstance(d, int) or not (d.names() & sizes.keys()):
        return d
    total: Dim = 0
    for monomial, c in d.terms:
        term: Dim = c
        for a in monomial:
            if isinstance(a, str):
                term = term * sizes.get(a, size(a))
            else:
                x, y = substitute(a[1], sizes), substitute(a[2], sizes)
                rule = {"//": floordiv, "%": mod, "max": maximum, "min": minimum}[a[0]]
                term = term * rule(x, y)
        total = total + term
    return total


def product(dims: Iterable[Dim]) -> Dim:
    total: Dim = 1
    for d in dims:
        total = total * d
    return total


def format_shape(shape: Shape | None) -> str:
    """``(32, ?)``, ``(batch, 10)``, ``<unknown>``."""
    if shape is None:
        return "<unknown>"
    texts = ["?" if isinstance(d, SymDim) and str(d).startswith("?") else str(d) for d in shape]
    return "(" + ", ".join(texts) + ("," if len(texts) == 1 else "") + ")"


# ---------------------------------------------------------------------------------------------- inference policy


class DimPolicy:
    """How inference treats two sizes that must agree. This one is the user's graph: only certain conflicts are errors.

    The compiler overrides it, where unknown sizes are known not to be 1 and every agreement becomes a run-time check.
    There `final` is true: what is fed is known, so every type is as exact as it will ever be.
    """

    final = False

    def unify(self, a: Dim, b: Dim, message: Callable[[], str]) -> Dim:
        """The common value of two dims that must be equal; ShapeError(message()) if they cannot be."""
        if a == b:
            return a
        if isinstance(a, int) and isinstance(b, int):
            raise ShapeError(message())
        return a if isinstance(a, int) else b if isinstance(b, int) else a

    def broadcast(self, a: Dim, b: Dim, message: Callable[[], str]) -> Dim:
        """The broadcast of two dims (equal, or one of them 1)."""
        if a == b or b == 1:
            return a
        if a == 1:
            return b
        if isinstance(a, int) and isinstance(b, int):
            raise ShapeError(message())
        if isinstance(a, int):
            return a
        if isinstance(b, int):
            return b
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


GRAPH_POLICY = DimPolicy()

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

    A string names a run-time size (``["batch", 784]``); None and -1 become fresh sizes. Raises ValueError or TypeError.
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
            value = None if d is None else as_dimension(d).value if d != -1 else None
            dims.append(fresh_dim() if value is None else value)
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
