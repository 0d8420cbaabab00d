"""Writes the nest around a register tile: loops, branches, and index arithmetic that is shared between uses.

The tiles of one product repeat the same addresses up to constants. LLVM would find that out, but the passes that do are
not run (they would cost more than all the rest of the compilation), so the writer itself remembers what it has computed
and adds constants last, where the addressing modes of loads and stores take them for nothing.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field
from typing import TypeAlias

from graphflow.framework.records import record
from graphflow_compiler.codegen.llvm.instructions import Lines

Size: TypeAlias = int | str
"""An i64: a Python int where it is known at compile time, else the name of an SSA value."""

Flag: TypeAlias = bool | str
"""An i1, likewise."""

_COMPARE = {
    "slt": operator.lt,
    "sle": operator.le,
    "sgt": operator.gt,
    "sge": operator.ge,
    "eq": operator.eq,
    "ne": operator.ne,
}


@record
class NestLines(Lines):
    """`Lines` with structured control flow and remembered arithmetic.

    What is remembered inside a block is forgotten after it, as its values do not dominate what follows.
    """

    _known: dict[tuple[object, ...], str] = field(default_factory=dict)  # instruction -> its value
    _scope: list[tuple[object, ...]] = field(default_factory=list)  # what was added in the innermost block
    _terms: dict[str, tuple[str, int]] = field(default_factory=dict)  # value -> (base, constant) it is the sum of

    # ------------------------------------------------------------------------------------------ control flow
    def begin(self, label: str) -> None:
        """Goes from the current block into the new block `label`."""
        self.do(f"br label %{label}")
        self.place(label)

    def branch(self, condition: Flag, then: str, otherwise: str) -> None:
        if isinstance(condition, bool):
            condition = "true" if condition else "false"
        self.do(f"br i1 {condition}, label %{then}, label %{otherwise}")

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Forgets at its end what was computed inside."""
        outer, self._scope = self._scope, []
        yield
        for instruction in self._scope:
            del self._known[instruction]
        self._scope = outer

    @contextmanager
    def loop(self, first: Size, end: Size, step: Size = 1) -> Iterator[Size]:
        """Counts from `first` below `end`. Where that is known to be one round there is no loop."""
        if isinstance(first, int) and isinstance(end, int) and isinstance(step, int) and first < end <= first + step:
            yield first
            return
        slot, head, body, after = self.slot("i64"), self.label(), self.label(), self.label()
        self.do(f"store i64 {first}, ptr {slot}")
        self.begin(head)
        counter = self.value(f"load i64, ptr {slot}")
        self.branch(self.value(f"icmp slt i64 {counter}, {end}"), body, after)
        self.place(body)
        with self.scope():
            yield counter
            self.do(f"store i64 {self.add(counter, step)}, ptr {slot}")
        self.do(f"br label %{head}")
        self.place(after)

    @contextmanager
    def when(self, condition: Flag) -> Iterator[None]:
        """What is written inside runs where the condition holds; if that is known to be false, the text is thrown away."""
        mark = len(self.text)
        then, after = self.label(), self.label()
        if not isinstance(condition, bool):
            self.branch(condition, then, after)
            self.place(then)
        with self.scope():
            yield
        if not isinstance(condition, bool):
            self.begin(after)
        elif not condition:
            del self.text[mark:]

    # ------------------------------------------------------------------------------------------ arithmetic
    def once(self, *instruction: object) -> str:
        """The value of an instruction without side effects, computed once in the enclosing blocks."""
        found = self._known.get(instruction)
        if found is None:
            found = self._known[instruction] = self.value("".join(map(str, instruction)))
            self._scope.append(instruction)
        return found

    def _split(self, a: Size) -> tuple[str, int]:
        """(base, constant); the base of a constant is ""."""
        if isinstance(a, int):
            return "", a
        return self._terms.get(a, (a, 0))

    def _sum(self, base: str, constant: int) -> Size:
        if not base:
            return constant
        if not constant:
            return base
        name = self.once("add i64 ", base, ", ", constant)
        self._terms[name] = base, constant
        return name

    def add(self, a: Size, b: Size) -> Size:
        # Operands are sorted, so that a + b and b + a are found to be one value.
        (x, c), (y, d) = self._split(a), self._split(b)
        base = self.once("add i64 ", min(x, y), ", ", max(x, y)) if x and y else x or y
        return self._sum(base, c + d)

    def sub(self, a: Size, b: Size) -> Size:
        (x, c), (y, d) = self._split(a), self._split(b)
        if x == y:
            return c - d
        base = x if not y else self.once("sub i64 ", x or "0", ", ", y)
        return self._sum(base, c - d)

    def mul(self, a: Size, b: Size) -> Size:
        (x, c), (y, d) = self._split(a), self._split(b)
        if x and y:  # (x + c) * (y + d): the products with constants are shared between rows
            product: Size = self.once("mul i64 ", min(x, y), ", ", max(x, y))
            return self.add(product, self.add(self.add(self._scaled(x, d), self._scaled(y, c)), c * d))
        return self._sum(self._base(self._scaled(x or y, d if x else c)), c * d)

    def _scaled(self, base: str, factor: int) -> Size:
        if not base or not factor:
            return 0
        return base if factor == 1 else self.once("mul i64 ", base, ", ", factor)

    @staticmethod
    def _base(a: Size) -> str:
        return a if isinstance(a, str) else ""

    def index_binary(self, op: str, a: Size, b: Size) -> Size:
        if isinstance(a, int) and isinstance(b, int):
            return super().index_binary(op, a, b)
        if op in ("floordiv", "mod"):
            if b == 1:
                return a if op == "floordiv" else 0
            return self.once("udiv i64 " if op == "floordiv" else "urem i64 ", a, ", ", b)
        return self.choose(self.compare("slt" if op == "min" else "sgt", a, b), a, b)

    def div(self, a: Size, b: Size) -> Size:
        return self.index_binary("floordiv", a, b)

    def mod(self, a: Size, b: Size) -> Size:
        return self.index_binary("mod", a, b)

    def least(self, a: Size, b: Size) -> Size:
        return self.index_binary("min", a, b)

    def most(self, a: Size, b: Size) -> Size:
        return self.index_binary("max", a, b)

    def compare(self, predicate: str, a: Size, b: Size) -> Flag:
        if isinstance(a, int) and isinstance(b, int):
            return bool(_COMPARE[predicate](a, b))
        return self.once("icmp ", predicate, " i64 ", a, ", ", b)

    def choose(self, condition: Flag, a: Size, b: Size) -> Size:
        if isinstance(condition, bool):
            return a if condition else b
        return a if a == b else self.once("select i1 ", condition, ", i64 ", a, ", i64 ", b)

    def both(self, a: Flag, b: Flag) -> Flag:
        if isinstance(a, bool):
            return b if a else False
        if isinstance(b, bool):
            return a if b else False
        return self.once("and i1 ", a, ", ", b)

    def either(self, a: Flag, b: Flag) -> Flag:
        return self.negate(self.both(self.negate(a), self.negate(b)))

    def negate(self, a: Flag) -> Flag:
        return not a if isinstance(a, bool) else self.once("xor i1 ", a, ", true")

    # ------------------------------------------------------------------------------------------ pointers and vectors
    def at(self, element: str, pointer: str, offset: Size) -> str:
        """The address `offset` elements after `pointer`, constants last."""
        base, constant = self._split(offset)
        if base:
            pointer = self.once("getelementptr ", element, ", ptr ", pointer, ", i64 ", base)
        return self.once("getelementptr ", element, ", ptr ", pointer, ", i64 ", constant) if constant else pointer

    def opaque(self, pointer: str) -> str:
        """The same pointer, of unknown origin to LLVM until its loop passes are over.

        Loop strength reduction tries to replace every address in a loop by induction variables; with the many
        addresses of an unrolled tile it took 80 of the 126 ms to compile a kernel, and made no better code.
        """
        self.declare("declare ptr @llvm.launder.invariant.group.p0(ptr)")
        return self.value(f"call ptr @llvm.launder.invariant.group.p0(ptr {pointer})")

    def call(self, result: str, function: str, *arguments: str) -> str:
        """Calls an intrinsic and declares it. Each argument is written ``type value``."""
        self.declare(f"declare {result} {function}({', '.join(_type_of(a) for a in arguments)})")
        text = f"call {result} {function}({', '.join(arguments)})"
        if result == "void":
            self.do(text)
            return ""
        return self.value(text)

    def shuffle(self, vector: str, a: str, b: str, order: Sequence[int]) -> str:
        numbers = ", ".join(f"i32 {x}" for x in order)
        return self.value(f"shufflevector {vector} {a}, {vector} {b}, <{len(order)} x i32> <{numbers}>")


def _type_of(argument: str) -> str:
    return argument[: argument.index(">") + 1] if argument.startswith("<") else argument.split(" ", 1)[0]
