"""Checked code: every load and store of a kernel is made to show that it stays inside what it may touch.

This works on the finished text of a function, whoever wrote it, so no writer of kernels can forget a place. Each pointer is
followed to the objects that it may point into: buffers of the kernel, its scratch, arrays on its stack. Where there are
several (a choice between the result and the stack) the object travels beside the pointer, so an access is held against the
one that it was meant for, not against a neighbour in memory. An access that is outside is noted in the kernel's guard and
goes to a place where it does no harm; the kernel then returns `OUTSIDE`. What is scratch begins with NaNs, or with numbers
that stand out, so that reading what was never written shows as well.

The guard is one more argument after the buffers and the scratch, an array of int64: `GUARD_WORDS` for the first access that
was outside, then the bytes of every buffer and of the scratch of one thread.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from graphflow.framework.dtypes import DType
from graphflow.framework.errors import CompileError
from graphflow.framework.records import record
from graphflow_compiler.codegen.llvm.checks_text import GUARD_WORDS, OUTSIDE, POISON_FLOAT, POISON_OTHER

_SIZES = {"i8": 1, "i16": 2, "half": 2, "i32": 4, "float": 4, "i64": 8, "double": 8, "ptr": 8}
_NAME = r"%[\w.]+"
_MANY = re.compile(r"[<\[](\d+) x (\w+)[>\]]")
_HEAD = re.compile(r"^define i32 @\w+\(([^)]*)\)")
_ALLOCA = re.compile(rf"^  ({_NAME}) = alloca ([^,]+)")
_DERIVED = re.compile(
    rf"^  ({_NAME}) = (?:getelementptr [^,]+, ptr ({_NAME}), i64 \S+|call ptr @llvm\.launder\.\S+\(ptr ({_NAME})\))$"
)
_SELECT = re.compile(rf"^  ({_NAME}) = select i1 (\S+), ptr ({_NAME}), ptr ({_NAME})$")
_PHI = re.compile(rf"^  ({_NAME}) = phi ptr (.*)$")
_INCOMING = re.compile(rf"\[ ({_NAME}), ({_NAME}) \]")
_KEEP = re.compile(rf"^  store ptr ({_NAME}), ptr ({_NAME})$")
_TAKE = re.compile(rf"^  ({_NAME}) = load ptr, ptr ({_NAME})$")
_LOAD = re.compile(rf"^  {_NAME} = load ([^,]+), ptr ({_NAME})(?:,|$)")
_STORE = re.compile(rf"^  store (<[^>]*>|\w+) .*, ptr ({_NAME})(?:,|$)")
_LANES = rf"ptr ({_NAME}), i32 \d+, (<\d+ x i1>) (.+)"
_MASKED_LOAD = re.compile(rf"^  {_NAME} = call (<[^>]*>) @llvm\.masked\.load\.\S+\({_LANES}, <[^>]*> zeroinitializer\)$")
_MASKED_STORE = re.compile(rf"^  call void @llvm\.masked\.store\.\S+\((<[^>]*>) .+, {_LANES}\)$")
_COPY = re.compile(rf"^  call void @llvm\.memcpy\.\S+\(ptr ({_NAME}), ptr ({_NAME}), i64 (\S+), i1 false\)$")
_RETURN = re.compile(r"^  ret i32 (\S+)$")
_PREFETCH = "  call void @llvm.prefetch."
_DECLARATIONS = (
    "declare ptr @graphflow_checked(ptr, i64, ptr, ptr, i64)",
    "declare ptr @graphflow_checked_lanes(ptr, i64, i64, ptr, ptr, i64)",
    "declare void @graphflow_checked_copy(ptr, ptr, i64, ptr, ptr, ptr)",
    "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)",
)


def checked_text(text: str, scratch: Mapping[int, DType]) -> str:
    """The text of a kernel with checks. `scratch`: which of its pointers each thread has a part of, and what they hold.

    Raises:
        CompileError: something is done with a pointer that this module does not know.
    """
    return _Function(text, scratch).text()


def poison_of(dtype: DType) -> int:
    return POISON_FLOAT if dtype.is_floating else POISON_OTHER


@record(frozen=True, slots=True)
class _Pointer:
    """Where a pointer comes from: derived from one other, chosen among several, or what a stack slot was given."""

    sources: tuple[str, ...] = ()
    slot: str = ""
    is_derived: bool = False


class _Function:
    def __init__(self, text: str, scratch: Mapping[int, DType]) -> None:
        lines = text.split("\n")
        at = next(i for i, line in enumerate(lines) if line.startswith("define "))
        self.before, self.lines = lines[: at + 1], lines[at + 1 :]
        found = _HEAD.search(lines[at])
        assert found is not None
        self.arguments = [name for kind, name in (p.split() for p in found[1].split(", ")) if kind == "ptr"]
        self.scratch = {self.arguments[i]: dtype for i, dtype in scratch.items()}
        self.allocas: dict[str, int] = {}  # name -> bytes
        self.pointers: dict[str, _Pointer] = {}
        self.kept: dict[str, list[str]] = {}  # stack slot -> the pointers stored there
        self._roots: dict[str, frozenset[str]] = {}
        self.objects: dict[str, int] = {}  # argument or alloca -> its number, for those that are accessed
        self.out: list[str] = []
        self.count = 0

    def text(self) -> str:
        for line in self.lines:
            self.collect(line)
        last = max((i for i, line in enumerate(self.lines) if _ALLOCA.match(line)), default=0)
        for line in self.lines[last + 1 :]:
            self.line(line)
        head = self.before[-1].replace("i64 %", "ptr %guard, i64 %", 1)  # between the pointers and the numbers
        return "\n".join([*_DECLARATIONS, *self.before[:-1], head, *self.lines[: last + 1], *self.prologue(), *self.out])

    # ------------------------------------------------------------------ where pointers come from
    def collect(self, line: str) -> None:
        if " ptr" not in line and "alloca" not in line:
            return
        if found := _ALLOCA.match(line):
            self.allocas[found[1]] = _bytes(found[2])
        elif found := _DERIVED.match(line):
            self.pointers[found[1]] = _Pointer((found[2] or found[3],), is_derived=True)
        elif found := _SELECT.match(line):
            self.pointers[found[1]] = _Pointer((found[3], found[4]))
        elif found := _PHI.match(line):
            self.pointers[found[1]] = _Pointer(tuple(value for value, _ in _INCOMING.findall(found[2])))
        elif found := _KEEP.match(line):
            self.kept.setdefault(found[2], []).append(found[1])
        elif found := _TAKE.match(line):
            self.pointers[found[1]] = _Pointer(slot=found[2])

    def roots(self, name: str) -> frozenset[str]:
        """The arguments and stack arrays that a pointer may point into."""
        known = self._roots.get(name)
        if known is None:
            seen, todo, found = {name}, [name], set()
            while todo:
                pointer = self.pointers.get(one := todo.pop())
                if pointer is None:
                    found.add(one)
                    continue
                new = {*pointer.sources, *self.kept.get(pointer.slot, ())} - seen
                seen |= new
                todo += new
            known = self._roots[name] = frozenset(found)
        return known

    def object(self, name: str) -> str:
        """The object that a pointer points into, as the address of its start, extent and number."""
        while (pointer := self.pointers.get(name)) is not None and pointer.is_derived:
            name = pointer.sources[0]
        roots = self.roots(name)
        if len(roots) > 1:
            return f"{name}.object"
        (root,) = roots
        if root not in self.arguments and root not in self.allocas:
            raise CompileError(f"checked code cannot tell where {root} points")
        number = self.objects.setdefault(root, len(self.objects))
        return f"%object.{number}"

    # ------------------------------------------------------------------ the text
    def line(self, line: str) -> None:
        if "ptr " not in line:
            if found := _RETURN.match(line):
                self.leave(found[1])
                return
            self.out.append(line)
        elif found := _SELECT.match(line):
            self.out.append(line)
            if len(self.roots(found[1])) > 1:
                chosen = f"ptr {self.object(found[3])}, ptr {self.object(found[4])}"
                self.out.append(f"  {found[1]}.object = select i1 {found[2]}, {chosen}")
        elif found := _PHI.match(line):
            self.out.append(line)
            if len(self.roots(found[1])) > 1:
                pairs = ", ".join(f"[ {self.object(v)}, {label} ]" for v, label in _INCOMING.findall(found[2]))
                self.out.append(f"  {found[1]}.object = phi ptr {pairs}")
        elif found := _KEEP.match(line):
            self.out.append(line)
            if self.is_mixed(found[2]):
                self.out.append(f"  store ptr {self.object(found[1])}, ptr {found[2]}.object")
        elif found := _TAKE.match(line):
            self.out.append(line)
            if self.is_mixed(found[2]):
                self.out.append(f"  {found[1]}.object = load ptr, ptr {found[2]}.object")
        elif found := _LOAD.match(line):
            self.access(line, found[2], _bytes(found[1]), 0)
        elif found := _STORE.match(line):
            self.access(line, found[2], _bytes(found[1]), 1)
        elif found := _MASKED_LOAD.match(line):
            self.lanes(line, found[1], found[2], found[3], found[4], 0)
        elif found := _MASKED_STORE.match(line):
            self.lanes(line, found[1], found[2], found[3], found[4], 1)
        elif found := _COPY.match(line):
            to, source = self.object(found[1]), self.object(found[2])
            arguments = f"ptr {found[1]}, ptr {found[2]}, i64 {found[3]}, ptr {to}, ptr {source}, ptr %guard"
            self.out.append(f"  call void @graphflow_checked_copy({arguments})")
        elif _DERIVED.match(line) or line.startswith(_PREFETCH):
            self.out.append(line)
        else:
            raise CompileError(f"checked code does not know {line.strip()!r}")

    def is_mixed(self, slot: str) -> bool:
        """Whether pointers into several objects are kept in a stack slot."""
        return len(frozenset().union(*map(self.roots, self.kept[slot]))) > 1

    def access(self, line: str, pointer: str, size: int, writes: int) -> None:
        if self.allocas.get(pointer) == size:  # a variable on the stack, as a whole
            self.out.append(line)
            return
        self.check(line, pointer, f"@graphflow_checked(ptr {pointer}, i64 {size}", writes)

    def lanes(self, line: str, vector: str, pointer: str, mask_type: str, mask: str, writes: int) -> None:
        count, element = _parts(vector)
        if count > 64:
            raise CompileError(f"checked code has no masks of {count} lanes")
        bits = self.fresh()
        self.out.append(f"  {bits} = bitcast {mask_type} {mask} to i{count}")
        if count < 64:
            narrow, bits = bits, self.fresh()
            self.out.append(f"  {bits} = zext i{count} {narrow} to i64")
        self.check(line, pointer, f"@graphflow_checked_lanes(ptr {pointer}, i64 {_SIZES[element]}, i64 {bits}", writes)

    def check(self, line: str, pointer: str, call: str, writes: int) -> None:
        sound = self.fresh()
        self.out.append(f"  {sound} = call ptr {call}, ptr {self.object(pointer)}, ptr %guard, i64 {writes})")
        # The pointer is the last one named by a store, and the only one by a load.
        head, _, tail = line.rpartition(f"ptr {pointer}")
        self.out.append(f"{head}ptr {sound}{tail}")

    def leave(self, result: str) -> None:
        noted, outside, status = self.fresh(), self.fresh(), self.fresh()
        self.out += [
            f"  {noted} = load i64, ptr %guard",
            f"  {outside} = icmp ne i64 {noted}, 0",
            f"  {status} = select i1 {outside}, i32 {OUTSIDE}, i32 {result}",
            f"  ret i32 {status}",
        ]

    def fresh(self) -> str:
        self.count += 1
        return f"%checked.{self.count}"

    def prologue(self) -> list[str]:
        """Start, extent and number of each object, and poison in the scratch."""
        lines: list[str] = []
        for slot, pointers in self.kept.items():
            if len(frozenset().union(*map(self.roots, pointers))) > 1:
                lines.append(f"  {slot}.object = alloca ptr")
        for name in self.scratch:
            self.objects.setdefault(name, len(self.objects))
        for name, number in self.objects.items():
            place = f"%object.{number}"
            start, extent, stated = f"{place}.start", f"{place}.extent", str(self.allocas.get(name, 0))
            lines.append(f"  {place} = alloca [3 x i64], align 8")
            pointer, which = name, len(self.arguments) + number
            if name not in self.allocas:
                which = self.arguments.index(name)
                stated = extent
                lines.append(f"  {extent}.at = getelementptr i64, ptr %guard, i64 {GUARD_WORDS + which}")
                lines.append(f"  {extent} = load i64, ptr {extent}.at")
            if name in self.scratch:
                pointer = f"{place}.own"
                lines.append(f"  {pointer}.at = mul i64 {extent}, %thread")
                lines.append(f"  {pointer} = getelementptr i8, ptr {name}, i64 {pointer}.at")
                poison = poison_of(self.scratch[name]) - 256  # as i8 is written
                lines.append(f"  call void @llvm.memset.p0.i64(ptr {pointer}, i8 {poison}, i64 {extent}, i1 false)")
            lines.append(f"  {start} = ptrtoint ptr {pointer} to i64")
            for word, value in enumerate((start, stated, str(which))):
                lines.append(f"  {place}.{word} = getelementptr i64, ptr {place}, i64 {word}")
                lines.append(f"  store i64 {value}, ptr {place}.{word}")
        return lines


def _parts(kind: str) -> tuple[int, str]:
    """How many elements a type has, and of which type."""
    found = _MANY.fullmatch(kind)
    return (1, kind) if found is None else (int(found[1]), found[2])


def _bytes(kind: str) -> int:
    count, element = _parts(kind)
    return count * _SIZES.get(element, 1)  # i1 is only ever in a variable on the stack, as a whole
