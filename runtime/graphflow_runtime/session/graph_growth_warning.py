"""Warns of ops that are built inside the loop that runs them: each round makes the graph larger and compiles anew."""

from __future__ import annotations

import warnings
from collections import Counter

from graphflow.framework.graph import Graph

#: How often one line may add ops between runs before it is taken for a loop.
_TOLERATED = 32


class GrowthWatch:
    """Counts, per user line, the runs before which it had added ops to the graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._seen = graph.version
        self._lines: Counter[tuple[str, int]] = Counter()
        self._started = False

    def check(self) -> None:
        """Called when a run meets something new."""
        # Ops from before the first run are no sign of a loop.
        version = self._graph.version
        new = self._graph._operations[self._seen : self._seen + 100] if self._started else ()
        self._seen = version
        self._started = True
        for line in {(op.created_at.filename, op.created_at.lineno): op for op in new}.items():
            place, op = line
            self._lines[place] += 1
            if self._lines[place] == _TOLERATED:
                warnings.warn(
                    f"ops are built in the loop that runs them: before each of {_TOLERATED} runs there were new ones from "
                    f"{op.created_at} (the latest is '{op.name}'). The graph only grows, and each is compiled anew: build "
                    "it once, before the loop, and feed what changes; tf.Graph.finalize() makes such a line an error.",
                    stacklevel=4,
                )
