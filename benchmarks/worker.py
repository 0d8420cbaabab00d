"""One side of the comparison in a process of its own, run by the interpreter that has the library.

python worker.py SIDE                       answers requests, one JSON object a line, until its input ends
python worker.py SIDE --first WORKLOAD      prints the seconds from the environment's START to its first step
python worker.py SIDE --digits FILE         trains on handwritten digits, prints the test accuracy
python worker.py graphflow --kernels        prints the seconds of the first run of 100 different kernels
python worker.py graphflow --kernels-later  the same, where the process has run a session before
"""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import os
import sys
import time
from typing import Any, TextIO

import numpy as np
from workloads import BATCH, DIGITS_SIZES, EPOCHS, WORKLOADS, Step, parameters

WARM_UP_S = 0.2  # several libraries adapt to what they have seen so far


def serve(side: Any, requests: TextIO, answers: TextIO) -> None:
    """Requests: setup WORKLOAD; time VARIANT COUNT; and of graphflow digest WORKLOAD; peak; growth RUNS.

    The last workload set up is the one timed.
    """
    steps: dict[str, Step] = {}
    answers.write(json.dumps({"version": side.version(), "kinds": list(side.BUILD)}) + "\n")
    for line in requests:
        request = json.loads(line)
        try:
            if request["do"] == "setup":
                steps.clear()
                gc.collect()
                answer = setup(side, request["workload"], steps)
            elif request["do"] == "time":
                answer = timed(steps[request["variant"]], request["count"])
            elif request["do"] == "digest":
                answer = side.digest(request["workload"])
            elif request["do"] == "peak":
                answer = side.peak()
            else:
                answer = side.growth(request["runs"])
        except Exception as error:  # a peer that fails is left out, with what it said
            answer = failure(error)
        answers.write(json.dumps(answer) + "\n")


def setup(side: Any, name: str, steps: dict[str, Step]) -> dict[str, Any]:
    """Builds every variant. Of each: the results of its first three runs, and about how long one takes."""
    workload = WORKLOADS[name]
    found: dict[str, Any] = {}
    for variant, build in side.BUILD[workload.kind](*workload.sizes).items():
        try:
            step = build()
            results = [float(step()) for _ in range(3)]
            seconds = timed(step, 1)
            if seconds < 0.01:
                seconds = timed(step, max(3, int(WARM_UP_S / seconds)))
        except Exception as error:  # the other variants may do
            found[variant] = failure(error)
        else:
            found[variant] = {"results": results, "seconds": seconds}
            steps[variant] = step
    return found


def timed(step: Step, count: int) -> float:
    """Seconds of one step, of `count` in a row. As in `timeit`, without the cyclic garbage collector."""
    gc.disable()
    try:
        start = time.perf_counter()
        for _ in itertools.repeat(None, count):
            step()
        return (time.perf_counter() - start) / count
    finally:
        gc.enable()


def failure(error: Exception) -> dict[str, str]:
    return {"error": f"{type(error).__name__}: {str(error).strip()[:200]}"}


def first_step(side: Any, name: str) -> None:
    workload = WORKLOADS[name]
    build = next(iter(side.BUILD[workload.kind](*workload.sizes).values()))
    build()()
    print(time.time() - float(os.environ["START"]))


def digits(side: Any, file: str) -> None:
    """What samples/digits_mlp.py does: the same images in the same order, network, optimizer and epochs."""
    table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    images, labels = table[:, :-1] / 16, table[:, -1].astype(np.int32)
    order = np.random.default_rng(14).permutation(len(images))
    cut = len(images) * 4 // 5
    train, test = order[:cut], order[cut:]
    step, predict = side.classifier(parameters(DIGITS_SIZES, 140))
    rng = np.random.default_rng(15)
    for _ in range(EPOCHS):
        order = rng.permutation(cut)
        for i in range(0, cut - BATCH + 1, BATCH):
            batch = train[order[i : i + BATCH]]
            step(images[batch], labels[batch])
    print(float(np.mean(predict(images[test]).argmax(1) == labels[test])))


def first_run_of_many_kernels(side: Any, later: bool) -> None:
    graph, fetches, feeds = side.many_kernels()
    import graphflow as gf

    if later:  # LLVM and the compiler are loaded
        with gf.Graph().as_default(), gf.Session() as session:
            session.run(gf.constant(1.0) + 1.0)
    with gf.Session(graph=graph) as session:
        start = time.perf_counter()
        session.run(fetches, feeds)
        print(time.perf_counter() - start)


def main(arguments: list[str]) -> None:
    side: Any = importlib.import_module(f"peers.{arguments[0]}")
    match arguments[1:]:
        case []:
            answers = os.fdopen(os.dup(1), "w", buffering=1)
            os.dup2(2, 1)  # what a library prints must not mix with the answers
            serve(side, sys.stdin, answers)
        case ["--first", workload]:
            first_step(side, workload)
        case ["--digits", file]:
            digits(side, file)
        case ["--kernels"]:
            first_run_of_many_kernels(side, later=False)
        case ["--kernels-later"]:
            first_run_of_many_kernels(side, later=True)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
