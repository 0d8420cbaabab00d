"""Level 1, the Program: what one (fetches, feeds) signature computes, as frozen, hash-consed values.

A Program has no names, scopes or devices: only values, the variables it gives new values, and the sizes (`SymDim`s) that
become known when arrays are fed. A variable is a value too: its state at the start of the run is a leaf, each assignment
makes a new value, and the last one is written back. So order is data flow and passes need no special care for effects.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from functools import partial
from typing import Any, Literal

import numpy as np

from graphflow.framework.dtypes import DType, as_dtype, uint64
from graphflow.framework.errors import CompileError, ShapeError
from graphflow.framework.folding import MOST_ELEMENTS, MOST_ENTRIES, MOST_STEPS, PURE, computed, is_small
from graphflow.framework.kinds import (
    Assertion,
    Elementwise,
    Host,
    ShapeOf,
    ShapeValue,
    Source,
    TensorType,
    dims_of,
    does_not_fit,
    overflows,
)
from graphflow.framework.provenance import merge
from graphflow.framework.records import record
from graphflow.framework.registry import NO_ATTRS, InferContext, OpDef, TensorValue, lookup, not_differentiable
from graphflow.framework.shapes import (
    Dim,
    DimPolicy,
    Shape,
    SymDim,
    evaluate,
    format_shape,
    settled,
    static_shape,
)


class CannotCompile(Exception):
    """The program has something that native code does not do yet; the reference backend runs it instead."""


@record(frozen=True, slots=True, eq=False)
class Node:
    """One operation. `inputs[i]` is None where operand i only steers shapes; then `values[i]` holds its value.

    `origin` are the names of the user's operations it came from, kept through every rewrite. The last names the op itself.
    """

    id: int
    op: OpDef
    attrs: Any
    inputs: tuple[Value | None, ...]
    values: tuple[ShapeValue | None, ...]
    types: tuple[TensorType, ...]
    origin: tuple[str, ...]

    def __repr__(self) -> str:
        return f"%{self.id}:{self.op.name}"

    @property
    def data_inputs(self) -> list[Value]:
        return [v for v in self.inputs if v is not None]

    def out(self, index: int = 0) -> Value:
        return Value(self, index)

    @property
    def has_check(self) -> bool:
        """Whether it is computed element by element with a check that can fail the run."""
        kind = self.op.kind
        return isinstance(kind, Elementwise) and kind.can_fail(v.dtype for v in self.data_inputs)


@record(frozen=True, slots=True)
class Value:
    node: Node
    index: int = 0

    @property
    def type(self) -> TensorType:
        return self.node.types[self.index]

    @property
    def shape(self) -> Shape:
        shape = self.node.types[self.index].shape
        assert shape is not None
        return shape

    @property
    def dtype(self) -> DType:
        return self.node.types[self.index].dtype

    def __repr__(self) -> str:
        return f"%{self.node.id}" + (f".{self.index}" if len(self.node.types) > 1 else "")


@record(frozen=True, slots=True)
class Constraint:
    """What must be true of two sizes in a run, ``a == b`` or ``a >= b``; else the program does not apply to those feeds."""

    a: Dim
    b: Dim
    message: str
    op: str
    relation: Literal["==", ">="] = "=="

    def holds(self, sizes: Mapping[str, int]) -> bool:
        try:
            a, b = evaluate(self.a, sizes), evaluate(self.b, sizes)
        except ZeroDivisionError:
            return False
        return a == b if self.relation == "==" else a >= b


@record(frozen=True, slots=True)
class FailureCode:
    """What a kernel's return value means: the op that failed and the message."""

    code: int
    op: str
    message: str


@record(frozen=True, slots=True)
class NearMiss:
    """Why a rewrite rule did not fire where one might have thought so, for `explain`."""

    rule: str
    op: str
    reason: str


@record(frozen=True)
class Program:
    """`outputs` align with the fetches; `updates` are (variable's op name, its value after the run); `effects` are nodes
    that must run although nothing uses them (assertions). `nodes` are in a topological order. `aliases`: where output i, or a
    variable, is given a feed, a constant or a variable as it is, the names of the operations that came to nothing but that."""

    nodes: tuple[Node, ...]
    feeds: tuple[Node, ...]
    outputs: tuple[Value, ...]
    updates: tuple[tuple[str, Value], ...]
    effects: tuple[Node, ...]
    constraints: tuple[Constraint, ...] = ()
    symbols: tuple[str, ...] = ()
    near_misses: tuple[NearMiss, ...] = ()
    aliases: Mapping[int | str, tuple[str, ...]] = field(default_factory=dict)

    def roots(self) -> list[Value]:
        return [*self.outputs, *(v for _, v in self.updates)]

    def users(self) -> dict[Node, list[Node]]:
        table: dict[Node, list[Node]] = {n: [] for n in self.nodes}
        for n in self.nodes:
            for v in dict.fromkeys(n.data_inputs):
                table[v.node].append(n)
        return table


# ---------------------------------------------------------------------------------------------- leaves of a Program


@record(frozen=True, slots=True)
class LeafAttrs:
    """Identifies a leaf: the index of a feed, the name of a variable or of a random op."""

    key: int | str
    type: TensorType


@record(frozen=True, slots=True)
class DimsAttrs:
    value: ShapeValue
    dtype: DType


def _leaf(name: str) -> OpDef:
    return OpDef(
        name,
        Source("placeholder"),
        lambda ctx, attrs: (attrs.type,),
        None,
        list,
        not_differentiable("a leaf"),
        LeafAttrs,
    )


def _dims_infer(ctx: InferContext, attrs: DimsAttrs) -> tuple[TensorType, ...]:
    return (TensorType(attrs.dtype, (len(attrs.value),) if isinstance(attrs.value, tuple) else ()),)


FEED = _leaf("_Feed")
#: The value a variable has when the run starts.
VARIABLE_STATE = _leaf("_VariableState")
#: How often the session has executed a random op, a uint64 scalar: what makes its numbers differ from run to run. Each op has
#: its own, so two random ops are never one node, even if seeds and shapes are equal.
RANDOM_COUNT = _leaf("_RandomCount")
#: Whether a variable has a value, a bool scalar.
IS_INITIALIZED = _leaf("_IsInitialized")
#: Integers that follow from sizes.
DIMS = OpDef("_Dims", ShapeOf(), _dims_infer, None, list, not_differentiable("sizes"), DimsAttrs)

LEAVES = frozenset({FEED, VARIABLE_STATE, RANDOM_COUNT, IS_INITIALIZED})


def is_constant(v: Value) -> bool:
    return isinstance(v.node.op.kind, Source) and v.node.op.kind.what == "constant"


def constant_array(v: Value) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = v.node.attrs.value.array
    return array


# ---------------------------------------------------------------------------------------------- building

#: Constants of more elements than this, if passes make them anew for each plan, share their memory with equal ones.
SMALL = 4096
_large: weakref.WeakValueDictionary[bytes, np.ndarray[Any, Any]] = weakref.WeakValueDictionary()


def splat_of(v: Value) -> Any:
    """The numpy scalar that every element of a constant is, to the last bit: 0.0 is not -0.0. None if they differ, or if there
    is none."""
    array = constant_array(v)
    if array.size == 0 or array.dtype == object:
        return None
    bits = np.ascontiguousarray(array).reshape(-1).view(f"u{array.itemsize}")
    return array.flat[0] if bool((bits == bits[0]).all()) else None


class ProgramBuilder:
    """Makes hash-consed nodes: the same op on the same values is the same node, so common subexpressions need no pass."""

    def __init__(self, policy: DimPolicy) -> None:
        self.policy = policy
        self.nodes: list[Node] = []
        self._table: dict[Any, Node] = {}

    def add(
        self,
        op: OpDef,
        attrs: Any = NO_ATTRS,
        inputs: Sequence[Value | None] = (),
        values: Sequence[ShapeValue | None] | None = None,
        origin: tuple[str, ...] = (),
        types: tuple[TensorType, ...] | None = None,
    ) -> Node:
        """`values` default to what is known of the inputs; `types`, if given, replace inference."""
        inputs = tuple(inputs)
        known = tuple(values) if values is not None else tuple(None if v is None else shape_value_of(v) for v in inputs)
        # Only operands that steer shapes are remembered by value; they stop being data.
        kept: list[ShapeValue | None] = [None] * len(inputs)
        data = list(inputs)
        if values is None and None in known and op.shape_operands:
            known = tuple([folded_value(v) if k is None and i in op.shape_operands else k
                           for i, (v, k) in enumerate(zip(inputs, known, strict=True))])  # fmt: skip
        for i in op.shape_operands:
            if i < len(inputs) and known[i] is not None:
                kept[i], data[i] = known[i], None
        # Two assertions, or two calls with side effects, stay two nodes: each has an error, or an effect, of its own.
        unique = isinstance(op.kind, Assertion) or (isinstance(op.kind, Host) and op.kind.stateful)
        key = (op.name, attrs, negative_zeros(attrs), tuple(data), tuple(kept), origin if unique else None)
        found = self._table.get((*key, types))
        if found is not None:
            if found.origin is not origin:
                self.met(found, origin)
            return found
        if types is None:
            input_types = tuple(v.type if v is not None else _type_of_shape_operand(known[i]) for i, v in enumerate(inputs))
            inferred = op.infer(InferContext(op.name, self.policy, known.__getitem__), attrs, *input_types)
            self._check_sizes(op, inferred)
            node = self._table[(*key, types)] = self.add(op, attrs, inputs, known, origin, inferred)
            return node
        node = Node(len(self.nodes), op, attrs, tuple(data), tuple(kept), types, origin)
        self.nodes.append(node)
        self._table[(*key, types)] = node
        return node

    def _check_sizes(self, op: OpDef, types: Sequence[TensorType]) -> None:
        """No size of a result may be negative: that kernels stay within their arrays rests on it."""
        for t in types:
            for axis, d in enumerate(t.shape or ()):
                if isinstance(d, int) or not d.is_size():
                    self.policy.at_least(d, 0, partial(_negative, op.name, axis, d))

    def met(self, node: Node, origin: tuple[str, ...]) -> None:
        """Is told of each node that was to be made anew, for operations of these names."""

    def rename(self, node: Node, origin: tuple[str, ...]) -> None:
        """Gives a node its final origin, which is known only when the last node has been made.

        Only the builder's owner may call this, and only before anybody else sees the nodes.
        """
        object.__setattr__(node, "origin", origin)

    def constant(self, array: Any, origin: tuple[str, ...] = ()) -> Value:
        op = lookup("Const")
        value = TensorValue(array)
        if value.array.size > SMALL:
            value.array = _large.setdefault(value.digest, value.array)
        return self.add(op, op.attrs(value), (), (), origin).out()

    def dims(self, value: ShapeValue, dtype: DType, origin: tuple[str, ...] = ()) -> Value:
        flat = value if isinstance(value, tuple) else (value,)
        if static_shape(flat) is not None:
            return self.constant(np.asarray(value, dtype.numpy_dtype), origin)
        return self.add(DIMS, DimsAttrs(value, dtype), (), (), origin).out()

    def random_count(self, op: str) -> Value:
        return self.add(RANDOM_COUNT, LeafAttrs(op, TensorType(uint64, ()))).out()


def _negative(op: str, axis: int, d: Dim) -> str:
    return f"{op}: Dimension {d} of axis {axis} must be >= 0"


def negative_zeros(attrs: Any) -> tuple[str, ...]:
    """The attributes that are -0.0, which is equal to 0.0 and yet another number."""
    found: tuple[str, ...] = ()
    for name in getattr(type(attrs), "__dataclass_fields__", ()):
        x = getattr(attrs, name)
        if x.__class__ is float and x == 0 and math.copysign(1.0, x) < 0:
            found = (*found, name)
    return found


def _type_of_shape_operand(value: ShapeValue | None) -> TensorType:
    from graphflow.framework.dtypes import int32

    return TensorType(int32, (len(value),) if isinstance(value, tuple) else ())


def shape_value_of(v: Value) -> ShapeValue | None:
    """The symbolic value of a small integer value, found from its node alone (operands are already in the program)."""
    node, shape = v.node, v.type.shape
    # Only a run knows the shape of what a Python function returns.
    if not v.dtype.is_integer or shape is None or len(shape) > 1:
        return None
    if node.op is DIMS:
        value: ShapeValue = node.attrs.value
        return value
    if is_constant(v):
        array = constant_array(v)
        if array.size > 64:  # longer than any shape: numpy's arrays have at most 64 axes
            return None
        return int(array) if array.ndim == 0 else tuple(int(x) for x in array)
    return None


def folded_value(v: Value | None) -> ShapeValue | None:
    """The value of a small integer value that is computed from constants; None if it is not."""
    if v is None or not v.dtype.is_integer or len(v.shape) > 1 or not is_small(v.shape, MOST_ENTRIES):
        return None
    array = folded_array(v)
    if array is None:
        return None
    return int(array) if array.ndim == 0 else tuple([int(x) for x in array])


def folded_array(v: Value) -> np.ndarray[Any, Any] | None:
    """What a small value is that is computed from constants; None if it is not."""
    steps: dict[Node, None] = {}
    todo = [v.node]
    while todo:
        node = todo.pop()
        if is_constant(node.out()) or node in steps:
            continue
        small = all(t.shape is not None and is_small(t.shape, MOST_ELEMENTS) for t in node.types)
        if len(steps) == MOST_STEPS or not isinstance(node.op.kind, PURE) or not node.inputs or not small:
            return None
        steps[node] = None
        todo += [x.node for x in node.data_inputs]
    found: dict[Node, np.ndarray[Any, Any]] = {}
    for node in sorted(steps, key=lambda n: n.id):
        arrays = []
        for x, value in zip(node.inputs, node.values, strict=True):
            if x is None and static_shape(value if isinstance(value, tuple) else (value,)) is None:  # type: ignore[arg-type]
                return None
            arrays.append(np.asarray(value) if x is None else constant_array(x) if is_constant(x) else found[x.node])
        array = computed(node.op, node.attrs, arrays, node.types[0])
        if array is None:
            return None
        found[node] = array
    return constant_array(v) if is_constant(v) else found[v.node]


def resolve_shape_value(builder: ProgramBuilder, node: Node, output: int = 0, is_size: bool = False) -> Value | None:
    """If an output of the node is integers known from sizes alone: the `_Dims` (or constant) that replaces it.

    What does not fit its type is ShapeError if it is a size; what the user's own numbers make of themselves is left to the
    run, which wraps it as TensorFlow does.
    """
    if node.op.shape_value is None or not node.types[0].dtype.is_integer or node.op is DIMS or is_constant(node.out()):
        return None
    types = tuple(v.type if v is not None else _type_of_shape_operand(node.values[i]) for i, v in enumerate(node.inputs))
    values = tuple(node.values[i] if v is None else shape_value_of(v) for i, v in enumerate(node.inputs))
    found = node.op.shape_value(node.attrs, types, values)
    value = found[output] if isinstance(found, list) else found
    if value is None:
        return None
    dtype = node.types[output].dtype
    if overflows(value, dtype):
        if is_size:
            raise ShapeError(does_not_fit(node.op.name, value, dtype))
        return None
    for d in dims_of(value):
        if not isinstance(d, int):
            builder.policy.fits(d, dtype, partial(does_not_fit, node.op.name, d, dtype))
    return builder.dims(_settled(value), dtype, node.origin)


def _settled(value: ShapeValue) -> ShapeValue:
    # No size in it divides by 0: that is checked with the range.
    return tuple([settled(d) for d in value]) if isinstance(value, tuple) else settled(value)


def live_nodes(nodes: Iterable[Node], roots: Iterable[Value], effects: Iterable[Node]) -> tuple[Node, ...]:
    """The nodes that roots and effects need, in the given order."""
    needed: set[Node] = set()
    todo = [v.node for v in roots] + list(effects)
    while todo:
        n = todo.pop()
        if n not in needed:
            needed.add(n)
            todo += [v.node for v in n.data_inputs]
    return tuple(n for n in nodes if n in needed)


# ---------------------------------------------------------------------------------------------- text and verifier


def _attrs_text(attrs: Any) -> str:
    fields = getattr(type(attrs), "__dataclass_fields__", {})
    parts = []
    for f in fields:
        x = getattr(attrs, f)
        if isinstance(x, TensorType):
            continue
        if isinstance(x, TensorValue):
            a = x.array
            x = a.tolist() if a.size <= 8 else f"<{a.size} elements, sha256 {x.digest.hex()[:8]}>"
        elif isinstance(x, DType):
            x = x.name
        elif isinstance(x, tuple) and any(isinstance(d, SymDim) for d in x):
            x = format_shape(x)
        parts.append(f"{f}={x}")
    return ", ".join(parts)


def to_text(program: Program) -> str:
    """One line a node: ``%3 = MatMul(%1, %2) {transpose_a=False} : float32(n, 10)  # dense/MatMul``."""
    number = {n: i for i, n in enumerate(program.nodes)}

    def ref(v: Value) -> str:
        return f"%{number[v.node]}" + (f".{v.index}" if len(v.node.types) > 1 else "")

    lines = []
    for n in program.nodes:
        operands = ", ".join(ref(v) if v is not None else f"[{_value_text(n.values[i])}]" for i, v in enumerate(n.inputs))
        attrs = _attrs_text(n.attrs)
        types = ", ".join(map(str, n.types))
        origin = f"  # {' '.join(n.origin)}" if n.origin else ""
        lines.append(f"%{number[n]} = {n.op.name}({operands})" + (f" {{{attrs}}}" if attrs else "") + f" : {types}{origin}")
    also = {key: f"  # {' '.join(names)}" for key, names in program.aliases.items()}
    lines += [f"output {ref(v)}{also.get(i, '')}" for i, v in enumerate(program.outputs)]
    lines += [f"update {name} = {ref(v)}{also.get(name, '')}" for name, v in program.updates]
    lines += [f"effect %{number[n]}" for n in program.effects]
    lines += [f"require {c.a} {c.relation} {c.b}  # {c.op}" for c in program.constraints]
    return "\n".join(lines) + "\n"


def _value_text(value: ShapeValue | None) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def verify(program: Program) -> None:
    """Raises CompileError unless nodes are in order, types are complete and roots are present."""
    seen: set[Node] = set()
    for n in program.nodes:
        for v in n.data_inputs:
            if v.node not in seen:
                raise CompileError(f"program: {n!r} uses {v!r} before it is defined")
            if v.index >= len(v.node.types):
                raise CompileError(f"program: {v!r} is no output of {v.node!r}")
        for t in n.types:
            if t.shape is None:
                raise CompileError(f"program: {n!r} has an output of unknown rank")
            if as_dtype(t.dtype).is_ref:
                raise CompileError(f"program: {n!r} has an output of ref dtype")
        seen.add(n)
    for v in program.roots():
        if v.node not in seen:
            raise CompileError(f"program: root {v!r} is missing")


def union_origin(nodes: Iterable[Node]) -> tuple[str, ...]:
    return merge(n.origin for n in nodes)


def unknown_sizes(program: Program) -> set[str]:
    """Sizes that no feed determines: they depend on data."""
    known = set(program.symbols)
    found: set[str] = set()
    for n in program.nodes:
        for d in sizes_of(n):
            found |= d.names() - known
    for c in program.constraints:
        found |= {name for d in (c.a, c.b) if isinstance(d, SymDim) for name in d.names() - known}
    return found


def sizes_of(n: Node) -> list[SymDim]:
    """The run-time sizes in the types of a node, in its values and, if it is sizes as data, in those."""
    values = [*n.values, n.attrs.value] if n.op is DIMS else n.values
    dims = [*(d for t in n.types for d in t.shape or ()), *(d for v in values if v is not None for d in dims_of(v))]
    return [d for d in dims if isinstance(d, SymDim)]
