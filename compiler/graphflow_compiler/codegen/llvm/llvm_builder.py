"""The text of one LLVM function while it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import field
from typing import TypeAlias

from graphflow.framework.records import record

Size: TypeAlias = int | str
"""An i64: a Python int where it is known at compile time, else the name of an SSA value."""


@record
class Lines:
    """The text of one function being written, and the declarations it needs."""

    text: list[str] = field(default_factory=list)
    entry: list[str] = field(default_factory=list)  # allocas
    declarations: set[str] = field(default_factory=set)
    count: int = 0
    fused: bool = True  # the machine multiplies and adds in one instruction

    def fresh(self, prefix: str = "v") -> str:
        self.count += 1
        return f"%{prefix}{self.count}"

    def label(self) -> str:
        self.count += 1
        return f"l{self.count}"

    def value(self, instruction: str) -> str:
        name = self.fresh()
        self.text.append(f"  {name} = {instruction}")
        return name

    def do(self, instruction: str) -> None:
        self.text.append(f"  {instruction}")

    def place(self, label: str) -> None:
        self.text.append(f"{label}:")

    def slot(self, type_: str) -> str:
        name = self.fresh("s")
        self.entry.append(f"  {name} = alloca {type_}")
        return name

    def declare(self, text: str) -> None:
        self.declarations.add(text)

    def pure(self, head: str, *operands: Size) -> str:
        """An instruction whose value depends on its operands alone: `LoopLines` finds the best place for it."""
        return self.value(f"{head} {', '.join(map(str, operands))}")

    def splat(self, element: str, lanes: int, value: str) -> str:
        """A scalar in all lanes."""
        vector = f"<{lanes} x {element}>"
        first = self.pure("insertelement", f"{vector} poison", f"{element} {value}", "i64 0")
        return self.pure("shufflevector", f"{vector} {first}", f"{vector} poison", f"<{lanes} x i32> zeroinitializer")

    # i64 arithmetic that folds constants: the passes of LLVM that would do it are not run
    def add(self, a: Size, b: Size) -> Size:
        if isinstance(a, int) and isinstance(b, int):
            return a + b
        if a == 0:
            return b
        return a if b == 0 else self.pure("add i64", a, b)

    def sub(self, a: Size, b: Size) -> Size:
        if isinstance(a, int) and isinstance(b, int):
            return a - b
        return a if b == 0 else self.pure("sub i64", a, b)

    def mul(self, a: Size, b: Size) -> Size:
        if isinstance(a, int) and isinstance(b, int):
            return a * b
        if 0 in (a, b):
            return 0
        if a == 1:
            return b
        return a if b == 1 else self.pure("mul i64", a, b)

    def index_binary(self, op: str, a: Size, b: Size) -> Size:
        """floordiv, mod (of a non-negative by a positive number), min, max."""
        if isinstance(a, int) and isinstance(b, int):
            return a // b if op == "floordiv" else a % b if op == "mod" else min(a, b) if op == "min" else max(a, b)
        if op in ("floordiv", "mod"):
            if not isinstance(b, int):
                # It may have been hoisted out of a loop that runs no rounds because this very size is 0.
                b = self.index_binary("max", b, 1)
            # Unsigned, since no side is negative: signed division would need a correction to floor.
            return self.pure(f"{'udiv' if op == 'floordiv' else 'urem'} i64", a, b)
        test = self.pure(f"icmp {'slt' if op == 'min' else 'sgt'} i64", a, b)
        return self.pure("select", f"i1 {test}", f"i64 {a}", f"i64 {b}")


@record
class LoopLines(Lines):
    """Lines that write what is `pure` once, and before all loops in which its operands do not change.

    Common subexpression elimination and loop-invariant code motion are done here, while text is written, because LLVM's
    passes for them are not run: they would cost more than the rest of the compilation.
    """

    _pieces: list[list[str]] = field(default_factory=list)  # for each open region, what came before it
    _levels: dict[str, int] = field(default_factory=dict)  # value -> number of regions around it; arguments are absent
    _known: list[dict[str, str]] = field(default_factory=lambda: [{}])

    @contextmanager
    def region(self) -> Iterator[None]:
        """A loop or a branch. What is pure may still be put before it while it is being written."""
        self._pieces.append(self.text)
        self.text = []
        self._known.append({})
        yield
        self._known.pop()
        before = self._pieces.pop()
        before += self.text
        self.text = before

    def when(self, condition: str, body: Callable[[], None]) -> None:
        """What `body` writes runs where the i1 is true."""
        run, end = self.label(), self.label()
        with self.region():
            self.do(f"br i1 {condition}, label %{run}, label %{end}")
            self.place(run)
            body()
            self.do(f"br label %{end}")
            self.place(end)

    def each(self, lo: Size, hi: Size, step: Size, body: Callable[[Size], None]) -> Size:
        """Runs body(i) for i = lo, lo + step, ... below hi; returns where it stopped."""
        if isinstance(lo, int) and isinstance(hi, int):
            if lo >= hi:
                return lo
            if hi - lo == step:
                body(lo)
                return hi
        # The counter is a stack slot, which SROA turns into a phi: one written here would have to name what comes later.
        slot, head, run, end = self.slot("i64"), self.label(), self.label(), self.label()
        with self.region():
            self.do(f"store i64 {lo}, ptr {slot}")
            self.do(f"br label %{head}")
            self.place(head)
            i = self.value(f"load i64, ptr {slot}")
            more = self.value(f"icmp slt i64 {i}, {hi}")
            self.do(f"br i1 {more}, label %{run}, label %{end}")
            self.place(run)
            body(i)
            following = self.value(f"add i64 {i}, {step}")
            self.do(f"store i64 {following}, ptr {slot}")
            self.do(f"br label %{head}")
            self.place(end)
        return hi if isinstance(lo, int) and isinstance(hi, int) else self.value(f"load i64, ptr {slot}")

    def value(self, instruction: str) -> str:
        name = super().value(instruction)
        self._levels[name] = len(self._pieces)
        return name

    def pure(self, head: str, *operands: Size) -> str:
        body = f"{head} {', '.join(map(str, operands))}"
        level = max((self._level(o) for o in operands if isinstance(o, str)), default=0)
        return self._place(level, body)

    def _level(self, operand: str) -> int:
        # An operand may come with its type, so its name is the last word. Arguments and literals are known everywhere.
        return self._levels.get(operand[operand.rfind(" ") + 1 :], 0)

    def _place(self, level: int, body: str) -> str:
        known = self._known[level]
        name = known.get(body)
        if name is None:
            name = known[body] = self.fresh()
            self._levels[name] = level
            text = self._pieces[level] if level < len(self._pieces) else self.text
            text.append(f"  {name} = {body}")
        return name
