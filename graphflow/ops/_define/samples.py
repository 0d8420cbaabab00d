"""Sample inputs for the generated tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow.framework.registry import NO_ATTRS, Sample

_SHAPES: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (7,), (3, 5), (2, 1, 3))
_PAIRS: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((), ()), ((0, 3), (3,)), ((1,), (1,)), ((7,), (7,)), ((3, 5), (5,)), ((3, 1), (1, 4)), ((), (2, 3)),
    ((2, 3, 4), (3, 1)),
)  # fmt: skip


def spread(shape: tuple[int, ...], low: float, high: float, avoid: Sequence[float] = (), seed: int = 0) -> Any:
    """float32 values in [low, high], the same every time, none within a tenth of `avoid`."""
    x = np.random.default_rng([seed, *shape]).uniform(low, high, shape)
    # Difference quotients across a kink say nothing of the gradient.
    for kink in avoid:
        x = np.where(np.abs(x - kink) < 0.1, kink + 0.2, x)
    return np.asarray(x, np.float32)


def unary_samples(
    low: float, high: float, avoid: Sequence[float] = (), attrs: Any = NO_ATTRS, gradient: bool = True
) -> Callable[[], list[Sample]]:
    return lambda: [Sample((spread(s, low, high, avoid),), attrs, gradient) for s in _SHAPES]


def binary_samples(
    x: tuple[float, float], y: tuple[float, float], apart: float = 0.0, gradient: bool = True, attrs: Any = NO_ATTRS
) -> Callable[[], list[Sample]]:
    """Pairs that broadcast in all ways; y keeps `apart` from zero and, where that is negative, from x."""

    def samples() -> list[Sample]:
        made = []
        for i, (a, b) in enumerate(_PAIRS):
            left, right = spread(a, *x, seed=i), spread(b, *y, seed=i + 100)
            if apart > 0:
                right = np.where(np.abs(right) < apart, np.float32(apart) + np.abs(right), right)
            if apart < 0:  # on different grids: their distance is at least a quarter
                left, right = np.round(left), np.round(right) + np.float32(0.5)
            made.append(Sample((left, right), attrs, gradient))
        return made

    return samples


def normal_arrays(*shapes: tuple[int, ...]) -> tuple[np.ndarray[Any, Any], ...]:
    """Normally distributed float32 arrays, the same every time."""
    rng = np.random.default_rng(11)
    return tuple(rng.normal(size=s).astype(np.float32) for s in shapes)
