"""Prepared calls: feed conversion, executable and fetch structure of one way of calling `run`, worked out once."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from graphflow.framework.errors import FeedError, OpError, OutOfMemoryError, SessionClosedError
from graphflow.framework.graph import Operation, Tensor
from graphflow_runtime.executor.executable import Executable
from graphflow_runtime.executor.launch_descriptor import LIST, SINGLE, TUPLE, CallSlot, LaunchDescriptor
from graphflow_runtime.session.feeds import FeedConverter, check_named_sizes
from graphflow_runtime.session.fetches import Element, FetchStructure

if TYPE_CHECKING:
    from graphflow_runtime.executor.tracing import Trace
    from graphflow_runtime.session.session import BaseSession

_OPERATION = -1


def _named(call: Callable[..., Any]) -> Callable[..., Any]:
    """Names the function ``run``, as Python's own messages (no such keyword) should show it to the user."""
    call.__name__ = call.__qualname__ = "run"
    return call


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
    """Sorts elements by their place in the graph, so that all spellings of a set share one executable."""
    return tuple(sorted(elements, key=lambda e: (e._id, -1) if isinstance(e, Operation) else (e.op._id, e.value_index)))


def unfed_part(elements: Sequence[Element], fed: Container[Tensor]) -> list[Element]:
    """What of `elements` has to be computed: neither fed, nor an operation of which all outputs are."""
    return [
        e for e in elements if not (all(t in fed for t in e.outputs) and e.outputs if isinstance(e, Operation) else e in fed)
    ]


class PreparedCall:
    """One (fetches, feeds) pair as the user spells it, with the executable it shares with other spellings.

    `call(*values)` runs it. While nothing changes from one run to the next, that is one native function; otherwise it
    comes to `_slow`, which converts what has to be converted and holds the session's lock.
    """

    __slots__ = (
        "call", "cells", "convert", "executable", "has_shortcut", "is_native", "named", "order", "rebuild", "session",
        "slots", "structure", "tensors",
    )  # fmt: skip

    def __init__(self, session: BaseSession, structure: FetchStructure, feeds: Sequence[Tensor]) -> None:
        self.session = session
        self.structure = structure
        self.tensors: tuple[Tensor, ...] = canonical(feeds)
        position = {t: i for i, t in enumerate(self.tensors)}
        given = {t: i for i, t in enumerate(feeds)}
        #: For each tensor of the executable the position of its value among those given; None if these are in order already.
        self.order = tuple(given[t] for t in self.tensors) if self.tensors != tuple(feeds) else None
        self.convert = tuple(FeedConverter(t) for t in self.tensors)
        self.named = any(not isinstance(d, int) and not str(d).startswith("?") for t in feeds for d in t._shape or ())
        computed = canonical(unfed_part(structure.elements, position))
        number = {e: i for i, e in enumerate(e for e in computed if isinstance(e, Tensor))}
        #: For each fetched element the index of its result; of its feed, as -2 - index; -1 for an operation.
        self.slots = tuple(
            _OPERATION if isinstance(e, Operation) else -2 - position[e] if e in position else number[e]
            for e in structure.elements
        )
        self.executable: Executable = session._executable(computed, self.tensors)
        form, members, slow, self.rebuild = self._shape()
        self.cells = CallSlot(form, members, slow, self._failed)
        #: Whether a native call can serve: it returns results of the plan, so no fetch may be a fed tensor.
        self.has_shortcut = min(self.slots, default=0) >= _OPERATION
        #: The function to call. The first run goes the slow way in any case, so the native one is made after it.
        self.call: Callable[..., Any] = self._slow
        self.is_native = False

    def _shape(self) -> tuple[int, Sequence[int], Callable[..., Any], Callable[[Sequence[Any]], Any] | None]:
        """The structure that native code makes of the results, the slow function, and how to rebuild other structures.

        Native code knows single results, lists and tuples; any other structure is rebuilt from the list of its elements.
        """
        structure = self.structure
        if structure.is_single and self.slots == (0,):
            return SINGLE, self.slots, self._slow_in_order, None
        if structure.members is not None:
            return LIST if structure.is_list else TUPLE, [self.slots[i] for i in structure.members], self._slow_in_order, None
        return LIST, self.slots, self._slow_elements, structure.rebuild

    def make_native(self) -> None:
        """Makes `call` the native function, if there can be one for these fetches."""
        if self.has_shortcut and not self.is_native:
            native, rebuild = self.cells.make_call(), self.rebuild
            call = native if rebuild is None else _named(lambda *values: rebuild(native(*values)))
            self.call = call if self.order is None else self._reordering(call, self.order)
            self.is_native = True

    def _reordering(self, call: Callable[..., Any], order: tuple[int, ...]) -> Callable[..., Any]:
        count, in_order, slow = len(order), itemgetter(*order), self._slow  # at least two: one value is never out of order
        return _named(lambda *values: call(*in_order(values)) if len(values) == count else slow(*values))

    def _failed(self, status: int, control: LaunchDescriptor | None = None, *values: Any) -> None:
        """Raises for the status of a run of `control`, which another thread may have replaced in the cells since."""
        if control is None:
            raise _no_room()
        try:
            with self.session._alone():
                error = self.executable.failed(control, status, values)
        except SessionClosedError:  # another thread has closed it since
            error = self.executable.failed(control, status, None)
        raise error from None

    # ------------------------------------------------------------------ the slow way
    def _slow(self, *values: Any) -> Any:
        return self.structure.rebuild(self._elements(self._in_order(values)))

    def _slow_in_order(self, *values: Any) -> Any:
        return self.structure.rebuild(self._elements(values))

    def _slow_elements(self, *values: Any) -> list[Any]:
        return self._elements(values)

    def run_traced(self, values: Sequence[Any], trace: Trace) -> Any:
        """Runs like `call`, filling a trace."""
        return self.structure.rebuild(self._elements(self._in_order(values), trace))

    def _in_order(self, values: Sequence[Any]) -> Sequence[Any]:
        """The values in the order that the executable wants."""
        if self.order is None or len(values) != len(self.order):
            return values
        return [values[i] for i in self.order]

    def _elements(self, values: Sequence[Any], trace: Trace | None = None) -> list[Any]:
        """The values of the fetched elements, for fed values in the executable's order."""
        if len(values) != len(self.tensors):
            raise FeedError(f"this callable takes {len(self.tensors)} values, one for each of its feeds, got {len(values)}")
        session = self.session
        # A signal handler or a finalizer may come here in the middle of another run of this thread.
        within = session._lock._is_owned()  # type: ignore[attr-defined]
        with session._lock:
            session._check_open()
            store = session._store
            others, runs = store.others(within), store.runs
            try:
                store.busy = others + 1
                self.cells.mark_used()
                results = self._try_fast(values) if trace is None and not self.named else None
                if results is None:
                    values = tuple([convert(v) for convert, v in zip(self.convert, values, strict=True)])
                    if self.named:
                        check_named_sizes(self.tensors, values)
                    results = self._run_converted(values, trace)
            except OutOfMemoryError:
                raise
            except OpError:
                if store.runs == runs:  # a failed run is a run, also where native code did not have to begin it to fail
                    store.begin_run(self.executable.random_ops)
                raise
            finally:
                store.end(others)
            # The slow way leaves the cells bound, so that the next call with such feeds is a native one.
            if self.has_shortcut:
                self.cells.bind(self.executable.shortcut())
                if self.cells.control is not None:
                    self.make_native()
        return self._finish(results, values)

    def _try_fast(self, values: Sequence[Any]) -> Sequence[Any] | None:
        runs = self.session._store.runs
        try:
            return self.executable.fast(values)
        except MemoryError as e:
            if self.session._store.runs != runs:
                raise _no_room() from e
            # Memory was short for results of the last run's sizes, which may not be the sizes of these values.
            return None

    def _run_converted(self, values: Sequence[Any], trace: Trace | None) -> Sequence[Any]:
        results = self._try_fast(values) if trace is None else None
        if results is not None:
            return results
        # A run that was counted has changed variables, so it must not be repeated: only its results found no memory.
        runs = self.session._store.runs
        try:
            return self.executable.run(values, trace)
        except OutOfMemoryError:
            raise
        except MemoryError as e:
            if self.session._store.runs != runs:
                raise _no_room() from e
            raise OutOfMemoryError(
                message=f"a run for feeds of shapes {[v.shape for v in values]} needs too much: {e}"
            ) from None

    def _finish(self, results: Sequence[Any], feeds: Sequence[Any]) -> list[Any]:
        """The value of each element."""
        found: list[Any] = []
        for slot in self.slots:
            if slot >= 0:
                value = results[slot]
            elif slot == _OPERATION:
                found.append(None)
                continue
            else:  # a fetched feed is a copy: the caller may change it
                value = np.array(self.convert[-2 - slot](feeds[-2 - slot]))
            found.append(value if value.ndim else value[()])
        return found


def _no_room() -> OutOfMemoryError:
    return OutOfMemoryError(message="the run is done, but there is no memory for its results")
