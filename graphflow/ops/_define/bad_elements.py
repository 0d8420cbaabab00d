"""Refusals of index values in numpy references: the first element that is out of range, its place and its value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.ops._define.types import brackets


def first(name: str, array: Any, bad: Any) -> str:
    """The first element of `array` where `bad` is true, as TensorFlow shows it: ``indices[1,0] = 7``."""
    place = tuple(int(k) for k in np.argwhere(bad)[0])
    value = np.asarray(array)[place]
    at = f"[{','.join(map(str, place))}]" if place else ""
    return f"{name}{at} = {'[' + ', '.join(map(str, value.tolist())) + ']' if value.ndim else value}"


def refuse_rows(name: str, indices: Any, rows: int) -> None:
    """ValueError unless each index is that of one of so many rows."""
    found = np.asarray(indices)
    bad = (found < 0) | (found >= rows)
    if bad.any():
        raise ValueError(f"{first(name, found, bad)} is not in [0, {rows})")


def refuse_positions(indices: Any, shape: Sequence[int], what: str) -> None:
    """ValueError unless each position, along the last axis of `indices`, lies within `shape`, called `what`."""
    found = np.asarray(indices)
    bad = ((found < 0) | (found >= np.array(shape[: found.shape[-1]], np.int64))).any(axis=-1)
    if bad.any():
        raise ValueError(f"{first('indices', found, bad)} does not index into {what} {brackets(tuple(shape))}")
