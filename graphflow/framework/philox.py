"""Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011) as a scalar rule.

A counter-based generator: the bits of an element depend on its position, on how often the op has been executed and on the
op's seeds, never on what else was drawn. So results do not depend on threads, on fusion or on the device, and all that a
session keeps between runs is a count for each op.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from graphflow.framework.dtypes import uint32, uint64
from graphflow.framework.scalar_builder import ScalarBuilder

S = TypeVar("S")

# The paper's constants. Seven rounds pass its tests of randomness; it recommends ten.
_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_MASK = 0xFFFFFFFF

#: Set in ``seed2`` of an op without any seed: its bits depend on the session's salt too.
SALTED = 1 << 32


def philox4x32(b: ScalarBuilder[S], counter: Sequence[S], key: tuple[int, int]) -> tuple[S, S, S, S]:
    """Four random words from a counter of four uint32 words.

    `key` is known while code is generated, so the key schedule is computed then and costs nothing in a run.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        high0, low0 = _multiply(b, c0, _MULTIPLIERS[0])
        high1, low1 = _multiply(b, c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = b.xor(b.xor(high1, c1), k0), low1, b.xor(b.xor(high0, c3), k1), low0
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def _multiply(b: ScalarBuilder[S], x: S, factor: int) -> tuple[S, S]:
    """High and low word of the 64-bit product."""
    product = b.mul(b.cast(x, uint64), factor)
    return words(b, product)


def words(b: ScalarBuilder[S], x: S) -> tuple[S, S]:
    """High and low word of a uint64."""
    high = b.binary("shr", x, b.const(32, uint64))
    return b.cast(high, uint32), b.cast(b.and_(x, _MASK), uint32)


def draws(b: ScalarBuilder[S], element: S, count: S, seed: int, seed2: int) -> Callable[[int], S]:
    """``draw(k)``: the k-th (0..3) uniform uint32 of an element.

    Args:
        element: its row-major position (uint64).
        count: how often the session has executed the op, this time included, in the low word, and the session's salt in the
            high one (uint64).
        seed, seed2: the op's seeds. The salt counts only with `SALTED` in seed2: ops with seeds give the same sequence
            in every session.
    """
    salt, step = words(b, count)
    high, low = words(b, element)
    if not seed2 & SALTED:
        salt = b.const(0, uint32)
    # One evaluation gives four words, and a rule that draws twice must not pay for two.
    block: list[S] = []

    def draw(k: int) -> S:
        if not block:  # computed at the first draw: a rule that never draws pays nothing
            block.extend(philox4x32(b, (low, high, step, salt), (seed & _MASK, seed2 & _MASK)))
        return block[k]

    return draw
