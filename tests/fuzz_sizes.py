"""Random expressions of sizes against Python's integers.

    python -m tests.fuzz_sizes --seed 1 --count 200000 --threads 3 [--checked]

Each program has some hundred expressions of the sizes of its placeholders, which are fetched as numbers or used as shapes,
slices, ranges and paddings, for several sets of sizes. Where Python's integers say that a run must fail (a division by 0, a
number that does not fit its type, a negative size), it has to fail with an error of the library's that names an op.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

import graphflow as gf
from graphflow.framework.errors import OpError
from tests.size_expressions import Fails, Sizes, Source
from tests.size_uses import Use, used

#: Expressions of a program, sets of sizes that it runs with, and runs of it that have to fail.
IN_A_PROGRAM, RUNS, FAILING_RUNS = 200, 4, 4


class Difference(AssertionError):
    """A result is not what Python's integers say."""


def program(seed: int, count: int, threads: int = 0, backend: str = "native") -> int:
    """Runs the program of a seed, and returns in how many runs native code could not serve. Raises Difference."""
    rng = random.Random(seed)
    with gf.Graph().as_default() as graph:
        source = Source(rng)
        uses: list[Use] = []
        while len(uses) < count:
            try:
                uses.append(used(source))
            except ValueError:  # refused while the graph is built, because it can never be right
                continue
    sets = [source.draw() for _ in range(RUNS)]
    wanted = [[_wanted(u, s) for u in uses] for s in sets]
    config = gf.ConfigProto(intra_op_parallelism_threads=threads)
    with gf.Session(graph=graph, config=config, backend=backend) as session:
        always = [i for i in range(count) if not any(isinstance(w[i], Fails) for w in wanted)]
        for s, w in zip(sets, wanted, strict=True):
            _check(session, source, s, [uses[i] for i in always], [w[i] for i in always])
        # What has a result for some sizes only has a program of its own there.
        sometimes = [i for i in range(count) if i not in set(always)]
        s, w = sets[0], wanted[0]
        here = [i for i in sometimes if not isinstance(w[i], Fails)]
        _check(session, source, s, [uses[i] for i in here], [w[i] for i in here])
        failing = [(k, i) for k in range(len(sets)) for i in sometimes if isinstance(wanted[k][i], Fails)]
        for k, i in rng.sample(failing, min(FAILING_RUNS, len(failing))):
            _check_failure(session, source, sets[k], uses[i], wanted[k][i])
        return int(session.stats.host_fallbacks)


def _wanted(use: Use, sizes: Sizes) -> Any:
    try:
        return use.result(sizes)
    except Fails as e:
        return e


def _feeds(source: Source, sizes: Sizes) -> dict[Any, Any]:
    shapes = {x: [sizes[d] if isinstance(d, str) else d for d in dims] for x, dims in source.arrays}
    return {x: np.ones(shape, x.dtype.as_numpy_dtype) for x, shape in shapes.items()}


def _check(session: Any, source: Source, sizes: Sizes, uses: Sequence[Use], wanted: Sequence[Any]) -> None:
    if not uses:
        return
    try:
        found = session.run([u.tensor for u in uses], _feeds(source, sizes))
    except OpError as e:
        culprit = next((u.text for u in uses if _fails_alone(session, source, sizes, u)), "each alone runs")
        raise Difference(f"for {sizes} it fails: {culprit}\n{e}") from e
    for u, have, want in zip(uses, found, wanted, strict=True):
        same = np.shape(have) == np.shape(want) and np.array_equal(have, want)
        if not same:
            raise Difference(f"for {sizes}: {u.text} is {_short(have)}, not {_short(want)}")


def _fails_alone(session: Any, source: Source, sizes: Sizes, use: Use) -> bool:
    try:
        session.run(use.tensor, _feeds(source, sizes))
    except OpError:
        return True
    return False


def _check_failure(session: Any, source: Source, sizes: Sizes, use: Use, why: Fails) -> None:
    try:
        found = session.run(use.tensor, _feeds(source, sizes))
    except OpError as e:
        if e.op is None:
            raise Difference(f"for {sizes}: the error of {use.text} names no op: {e}") from e
        return
    except Exception as e:
        raise Difference(f"for {sizes}: {use.text} ends with {type(e).__name__}: {e}") from e
    raise Difference(f"for {sizes}: {use.text} is {_short(found)}, but {why}")


def _short(a: Any) -> str:
    return f"{np.shape(a)} {np.asarray(a).ravel()[:20].tolist()}"


def fuzz(seed: int, count: int, threads: int = 0, seconds: float = 0.0, backend: str = "native") -> tuple[int, int]:
    """Runs programs until `count` expressions (or for some seconds): how many expressions, and runs in numpy.

    Raises Difference, whose text says with which seed and count the program alone is run again.
    """
    done = fallbacks = 0
    end = time.monotonic() + seconds
    while done < count and not (seconds and time.monotonic() > end):
        size = min(IN_A_PROGRAM, count - done)
        try:
            fallbacks += program(seed, size, threads, backend)
        except Exception as e:
            again = f"python -m tests.fuzz_sizes --seed {seed} --count {size} --threads {threads}"
            raise Difference(f"{again}\n{type(e).__name__}: {e}") from e
        done += size
        seed += 1
    return done, fallbacks


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--seed", type=int, default=None, help="of the first program; the next has the next (default: the time)"
    )
    parser.add_argument("--count", type=int, default=20_000, help="how many expressions")
    parser.add_argument("--threads", type=int, default=1, help="that each run takes, however small it is")
    parser.add_argument("--checked", action="store_true", help="with checks of each access to memory (GRAPHFLOW_CHECKED)")
    parser.add_argument("--backend", default="native", choices=("native", "reference"))
    given = parser.parse_args()
    if given.checked:
        os.environ["GRAPHFLOW_CHECKED"] = "1"
    os.environ.setdefault("GRAPHFLOW_CACHE_DIR", "")  # no program is run twice
    seed = time.time_ns() % 10**9 if given.seed is None else given.seed
    print(f"seed {seed}, {given.count} expressions, {given.threads} threads", flush=True)
    start = time.monotonic()
    if given.threads > 1:
        force_threads(given.threads)
    try:
        done, fallbacks = fuzz(seed, given.count, given.threads, backend=given.backend)
    except Difference as e:
        print(f"FAILED\n{e}")
        return 1
    print(f"{done} expressions are right, {time.monotonic() - start:.0f} s; {fallbacks} runs in numpy")
    return 0


def force_threads(count: int) -> None:
    """Makes every plan of this process take so many threads, however small it is."""
    import pytest

    from graphflow_runtime.executor.threads import Pool
    from tests.forced_threads import force

    force(Pool(count).start(), pytest.MonkeyPatch())


if __name__ == "__main__":
    sys.exit(main())
