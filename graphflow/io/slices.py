"""Parts of partitioned variables in files: each is a tensor of its own, and the whole can be read, or other parts of it.

__metadata__  graphflow.slices  {name of the part in the file: [name of the whole, its shape, where the part begins in it]}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphflow.framework.dtypes import DType
from graphflow.framework.records import record
from graphflow.io.container import Container, bad, canonical_json, parse_json

Array = np.ndarray[Any, Any]


@record(frozen=True)
class Slice:
    """Where a part belongs: the name and the shape of the whole, and where the part begins in it."""

    whole: str
    full_shape: tuple[int, ...]
    offset: tuple[int, ...]

    def of(self, whole: Array, shape: tuple[int, ...]) -> Array:
        """The part, of this shape, of the whole."""
        return whole[tuple(slice(o, o + n) for o, n in zip(self.offset, shape, strict=True))]


@record(frozen=True)
class Whole:
    """A variable of which a file holds all parts, in order along `axis`."""

    shape: tuple[int, ...]
    dtype: DType
    axis: int
    parts: tuple[str, ...]


def slices_text(slices: Mapping[str, Slice]) -> str:
    """What `slices_of` reads."""
    return canonical_json({name: [s.whole, list(s.full_shape), list(s.offset)] for name, s in slices.items()})


def slices_of(container: Container) -> dict[str, Slice]:
    """The parts in a file, by their names there, checked."""
    text = container.metadata.get("graphflow.slices")
    found: dict[str, Slice] = {}
    for name, value in ({} if text is None else parse_json(container.path, text, "graphflow.slices")).items():
        entry = container.entries.get(f"var/{name}")
        part = None if entry is None else _slice(value, entry.shape)
        if part is None or f"var/{part.whole}" in container.entries:
            bad(container.path, f"'{name[:200]}' is no part of a variable")
        found[name] = part
    return found


def _slice(value: Any, shape: tuple[int, ...]) -> Slice | None:
    if not isinstance(value, list) or len(value) != 3 or not isinstance(value[0], str):
        return None
    whole, full, offset = value
    for numbers in (full, offset):
        if not isinstance(numbers, list) or len(numbers) != len(shape) or not shape:
            return None
        if not all(type(n) is int and 0 <= n < 2**63 for n in numbers):  # type() and not isinstance(): True is an int
            return None
    if any(o + n > size for o, n, size in zip(offset, shape, full, strict=True)):
        return None
    return Slice(whole, tuple(full), tuple(offset))


def wholes_of(container: Container, slices: Mapping[str, Slice]) -> dict[str, Whole]:
    """The variables of which the file holds all parts. Those of which it holds a few are not among them."""
    parts: dict[str, list[str]] = {}
    for name, part in slices.items():
        parts.setdefault(part.whole, []).append(name)
    found = {name: _whole(container, slices, names) for name, names in parts.items()}
    return {name: whole for name, whole in found.items() if whole is not None}


def _whole(container: Container, slices: Mapping[str, Slice], names: list[str]) -> Whole | None:
    names.sort(key=lambda n: slices[n].offset)
    entries = [container.entries[f"var/{n}"] for n in names]
    full, dtype = slices[names[0]].full_shape, entries[0].dtype
    axis = next((i for i, (n, size) in enumerate(zip(entries[0].shape, full, strict=True)) if n != size), 0)
    at = 0
    for name, entry in zip(names, entries, strict=True):
        begin, extent = [0] * len(full), list(full)
        begin[axis], extent[axis] = at, entry.shape[axis]
        at += entry.shape[axis]
        if (
            slices[name] != Slice(slices[name].whole, full, tuple(begin))
            or entry.shape != tuple(extent)
            or entry.dtype is not dtype
        ):
            return None
    return Whole(full, dtype, axis, tuple(names)) if at == full[axis] else None
