"""Memory that begins at a cache line."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

CACHE_LINE = 64


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """numpy.empty, but starting at a cache line: numpy's own arrays start anywhere in one, so that vectors read from them
    would span two lines."""
    # Raw bytes cannot be viewed as references to objects.
    if dtype.hasobject:
        return np.empty(shape, dtype)
    count = math.prod(shape) * dtype.itemsize
    memory = np.empty(count + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + count].view(dtype).reshape(shape)


def aligned_bytes(count: int) -> np.ndarray[Any, Any]:
    """`count` uninitialised bytes that start at a cache line."""
    return aligned_empty((count,), np.dtype(np.uint8))
