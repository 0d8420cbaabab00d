"""Memory that begins at a cache line."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

CACHE_LINE = 64


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """As numpy.empty, from a cache line's start: numpy's own arrays start anywhere in one, and every second vector read
    from them would span two."""
    if dtype.hasobject:
        return np.empty(shape, dtype)
    count = math.prod(shape) * dtype.itemsize
    memory = np.empty(count + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + count].view(dtype).reshape(shape)


def aligned_bytes(count: int) -> np.ndarray[Any, Any]:
    """`count` bytes, whatever is in them."""
    return aligned_empty((count,), np.dtype(np.uint8))
