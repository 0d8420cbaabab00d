"""How often a session has executed each random op: what makes the op draw other numbers each time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

#: Counters in one piece of memory: those of one graph lie close together.
_PIECE = 64


class RandomCounters:
    """A uint64 for each random op, by its name: how often it has been executed, plus the session's salt in the high word.

    As in TensorFlow each op counts for itself, so what else a session runs changes nothing that an op draws. Native code
    reads and raises the counters in place: each stays where it is.
    """

    def __init__(self) -> None:
        # Ops without any seed mix the salt into their bits, so that two sessions draw different numbers.
        self._salt = int.from_bytes(os.urandom(4), "little") << 32
        self._pieces: list[np.ndarray[tuple[int], np.dtype[np.uint64]]] = []
        self._places: dict[str, tuple[int, int]] = {}

    def _place(self, op: str) -> tuple[int, int]:
        found = self._places.get(op)
        if found is None:
            found = self._places[op] = divmod(len(self._places), _PIECE)
            if found[1] == 0:
                self._pieces.append(np.full(_PIECE, self._salt, np.uint64))
        return found

    def address(self, op: str) -> int:
        piece, i = self._place(op)
        return int(self._pieces[piece].ctypes.data) + 8 * i

    def __getitem__(self, op: str) -> int:
        piece, i = self._place(op)
        return int(self._pieces[piece][i])

    def __setitem__(self, op: str, value: int) -> None:
        piece, i = self._place(op)
        self._pieces[piece][i] = value & 0xFFFFFFFFFFFFFFFF

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
