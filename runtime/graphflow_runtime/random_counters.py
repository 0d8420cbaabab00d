"""How often a session has executed each random op: what makes the op draw other numbers each time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np


class RandomCounters:
    """A uint64 for each random op, by its name: how often it has been executed, plus the session's salt in the high word.

    As in TensorFlow each op counts for itself, so what else a session runs changes nothing that an op draws. Native code
    reads and raises the counters in place: each stays where it is.
    """

    def __init__(self) -> None:
        # Ops without any seed mix the salt into their bits, so that two sessions draw different numbers.
        self._salt = int.from_bytes(os.urandom(4), "little") << 32
        self._counters: dict[str, np.ndarray[tuple[()], np.dtype[np.uint64]]] = {}

    def _counter(self, op: str) -> np.ndarray[tuple[()], np.dtype[np.uint64]]:
        found = self._counters.get(op)
        return self._counters.setdefault(op, np.array(self._salt, np.uint64)) if found is None else found

    def address(self, op: str) -> int:
        return int(self._counter(op).ctypes.data)

    def __getitem__(self, op: str) -> int:
        return int(self._counter(op))

    def __setitem__(self, op: str, value: int) -> None:
        self._counter(op)[()] = value & 0xFFFFFFFFFFFFFFFF

    def advance(self, ops: Iterable[str]) -> None:
        """Each of these ops is executed once more."""
        for op in ops:
            self[op] += 1

    @contextmanager
    def repeating(self, counts: dict[str, int], ops: Sequence[str]) -> Iterator[None]:
        """For one run of `ops`: those in `counts` draw what they drew at that count, and their counters are afterwards as they
        were before; for the others that it executes `counts` gets the new count."""
        before = {op: self[op] for op in ops}
        known = counts.keys() & before.keys()
        for op in known:
            self[op] = counts[op] - 1
        try:
            yield
        finally:
            counts.update({op: self[op] for op in ops if op not in known and self[op] != before[op]})
            for op in known:
                self[op] = before[op]
