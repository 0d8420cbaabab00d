"""What has been measured, as the table shows it."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from driver import OURS


@dataclass(frozen=True)
class Effort:
    """Rounds of steps and of whole processes; seconds of each variant in a round of steps.

    at_most: the most that our time should be of an earlier commit's; None: any.
    """

    steps: int = 5
    processes: int = 5
    step_s: float = 0.05
    at_most: float | None = None


QUICK = Effort(steps=3, processes=1, step_s=0.02)


@dataclass(frozen=True)
class Line:
    """One row: seconds of each side, and the ratio to the fastest framework with its target, both None where there is none."""

    title: str
    seconds: Mapping[str, float]
    ratio: float | None
    target: float | None
    absolute: bool = False  # the target is seconds
    ratios: Sequence[float] = ()  # our time divided by the earlier commit's, one for each time that the two were timed

    @property
    def to_before(self) -> float | None:
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def met(self) -> bool:
        value = self.seconds.get(OURS) if self.absolute else self.ratio
        return value is None or self.target is None or value <= self.target


@dataclass(frozen=True)
class Scaling:
    """Seconds of one workload on one and on two threads, and the least that the one should be of the other."""

    title: str
    one: float
    two: float
    target: float


@dataclass(frozen=True)
class Share:
    """What a product reaches on one thread, and what a core can do at best: both in operations a second."""

    title: str
    flops: float
    peak: float
    target: float


@dataclass
class Results:
    versions: dict[str, str] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=dict)  # of ours and of the earlier one, where there is one
    lines: list[Line] = field(default_factory=list)
    scaling: list[Scaling] = field(default_factory=list)
    beside_neighbour: list[Scaling] = field(default_factory=list)
    shares: list[Share] = field(default_factory=list)
    same_bits: dict[str, bool] = field(default_factory=dict)
    growth: int | None = None  # bytes, by many runs of random sizes
    notes: list[str] = field(default_factory=list)
    others: float | None = None  # cores that other processes kept busy meanwhile


def say(what: str) -> None:
    print(f"measuring {what}", file=sys.stderr, flush=True)
