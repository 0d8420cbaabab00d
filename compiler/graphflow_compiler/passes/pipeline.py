"""The order of the passes on Programs, one tuple, a reason for each place."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from graphflow.framework import environment
from graphflow.framework.records import record
from graphflow_compiler.ir import program as program_ir
from graphflow_compiler.ir.program import Program
from graphflow_compiler.passes.broadcasts import BROADCASTS
from graphflow_compiler.passes.expand import expand_composites
from graphflow_compiler.passes.rewrite import PassContext, Rule, apply_rules
from graphflow_compiler.passes.simplify import CANONICALISE, FOLD, SIMPLIFY


@record(frozen=True)
class Pass:
    name: str
    run: Callable[[Program, PassContext], Program]
    rules: tuple[Rule, ...] = ()  # those that it applies, if that is what it does


def _rules(name: str, *rules: Rule) -> Pass:
    return Pass(name, partial(_apply, rules), rules)


def _apply(rules: tuple[Rule, ...], program: Program, ctx: PassContext) -> Program:
    return apply_rules(program, rules, ctx)


CPU: tuple[Pass, ...] = (
    _rules("canonicalise", *CANONICALISE, *FOLD),  # first: fewer forms for every later rule to know
    Pass("expand_composites", expand_composites),  # before fusing: fusion knows primitive kinds only
    # after expanding: expansions leave identities behind, and repeat what need not be repeated
    _rules("simplify", *CANONICALISE, *FOLD, *SIMPLIFY, *BROADCASTS),
)


@record
class Dump:
    """Writes every level's text to ``GRAPHFLOW_DUMP=<dir>``, one numbered file a pass, and a summary."""

    folder: Path | None
    count: int = 0

    @staticmethod
    def from_environment(name: str) -> Dump:
        root = environment.text("GRAPHFLOW_DUMP")
        if not root:
            return Dump(None)
        base = Path(root)
        try:
            base.mkdir(parents=True, exist_ok=True)
            for i in range(100000):
                folder = base / f"{i:04d}_{name}"
                with suppress(FileExistsError):
                    folder.mkdir()
                    return Dump(folder)
        except OSError as e:
            _cannot_write(root, e)
        return Dump(None)

    def write(self, what: str, text: Callable[[], str], suffix: str = "txt") -> None:
        """`text` is made only if it is wanted."""
        if self.folder is not None:
            self._append(f"{self.count:02d}_{what}.{suffix}", text())
            self.count += 1

    def summary(self, line: str) -> None:
        self._append("summary.txt", line + "\n")

    def _append(self, name: str, text: str) -> None:
        if self.folder is None:
            return
        try:
            with (self.folder / name).open("a", encoding="utf-8") as f:
                f.write(text)
        except OSError as e:  # no room, say: the plan is made all the same
            _cannot_write(environment.text("GRAPHFLOW_DUMP"), e)
            self.folder = None


def _cannot_write(folder: str, e: OSError) -> None:
    environment.ignored("GRAPHFLOW_DUMP", folder, f"a folder that can be written ({e})", "nothing is written")


def run_passes(program: Program, ctx: PassContext, dump: Dump, passes: tuple[Pass, ...] = CPU) -> Program:
    """Runs the passes in order; each result is verified, and dumped where asked."""
    dump.write("program", partial(program_ir.to_text, program))
    for p in passes:
        start = time.perf_counter()
        before, fired = len(program.nodes), sum(ctx.fired.values())
        program = p.run(program, ctx)
        program_ir.verify(program)
        dump.write(p.name, partial(program_ir.to_text, program))
        dump.summary(
            f"{p.name}: {before} -> {len(program.nodes)} nodes, {sum(ctx.fired.values()) - fired} rules fired, "
            f"{(time.perf_counter() - start) * 1e3:.2f} ms"
        )
    if dump.folder is not None:
        dump.summary("fired: " + ", ".join(f"{k} {v}" for k, v in sorted(ctx.fired.items())))
    return replace(program, near_misses=tuple(miss for missed in ctx.near_misses.values() for miss in missed))
