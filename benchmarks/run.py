"""Times graphflow beside every peer there is, and prints a table.

python benchmarks/run.py                     all rows, with every peer that can be imported
python benchmarks/run.py mlp digits          rows whose names contain one of these; besides the workloads there are
                                             first, kernels, import, peak, threads, neighbour and memory
python benchmarks/run.py --peer jax=PYTHON   a peer from another interpreter; as often as there are peers

python benchmarks/run.py --peer graphflow=PYTHON    an earlier commit of graphflow, installed in the environment of
                                                    that interpreter, beside this checkout; adds the row one-thread
                         --peer graphflow@v2=PYTHON the same, called v2 in the table; else its commit where it is
                                                    imported from a git checkout, or its version
                         --at-most 1.05             status 1 if a row takes over 1.05 of its time

python benchmarks/run.py --readme            all rows, written into README.md
python benchmarks/run.py scaling             long graphs: build, gradients, first run
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace

from before import too_slow, whole, with_earlier
from driver import BEFORE, OURS, PEERS, ROOT, WorkerError, find_sides
from results import QUICK, Effort
from rows import measure
from table import render, write_between


@dataclass(frozen=True)
class _Peer:
    name: str
    python: str
    commit: str = ""  # as the user calls it


def _peer(text: str) -> _Peer:
    called, _, python = text.partition("=")
    name, at, commit = called.partition("@")
    if name not in (OURS, *PEERS) or not python or (at and (name != OURS or not commit)):
        names = ", ".join((OURS, *PEERS))
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PYTHON, or {OURS}@COMMIT=PYTHON, with one of the names {names}")
    return _Peer(BEFORE if name == OURS else name, whole(python), commit)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="rows whose names contain one of these; none: all; or: scaling"
    )
    parser.add_argument("--peer", type=_peer, action="append", default=[], metavar="NAME=PYTHON", help="its interpreter")
    parser.add_argument(
        "--at-most", type=float, metavar="RATIO", help="the most of the earlier commit's time that a row may take"
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--readme", action="store_true", help="write the table into README.md, between its two comments")
    options = parser.parse_args(arguments)
    only: list[str] = options.names
    if only == ["scaling"]:
        import scaling

        scaling.main()
        return 0
    if options.readme and only:
        parser.error("--readme writes all rows; leave the names out")
    peers: dict[str, _Peer] = {peer.name: peer for peer in options.peer}
    earlier = peers.pop(BEFORE, None)
    if earlier is None and options.at_most is not None:
        parser.error(f"--at-most compares with an earlier commit: name it by --peer {OURS}=PYTHON")
    if earlier is not None and options.readme:
        parser.error("--readme writes the table without an earlier commit; leave that out")
    sides = find_sides({name: peer.python for name, peer in peers.items()})
    different: list[str] = []
    if earlier is not None:
        try:
            sides, different = with_earlier(sides, earlier.python, earlier.commit)
        except WorkerError as error:
            parser.error(str(error))
    effort = replace(QUICK if options.quick else Effort(), at_most=options.at_most)
    results = measure(sides, effort, lambda row: not only or any(part in row for part in only))
    results.notes += different
    if not any((results.lines, results.shares, results.scaling, results.beside_neighbour, results.growth is not None)):
        parser.error(f"nothing is called {' or '.join(only)}, or nothing of it could be measured")
    text = render(results, effort)
    print(text)
    if options.readme:
        write_between(ROOT / "README.md", text)
    slow = [] if effort.at_most is None else too_slow(results, effort.at_most)
    for line in slow:
        print(f"too slow: {line}", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
