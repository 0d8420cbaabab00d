"""What one way of calling `run` needs, worked out once: conversion of the feeds, the executable, the fetched structure."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphflow.core.graph import Operation, Tensor
from graphflow.errors import OutOfMemoryError, SessionClosedError
from graphflow_runtime.executable import Executable
from graphflow_runtime.feeds import FeedConverter, check_named_sizes
from graphflow_runtime.fetches import Element, FetchPlan

if TYPE_CHECKING:
    from graphflow_runtime.session import BaseSession

_OPERATION = -1


def call_key(structure: Any) -> Any:
    """A hashable stand-in for what was passed to `run`, equal only for structures that mean the same; None if there is none.

    Tensors and operations stand for themselves, so a list that is changed between runs has another key.
    """
    if isinstance(structure, dict):
        return _joined((type(structure), tuple(structure)), structure.values())
    if isinstance(structure, (list, tuple)):
        return _joined((type(structure),), structure)
    if isinstance(structure, (Tensor, Operation, str)) or hasattr(structure, "_as_graph_element"):
        return structure
    return None


def _joined(head: tuple[Any, ...], children: Any) -> Any:
    keys = [call_key(child) for child in children]
    return None if any(key is None for key in keys) else (*head, *keys)


def canonical(elements: Sequence[Element]) -> tuple[Any, ...]:
    """In an order that does not depend on how the user wrote them, so that all spellings share one executable."""
    return tuple(sorted(elements, key=lambda e: (e._id, -1) if isinstance(e, Operation) else (e.op._id, e.value_index)))


def unfed_part(elements: Sequence[Element], fed: Container[Tensor]) -> list[Element]:
    """What of `elements` has to be computed: neither fed, nor an operation of which all outputs are."""
    return [
        e for e in elements if not (all(t in fed for t in e.outputs) and e.outputs if isinstance(e, Operation) else e in fed)
    ]


class Prepared:
    """One (fetches, feeds) pair as the user spells it, with the executable it shares with other spellings."""

    __slots__ = ("convert", "executable", "fed", "named", "order", "plan", "single", "slots", "tensors", "used")

    def __init__(self, session: BaseSession, plan: FetchPlan, feeds: Sequence[Tensor]) -> None:
        self.plan = plan
        self.tensors: tuple[Tensor, ...] = canonical(feeds)
        position = {t: i for i, t in enumerate(self.tensors)}
        given = {t: i for i, t in enumerate(feeds)}
        #: Where to find the values in the order the executable wants; None if they come in it.
        self.order = tuple(given[t] for t in self.tensors) if self.tensors != tuple(feeds) else None
        self.convert = tuple(FeedConverter(t) for t in self.tensors)
        self.named = any(not isinstance(d, int) and not str(d).startswith("?") for t in feeds for d in t._shape or ())
        computed = canonical(unfed_part(plan.elements, position))
        number = {e: i for i, e in enumerate(e for e in computed if isinstance(e, Tensor))}
        #: For each fetched element the index of its result; of its feed, as -2 - index; -1 for an operation.
        self.slots = tuple(
            _OPERATION if isinstance(e, Operation) else -2 - position[e] if e in position else number[e] for e in plan.elements
        )
        self.single = self.slots == (0,) and plan.is_single
        self.used = True
        self.executable: Executable = session._executable(computed, self.tensors)

    def run(self, session: BaseSession, values: Sequence[Any]) -> Any:
        with session._lock:
            if session._closed:
                raise SessionClosedError("Attempted to use a closed Session.")
            self.used = True
            if self.order is not None:
                values = [values[i] for i in self.order]
            store = session._store
            store.runs += 1
            results: Sequence[Any] | None
            try:
                results = self.executable.fast(values) if not self.named else None
            except MemoryError:  # for the results that the last sizes had, which may not be these
                results = None
            if results is None:
                store.runs -= 1  # nothing has run yet, and what cannot be fed never will
                values = [convert(v) for convert, v in zip(self.convert, values, strict=True)]
                if self.named:
                    check_named_sizes(self.tensors, values)
                store.runs += 1
                results = self.run_converted(values)
        if self.single:
            only = results[0]
            return only if only.ndim else only[()]
        return self.finish(results, values)

    def run_converted(self, values: Sequence[Any]) -> Sequence[Any]:
        try:
            results = self.executable.fast(values)
        except MemoryError:
            results = None
        if results is not None:
            return results
        try:
            return self.executable.run(values)
        except OutOfMemoryError:
            raise
        except MemoryError as e:
            raise OutOfMemoryError(
                message=f"a run for feeds of shapes {[v.shape for v in values]} needs too much: {e}"
            ) from None

    def finish(self, results: Sequence[Any], feeds: Sequence[Any]) -> Any:
        """The user's structure, filled."""
        found: list[Any] = []
        for slot in self.slots:
            if slot >= 0:
                value = results[slot]
            elif slot == _OPERATION:
                found.append(None)
                continue
            else:
                value = np.array(self.convert[-2 - slot](feeds[-2 - slot]))
            found.append(value if value.ndim else value[()])
        return self.plan.rebuild(found)
