"""Partial runs: what was fed and fetched in earlier parts counts as fed in the next part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphflow.framework.errors import FeedError, FetchError
from graphflow.framework.graph import Operation, Tensor
from graphflow_runtime.session.fetches import Element


class PartialRun:
    """The handle that `Session.partial_run_setup` gives out. Every operation that is fetched runs once."""

    def __init__(self, feeds: set[Tensor], fetches: set[Element]) -> None:
        self._feeds = feeds
        self._fetches = fetches
        self._finished: set[Operation] = set()
        #: What the next part is fed with.
        self.values: dict[Tensor, Any] = {}
        #: The counts at which its parts execute random ops: a later part that needs one again draws the same numbers.
        self.counts: dict[str, int] = {}

    def begin(self, fetches: Sequence[Element], feeds: Mapping[Tensor, Any]) -> list[Element]:
        """Takes the feeds of one part; returns those of its fetches that must still be run."""
        for t in feeds:
            if t not in self._feeds:
                raise FeedError(f"The feed {t.name} was not specified in partial_run_setup.")
            if t in self.values:
                raise FeedError(f"The feed {t.name} has already been fed.")
        for e in fetches:
            if e not in self._fetches:
                raise FetchError(f"The fetch {e.name} was not specified in partial_run_setup.")
        self.values.update(feeds)
        return [e for e in fetches if e not in self._finished]

    def end(self, fetches: Sequence[Element], ran: Sequence[Element], values: Sequence[Any]) -> list[Any]:
        """Keeps the values of one part; returns the values of all its fetches."""
        found = dict(zip(ran, values, strict=True))
        for e, value in found.items():
            if isinstance(e, Operation):
                self._finished.add(e)
            else:
                self.values.setdefault(e, value)
        return [found.get(e) for e in fetches]
