"""Random programs: what the compiler makes of them against the reference backend, forward and gradient."""

from __future__ import annotations

import os

import pytest

from tests.native_ops import refuse_to_compile
from tests.random_programs import run

COUNT = int(os.environ.get("GRAPHFLOW_RANDOM_PROGRAMS", "500"))
FIRST = int(os.environ.get("GRAPHFLOW_RANDOM_SEED", "1000"))
BATCHES = 10


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_programs(batch: int) -> None:
    """Seeds are printed, so that a failure is one command away from being run alone."""
    seeds = range(FIRST + batch, FIRST + COUNT, BATCHES)
    print(f"seeds {seeds.start}..{seeds.stop} step {seeds.step}")
    for seed in seeds:
        run(seed)


def test_without_the_compiler_no_program_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_to_compile(monkeypatch)
    for seed in range(FIRST, FIRST + 5):
        with pytest.raises(AssertionError, match=f"seed {seed}: .* runs were in numpy: .*nothing is compiled in this test"):
            run(seed)
