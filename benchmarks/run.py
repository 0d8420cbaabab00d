"""Times graphflow beside every peer there is, and prints a table.

python benchmarks/run.py                     all rows, with every peer that can be imported
python benchmarks/run.py mlp digits          rows whose names contain one of these; besides the workloads there are
                                             first, kernels, import, peak, threads, neighbour and memory
python benchmarks/run.py --peer jax=PYTHON   a peer from another interpreter; as often as there are peers
python benchmarks/run.py --readme            all rows, written into README.md
python benchmarks/run.py scaling             long graphs: build, gradients, first run
"""

from __future__ import annotations

import argparse
import sys

from driver import PEERS, ROOT, find_sides
from results import QUICK, Effort
from rows import measure
from table import render, write_between


def _peer(text: str) -> tuple[str, str]:
    name, _, python = text.partition("=")
    if name not in PEERS or not python:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PYTHON with one of the names {', '.join(PEERS)}")
    return name, python


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="rows whose names contain one of these; none: all; or: scaling"
    )
    parser.add_argument("--peer", type=_peer, action="append", default=[], metavar="NAME=PYTHON", help="its interpreter")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--readme", action="store_true", help="write the table into README.md, between its two comments")
    options = parser.parse_args(arguments)
    only: list[str] = options.names
    if only == ["scaling"]:
        import scaling

        scaling.main()
        return
    if options.readme and only:
        parser.error("--readme writes all rows; leave the names out")
    effort = QUICK if options.quick else Effort()
    results = measure(find_sides(dict(options.peer)), effort, lambda row: not only or any(part in row for part in only))
    if not any((results.lines, results.shares, results.scaling, results.beside_neighbour, results.growth is not None)):
        parser.error(f"nothing is called {' or '.join(only)}, or nothing of it could be measured")
    text = render(results, effort)
    print(text)
    if options.readme:
        write_between(ROOT / "README.md", text)


if __name__ == "__main__":
    main(sys.argv[1:])
