"""What a plan is made for: the pattern of sizes alone, or, where shapes or axes follow from fed values, these values, too.

``tf.zeros([n, 3])`` of a fed n has no size that is known from the shapes of feeds, and ``tf.reduce_sum(x, k)`` of a fed k is
another program for each axis. Such programs are compiled for the values that are fed, as if these were constants.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from graphflow.framework.folding import MOST_ELEMENTS
from graphflow.framework.graph import Operation, Tensor
from graphflow.framework.records import record
from graphflow.framework.registry import TensorValue
from graphflow_compiler.frontend import steering_feeds, symbolize_shapes

Shapes: TypeAlias = tuple[tuple[int, ...], ...]

#: So many combinations of values are compiled for when they come first. Of others the first run is one in numpy: if a value
#: never comes again, as that of a counter, compiling for it would be all for nothing.
_AT_ONCE = 8
#: Combinations remembered for that.
_MOST_SEEN = 256


@record(frozen=True, slots=True)
class Case:
    """Feeds as a plan sees them: their shapes, and, one for each feed, the values that matter (or none at all)."""

    shapes: Shapes
    values: tuple[TensorValue | None, ...] = ()


class Particulars:
    """How much the plans of one executable have to know: no more than is needed, which is found by trying."""

    def __init__(self, fetches: Sequence[Tensor | Operation], feeds: Sequence[Tensor]) -> None:
        self.fetches, self.feeds = fetches, feeds
        #: Whether plans are for particular values of some feeds, and for particular sizes of all.
        self.by_value = self.by_size = False
        self._steering: frozenset[int] = frozenset()
        self._seen: OrderedDict[Case, None] = OrderedDict()
        self._made = 0

    @property
    def is_general(self) -> bool:
        """Whether plans depend on nothing but which sizes are 1."""
        return not self.by_value and not self.by_size

    def refine(self) -> bool:
        """Makes plans more particular, after one could not be made; False if they are as particular as can be."""
        if self.by_size:
            return False
        if not self.by_value:
            self._steering = frozenset(steering_feeds(self.fetches, self.feeds))
            self.by_value = bool(self._steering)
            if self.by_value:
                return True
        self.by_size = True
        return True

    def case_of(self, shapes: Shapes, feeds: Sequence[np.ndarray[Any, Any]] | None) -> Case | None:
        """The case of some feeds; None if their values matter but are not given, or are too many to be looked at."""
        if not self.by_value:
            return Case(shapes)
        if feeds is None or any(feeds[i].size > MOST_ELEMENTS for i in self._steering):
            return None
        return Case(shapes, tuple([TensorValue(a) if i in self._steering else None for i, a in enumerate(feeds)]))

    def signature_shapes(self, shapes: Shapes) -> Any:
        return shapes if self.by_size else symbolize_shapes(self.feeds, shapes)

    def is_worth_compiling(self, case: Case) -> bool:
        """Whether to compile for a case that has no plan. Is asked once for each run."""
        if self.is_general or case in self._seen:
            return True
        if self._made < _AT_ONCE:
            self._made += 1
            return True
        self._seen[case] = None
        while len(self._seen) > _MOST_SEEN:
            self._seen.popitem(last=False)
        return False
