"""Dependences between the kernels that fusion is making: which need the results of which, directly or through others.

For each kernel there is the set of those that it depends on, as bits. The bits stand in pieces of a fixed number of kernels,
and sets share the pieces in which they do not differ: a kernel's set is mostly that of the kernel before it and one bit more.
So many thousand kernels take time and memory that grow with their number, not with its square.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

#: Bits of a piece. Up to so many kernels a set is one number; of 100,000 kernels it is 25 pieces, most of them shared.
_PIECE = 4096

Bits: TypeAlias = tuple[int, ...]


class Dependences:
    """Kernels are numbered from 0 in the order in which they are added."""

    def __init__(self) -> None:
        self._above: list[Bits] = []  # what each kernel depends on
        self._users: list[set[int]] = []  # which kernels read its results
        self._merged_into: list[int] = []  # itself, or the kernel that has taken it in

    def add(self) -> int:
        """A new kernel, which depends on none. Returns its number."""
        number = len(self._above)
        self._above.append(())
        self._users.append(set())
        self._merged_into.append(number)
        return number

    def depends(self, a: int, b: int) -> bool:
        """Whether kernel a needs, directly or through others, a result of kernel b."""
        piece, bit = divmod(b, _PIECE)
        above = self._above[a]
        return piece < len(above) and bool(above[piece] >> bit & 1)

    def reads(self, a: int, producers: Iterable[int]) -> None:
        """Kernel a, and all that depends on it, now depends on the producers."""
        gained: Bits = ()
        for p in producers:
            self._users[p].add(a)
            gained = _union(gained, _union(self._above[p], _only(p)))
        self._gain(a, gained)

    def merge(self, other: int, into: int) -> None:
        """`other` becomes a part of `into`. Neither may depend on the other."""
        above_other, above_into = self._above[other], self._above[into]
        self._merged_into[other] = into
        for user in self._users[other]:
            self._gain(user, _union(above_into, _only(into)))
        self._users[into] |= self._users[other]
        self._users[other].clear()
        self._gain(into, above_other)

    def _gain(self, kernel: int, gained: Bits) -> None:
        """Adds to what a kernel depends on, and to what its users do, as far as they do not know it already."""
        todo = [kernel]
        while todo:
            k = self._find(todo.pop())
            above = _union(self._above[k], gained)
            if above is not self._above[k]:
                self._above[k] = above
                todo += self._users[k]

    def _find(self, kernel: int) -> int:
        while self._merged_into[kernel] != kernel:
            kernel = self._merged_into[kernel]
        return kernel


def _only(number: int) -> Bits:
    piece, bit = divmod(number, _PIECE)
    return (0,) * piece + (1 << bit,)


def _union(a: Bits, b: Bits) -> Bits:
    """What is in one of them: `a` itself if it has all of `b`, or `b`."""
    if a is b or not b:
        return a
    if not a:
        return b
    if len(b) > len(a):
        a, b = b, a
    made: list[int] | None = None
    for k, y in enumerate(b):
        x = a[k]
        if x is not y and y and (both := x | y) != x:
            if made is None:
                made = list(a)
            made[k] = y if both == y else both
    return a if made is None else tuple(made)
