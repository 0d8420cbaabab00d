"""Partial runs: what was fed and fetched in earlier parts counts as fed in the next part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphflow.framework.errors import InvalidArgumentError
from graphflow.framework.graph import Operation, Tensor
from graphflow_runtime.session.fetches import Element


class PartialRun:
    """The handle that `Session.partial_run_setup` gives out. Every operation that is fetched runs once."""

    def __init__(self, feeds: set[Tensor], fetches: set[Element]) -> None:
        if not fetches:
            raise InvalidArgumentError(message="Must specify at least one target to fetch or execute.")
        self._feeds = feeds
        self._fetches = fetches
        self._fed: set[Tensor] = set()
        self._fetched: set[Element] = set()
        #: What a part is fed with besides its own feeds: all that earlier parts were fed with, and their results.
        self.values: dict[Tensor, Any] = {}
        #: The counts at which its parts execute random ops: a later part that needs one again draws the same numbers.
        self.counts: dict[str, int] = {}

    def begin(self, fetches: Sequence[Element], feeds: Mapping[Tensor, Any]) -> list[Element]:
        """Checks one part; returns those of its fetches that must still be run."""
        if self._feeds == self._fed and self._fetches == self._fetched:
            raise not_set_up()
        for t in feeds:
            if t not in self._feeds:
                raise InvalidArgumentError(t.op.node_def, t.op, f"The feed {t.name} was not specified in partial_run_setup.")
            if t in self._fed:
                raise InvalidArgumentError(t.op.node_def, t.op, f"The feed {t.name} has already been fed.")
        for e in fetches:
            op = e if isinstance(e, Operation) else e.op
            if e not in self._fetches:
                raise InvalidArgumentError(op.node_def, op, f"The fetch {e.name} was not specified in partial_run_setup.")
            # TensorFlow takes no operations here; ours say nothing but that they have run, so asking twice does no harm.
            if e in self._fetched and e is not op:
                raise InvalidArgumentError(op.node_def, op, f"The fetch {e.name} has already been fetched.")
        return [e for e in fetches if e not in self._fetched]

    def end(
        self, fetches: Sequence[Element], feeds: Mapping[Tensor, Any], ran: Sequence[Element], values: Sequence[Any]
    ) -> list[Any]:
        """Keeps what one part was fed with and found, now that it has succeeded; returns the values of all its fetches."""
        found = dict(zip(ran, values, strict=True))
        self._fed.update(feeds)
        self._fetched.update(ran)
        self.values.update(feeds)
        for e, value in found.items():
            if not isinstance(e, Operation):
                self.values.setdefault(e, value)
        return [found.get(e) for e in fetches]


def not_set_up() -> InvalidArgumentError:
    """The error of a handle that is none, or whose run is complete."""
    return InvalidArgumentError(message="Must run 'setup' before performing partial runs!")
