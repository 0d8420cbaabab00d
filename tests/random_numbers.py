"""What random ops must draw, straight from the generator."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.framework.numpy_builder import NumpyBuilder
from graphflow.framework.philox import draws


def uniform(seed: int, count: int, size: int) -> Any:
    """What ``tf.random_uniform([size], seed=seed)`` gives when a session executes it for the count-th time."""
    draw = draws(NumpyBuilder(), np.arange(size, dtype=np.uint64), np.full(size, count, np.uint64), 87654321, seed)
    return (draw(0) >> np.uint32(9)).astype(np.float32) * np.float32(2.0**-23)
