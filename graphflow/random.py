"""`tf.random`."""

from __future__ import annotations

from graphflow.ops.random import (
    categorical,
    get_seed,
    multinomial,
    normal,
    set_random_seed,
    set_seed,
    shuffle,
    truncated_normal,
    uniform,
)

__all__ = [
    "categorical", "get_seed", "multinomial", "normal", "set_random_seed", "set_seed", "shuffle", "truncated_normal", "uniform",
]  # fmt: skip
