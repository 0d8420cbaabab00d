"""Sizes of tensors: ints where they are known, else polynomials in named sizes (`SymDim`).

A `SymDim` is kept in a normal form, so that equal sizes compare equal: ``4 * (n + 1) - 4 == 4 * n``. A known size is always an
int, never a `SymDim` without names, so ``isinstance(d, int)`` is the test for "known".
"""

from __future__ import annotations

import itertools
import weakref
from _thread import get_ident
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

from graphflow.framework.errors import ShapeError

#: An indivisible factor of a monomial: a size's name, or ("//" | "%" | "max" | "min", left, right).
Factor: TypeAlias = "str | tuple[str, Dim, Dim]"
Monomial: TypeAlias = "tuple[Factor, ...]"


# ---------------------------------------------------------------------------------------------- what arithmetic may cost


class _Allowance:
    """What a thread's arithmetic on sizes may still cost, in factors written; for as long as `bounded_cost` holds it."""

    __slots__ = ("__weakref__", "left")

    def __init__(self, left: int) -> None:
        self.left = left


_allowances: dict[int, weakref.ref[_Allowance]] = {}  # by thread; mostly none


@contextmanager
def bounded_cost(most: int) -> Iterator[None]:
    """Inside, ShapeError is raised where arithmetic on sizes would write more than so many factors: a product of a few sums
    has millions of them. Whoever builds from a file does not know what it will ask for."""
    allowance = _Allowance(most)
    thread = get_ident()
    _allowances[thread] = weakref.ref(allowance)
    try:
        yield
    finally:
        _allowances.pop(thread, None)


def _charge(cost: int) -> None:
    """Takes the cost of something from the allowance of this thread, if that has one. Asked only if any thread has."""
    thread = get_ident()
    held = _allowances.get(thread)
    allowance = None if held is None else held()
    if allowance is not None:
        allowance.left -= cost
        if allowance.left < 0:
            raise ShapeError("the sizes take too many terms to work out")
    elif held is not None:
        _allowances.pop(thread, None)  # an interrupt came before it was taken back


def _weight(d: Dim) -> int:
    """How many factors it is written with, those within factors included."""
    return _extent(d)[0]


def _extent(d: Dim) -> tuple[int, int]:
    """Its weight, and how deep sizes are nested in it."""
    if isinstance(d, int):
        return 1, 0
    if d._extent is None:
        inner = [_extent(x) for monomial, _ in d.terms for a in monomial if not isinstance(a, str) for x in a[1:]]
        weight = 1 + sum([1 + len(monomial) for monomial, _ in d.terms]) + sum([w for w, _ in inner])
        d._extent = weight, max([depth for _, depth in inner], default=-1) + 1
    return d._extent


#: A size that is written with more than so many factors, is nested deeper, or is a product of so many terms is given up: it
#: becomes one that only a run knows. In a loop that shifts rows of an unknown number by concatenation, each step doubles it.
MOST_FACTORS, DEEPEST, _MOST_PRODUCTS = 4_000, 100, 100_000


def _is_unwieldy(d: Dim) -> bool:
    if isinstance(d, int) or d.is_size():
        return False
    weight, depth = _extent(d)
    return weight > MOST_FACTORS or depth >= DEEPEST


class SymDim:
    """An immutable polynomial with integer coefficients over named sizes. Arithmetic with ints and other SymDims."""

    __slots__ = ("_extent", "_has_value", "_hash", "_is_natural", "_text", "terms")

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]) -> None:
        self.terms = terms  # sorted by the text of the monomial, no zero coefficients
        self._hash = hash(terms)
        # Kept once they are asked for: whatever a size is nested in asks again and again.
        self._text = ""
        self._extent: tuple[int, int] | None = None
        self._is_natural: bool | None = None
        self._has_value: bool | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return SymDim, (self.terms,)  # without the hash: Python hashes text differently in each process

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SymDim) and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    def __add__(self, other: Dim) -> Dim:
        if _allowances:
            _charge(_weight(self) + _weight(other))
        return _from_terms(itertools.chain(self.terms, _terms_of(other)))

    __radd__ = __add__

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: Dim) -> Dim:
        return self + other * -1

    def __rsub__(self, other: Dim) -> Dim:
        return self * -1 + other

    def __mul__(self, other: Dim) -> Dim:
        if isinstance(other, int) and other:
            # Scaling keeps the terms sorted and not zero, so the normal form need not be built again.
            return self if other == 1 else SymDim(tuple([(m, c * other) for m, c in self.terms]))
        if len(self.terms) * len(_terms_of(other)) > _MOST_PRODUCTS:
            return _given_up()
        if _allowances:
            _charge(_weight(self) * len(_terms_of(other)) + _weight(other) * len(self.terms))
        return _from_terms(
            (tuple(sorted((*m1, *m2), key=factor_text)), c1 * c2) for m1, c1 in self.terms for m2, c2 in _terms_of(other)
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
        # `if n:` or `n == 4 or ...` would decide for one batch size and be wrong for others.
        raise TypeError(f"the size {self} is known only at run time, so it has no truth value")

    def __repr__(self) -> str:
        return f"SymDim({self})"

    def __str__(self) -> str:
        if not self._text:
            self._text = self._written()
        return self._text

    def _written(self) -> str:
        parts = []
        for monomial, c in self.terms:
            factors = "*".join(factor_text(a) for a in monomial)
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


def factor_text(a: Factor) -> str:
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
    # Only the constant term is left: a known size, which is always an int.
    if len(kept) == 1 and not kept[0][0]:
        return kept[0][1]
    return SymDim(tuple(sorted(kept, key=lambda t: tuple(map(factor_text, t[0])))))


def size(name: str) -> SymDim:
    """The run-time size called `name`."""
    return SymDim((((name,), 1),))


# One counter for the process: fresh sizes of two graphs are never taken for equal.
_fresh = itertools.count()


def fresh_dim() -> SymDim:
    """A new run-time size, not known to equal any other; its name is ``?`` and a number."""
    return size(f"?{next(_fresh)}")


def fresh_number() -> SymDim:
    """A whole number that only a run knows. Other than a size it may be negative, so it is never part of a shape."""
    return size(f"!{next(_fresh)}")


def is_open(d: Dim) -> bool:
    """Whether it depends on a number that only a run knows."""
    return isinstance(d, SymDim) and any(name.startswith("!") for name in d.names())


def _given_up() -> SymDim:
    """As `fresh_dim`, for the result of arithmetic that was given up. It may be negative: its name begins with ``?~``."""
    return size(f"?~{next(_fresh)}")


def factor(a: Factor) -> SymDim:
    """A factor as a size."""
    return SymDim((((a,), 1),))


def _factor_dim(op: str, a: Dim, b: Dim) -> SymDim:
    if _is_unwieldy(a) or _is_unwieldy(b):
        return _given_up()
    return factor((op, a, b))


def divided(op: str, a: Dim, b: Dim) -> Dim:
    """``a // b`` or ``a % b`` of numbers of which nobody knows whether b is 0: `evaluate` raises ZeroDivisionError then.

    `settled` simplifies it once that is known.
    """
    if b == 0:
        return _factor_dim(op, a, b)
    if isinstance(b, int) or is_positive(b):
        return floordiv(a, b) if op == "//" else mod(a, b)
    return _factor_dim(op, a, b)


def floordiv(a: Dim, b: Dim) -> Dim:
    """a // b, exact division recognised: ``(4*n) // 4`` is n and ``(4*n) // n`` is 4. The caller knows that b is not 0."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    if b == 1:
        return a
    if a == b:
        return 1
    divisor = _terms_of(b)
    if _allowances:
        _charge(_weight(a) * (1 + len(divisor[0][0]) if divisor else 1))
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
    return _factor_dim("//", a, b)


def mod(a: Dim, b: Dim) -> Dim:
    """a % b, with the sign of b. The caller knows that b is not 0."""
    if isinstance(a, int) and isinstance(b, int):
        return a % b
    # After an exact division a - q * b cancels to a polynomial. Any other remainder stays an indivisible factor.
    q = floordiv(a, b)
    if isinstance(q, int) or not any(isinstance(f, tuple) for m, _ in q.terms for f in m):
        return a - q * b
    return _factor_dim("%", a, b)


def never_negative(d: Dim) -> bool:
    """Whether d is at least 0 whatever its sizes are, and has a value (sizes are never negative, other numbers may be)."""
    if isinstance(d, int):
        return d >= 0
    if d._is_natural is None:
        d._is_natural = all(c > 0 and all(_is_factor_natural(a) for a in monomial) for monomial, c in d.terms)
    return d._is_natural


def is_positive(d: Dim) -> bool:
    """Whether d is at least 1 whatever its sizes are."""
    return never_negative(d - 1)


def _is_factor_natural(a: Factor) -> bool:
    if isinstance(a, str):
        return not a.startswith(("!", "?~"))
    op, x, y = a
    if op == "max":
        return (never_negative(x) and has_value(y)) or (never_negative(y) and has_value(x))
    if op == "min":
        return never_negative(x) and never_negative(y)
    # A divisor that may be 0 leaves no value at all.
    return is_positive(y) and (never_negative(x) if op == "//" else has_value(x))


def has_value(d: Dim) -> bool:
    """Whether no division in it can be by 0, whatever its sizes are."""
    if isinstance(d, int):
        return True
    if d._has_value is None:
        inner = [a for monomial, _ in d.terms for a in monomial if not isinstance(a, str)]
        d._has_value = all(has_value(x) and has_value(y) and (op in ("max", "min") or is_never_0(y)) for op, x, y in inner)
    return d._has_value


def is_never_0(d: Dim) -> bool:
    return d != 0 if isinstance(d, int) else is_positive(d) or is_positive(d * -1)


def maximum(a: Dim, b: Dim) -> Dim:
    # Decided now wherever the sign of the difference is certain: sizes that are derived in
    # different ways compare equal only while they are plain polynomials.
    difference = a - b
    if isinstance(difference, int):
        return a if difference >= 0 else b
    if never_negative(difference):
        return a
    return b if never_negative(b - a) else _factor_dim("max", a, b)


def minimum(a: Dim, b: Dim) -> Dim:
    difference = a - b
    if isinstance(difference, int):
        return a if difference <= 0 else b
    if never_negative(difference):
        return b
    return a if never_negative(b - a) else _factor_dim("min", a, b)


def evaluate(d: Dim, sizes: Mapping[str, int]) -> int:
    """The value of `d` once its sizes are known. Raises KeyError for a size that `sizes` lacks, and ZeroDivisionError."""
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
    return d if isinstance(d, int) or not (d.names() & sizes.keys()) else _rebuilt(d, sizes)


def settled(d: Dim) -> Dim:
    """`d` simplified where it was left as it was for fear of a division by 0 (`divided`): now none can be."""
    if isinstance(d, int) or all(isinstance(a, str) for monomial, _ in d.terms for a in monomial):
        return d
    return _rebuilt(d, {})


def _rebuilt(d: Dim, sizes: Mapping[str, Dim]) -> Dim:
    """Built up anew by the arithmetic above, so that the result is in normal form again."""
    if isinstance(d, int):
        return d
    total: Dim = 0
    for monomial, c in d.terms:
        term: Dim = c
        for a in monomial:
            if isinstance(a, str):
                term = term * sizes.get(a, size(a))
            elif (y := _rebuilt(a[2], sizes)) == 0 and a[0] in ("//", "%"):
                term = term * _factor_dim(a[0], _rebuilt(a[1], sizes), y)
            else:
                rule = {"//": floordiv, "%": mod, "max": maximum, "min": minimum}[a[0]]
                term = term * rule(_rebuilt(a[1], sizes), y)
        total = total + term
    return total


def total(dims: Iterable[Dim]) -> Dim:
    """The sum."""
    terms = [term for d in dims for term in _terms_of(d)]
    if _allowances:
        _charge(_weight(SymDim(tuple(terms))))
    return _from_terms(terms)


def product(dims: Iterable[Dim]) -> Dim:
    # Known sizes are multiplied as ints: a product of polynomials is built per open dim, not per axis.
    known = 1
    total: Dim = 1
    for d in dims:
        if isinstance(d, int):
            known *= d
        else:
            total = d * total
    return total * known
