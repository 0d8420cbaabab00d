"""The kinds of op: declarative payloads, which are all that passes and back ends know of an op.

A payload says *what* one element of the result is, or which other ops the op is made of; it generates no code. Types are
inference results: `TensorType`s whose dims may be symbolic. A `ShapeValue` is the symbolic value of an integer operand that
only steers shapes (the target of a Reshape): a Dim for a scalar operand, a tuple of Dims for a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Protocol, TypeAlias

from graphflow.framework.dtypes import DType
from graphflow.framework.records import record
from graphflow.framework.shapes import Dim, Shape, product


@record(frozen=True, slots=True)
class TensorType:
    """dtype and shape of a tensor; shape None means unknown rank (only on the user's graph, never in a Program)."""

    dtype: DType
    shape: Shape | None

    @property
    def rank(self) -> int:
        assert self.shape is not None
        return len(self.shape)

    def __str__(self) -> str:
        from graphflow.framework.shapes import format_shape

        return f"{self.dtype.name}{format_shape(self.shape)}"


ShapeValue: TypeAlias = "Dim | tuple[Dim, ...]"


def dims_of(value: ShapeValue) -> tuple[Dim, ...]:
    return value if isinstance(value, tuple) else (value,)


def overflows(value: ShapeValue, dtype: DType) -> bool:
    """Whether a number in it is known not to fit into the integer type."""
    low, high = (0, 1 << 8 * dtype.size) if dtype.is_unsigned else (-1 << 8 * dtype.size - 1, 1 << 8 * dtype.size - 1)
    if isinstance(value, int):
        return not low <= value < high
    return any(isinstance(d, int) and not low <= d < high for d in dims_of(value))


def does_not_fit(op: str, value: ShapeValue, dtype: DType) -> str:
    """The error of a size that is too large for its type."""
    numbers = ", ".join(map(str, dims_of(value)))
    return f"{op}: the value {f'[{numbers}]' if isinstance(value, tuple) else numbers} does not fit into {dtype.name}"


@record(frozen=True, slots=True)
class LowerContext:
    """What a payload may look at: attributes, types, and the values of shape operands (None elsewhere)."""

    attrs: Any
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    values: tuple[ShapeValue | None, ...]


# ---------------------------------------------------------------------------------------------- index language


class IndexBuilder(Protocol):
    """What an IndexMap builds its index expressions with. Operands are Dims or expressions made before (opaque)."""

    def add(self, a: Any, b: Any) -> Any: ...
    def sub(self, a: Any, b: Any) -> Any: ...
    def mul(self, a: Any, b: Any) -> Any: ...
    def floordiv(self, a: Any, b: Any) -> Any: ...
    def mod(self, a: Any, b: Any) -> Any: ...


@record(frozen=True, slots=True)
class Piece:
    """Where lower <= position < upper (per listed axis of the *output* index), the element is `inputs[source][index]`."""

    source: int
    index: tuple[Any, ...]
    bounds: tuple[tuple[int, Dim, Dim], ...] = ()  # (output axis, lower, upper)


# ---------------------------------------------------------------------------------------------- the kinds

ScalarRule: TypeAlias = Callable[..., Any]  # (b: ScalarBuilder[S], attrs, *inputs: S) -> S  (or a tuple for several outputs)


@record(frozen=True, slots=True)
class Elementwise:
    """out[i] = rule(b, attrs, *inputs[i]), inputs broadcast as in numpy. One output.

    `check`, if given, is a rule of the same arguments; where it is True the run fails with `check_message`, as
    InvalidArgumentError. A kernel that can fail has to run before variables are overwritten, so an op whose check is always
    False for some dtypes names the others in `checked`.
    """

    rule: ScalarRule
    check: ScalarRule | None = None
    check_message: str | Callable[[Any], str] = ""  # the text, or how it follows from the attributes
    cheap: bool = True  # False for transcendental functions: worth storing rather than computing twice
    checked: tuple[DType, ...] | None = None  # the operands' dtypes for which `check` can be True; None: all

    def can_fail(self, operands: Iterable[DType]) -> bool:
        """Whether the check can be True for operands of these dtypes."""
        return self.check is not None and (self.checked is None or any(d in self.checked for d in operands))

    def failure(self, attrs: Any) -> str:
        return self.check_message if isinstance(self.check_message, str) else self.check_message(attrs)


@record(frozen=True, slots=True)
class Reduction:
    """Over ``attrs.axis`` (tuple of non-negative ints; `keepdims` in attrs): finish(combine(prepare(x) ...), count).

    `identity` gives the start value for the *accumulator's* dtype. prepare/finish default to the identity function.
    The accumulator is float32 for float16/bfloat16, else the dtype of the prepared value.
    """

    combine: Literal["add", "mul", "max", "min", "and", "or"]
    identity: Callable[[DType], float | int | bool]
    prepare: ScalarRule | None = None  # (b, attrs, x) -> S
    finish: ScalarRule | None = None  # (b, attrs, accumulated, count: S of the same dtype) -> S


@record(frozen=True, slots=True)
class ArgReduction:
    """First index of the largest or smallest element along ``attrs.axis`` (an int), as ``attrs.output_type``."""

    which: Literal["max", "min"]


@record(frozen=True, slots=True)
class View:
    """The elements of the first input, in the same row-major order, under another shape. Other inputs only steer shapes."""


@record(frozen=True, slots=True)
class IndexMap:
    """Data movement: out[index] is read from an input at a computed index, else `fill`.

    ``pieces(ix: IndexBuilder, ctx: LowerContext, index: tuple of expressions) -> list[Piece]``; the first piece whose
    bounds hold wins. `fill(ctx)` is the constant where none does (pad).
    """

    pieces: Callable[[IndexBuilder, LowerContext, tuple[Any, ...]], Sequence[Piece]]
    fill: Callable[[LowerContext], float | int | bool] | None = None


@record(frozen=True, slots=True)
class Generate:
    """out[index] = rule(b, ctx, index: tuple of S as int64) from the position alone, and `inputs` that are scalars (0-d)."""

    rule: Callable[..., Any]  # (b, ctx, index: tuple[S, ...], *scalar_inputs: S) -> S


@record(frozen=True, slots=True)
class Random:
    """Random numbers: rule(b, ctx, draw, *scalar inputs) with ``draw(k)`` the k-th (0..3) uniform uint32 of this element.

    The bits are Philox4x32-10 of counter (element, how often the session has executed the op) and key (attrs.seed,
    attrs.seed2): `graphflow.framework.philox`.
    """

    rule: Callable[..., Any]


@record(frozen=True, slots=True)
class Contraction:
    """[..., m, k] x [..., k, n], transposed where ``attrs.transpose_a`` / ``attrs.transpose_b``; batch dims broadcast."""


@record(frozen=True, slots=True)
class Gather:
    """out[a..., i..., b...] = params[a..., indices[i...], b...] along ``attrs.axis`` (int). Indices are checked."""


@record(frozen=True, slots=True)
class Scatter:
    """inputs: base [n, ...], indices [k...], updates [k..., ...]: base with updates combined in, in index order.

    "set" overwrites, last one wins. Indices are checked unless ``attrs.drop_negative`` exists and is true.
    """

    combine: Literal["set", "add", "sub", "mul", "div", "min", "max"]


@record(frozen=True, slots=True)
class ShapeOf:
    """Integers that follow from the input *types* alone (Shape, Size, Rank); `OpDef.shape_value` computes them."""


@record(frozen=True, slots=True)
class Source:
    """No inputs: "constant" (attrs.value: TensorValue), "placeholder", "variable"."""

    what: Literal["constant", "placeholder", "variable"]


@record(frozen=True, slots=True)
class StateUpdate:
    """Gives variables new values. `refs` are the input positions of the variables (type: their current value).

    ``expand(p: ExpandContext, *values) -> Value | tuple`` returns the new value of each ref, in order. Output k is the
    new value of refs[k] where the op has outputs.
    """

    refs: tuple[int, ...]
    expand: Callable[..., Any]
    checks: bool = False  # its expansion can fail the run, so it runs even if a later update overwrites its result


@record(frozen=True, slots=True)
class VariableIsInitialized:
    """True if the variable (input 0) has a value in the session."""


@record(frozen=True, slots=True)
class Assertion:
    """Effect: the run fails with InvalidArgumentError unless every element of input 0 is true; the rest is shown."""


@record(frozen=True, slots=True)
class NoOp:
    """Only orders others."""


@record(frozen=True, slots=True)
class Host:
    """Runs `OpDef.reference` in Python: py_func, Print, sorting, shapes that depend on data.

    Fetches that need such an op run on the reference back end as a whole.
    """

    stateful: bool = False  # it has effects: it runs whenever the graph asks for it, and equal nodes are not merged


class ExpandContext(Protocol):
    """What a Composite builds its expansion with. Values are opaque; numbers become constants of the other operand's dtype.

    `values` are those of shape operands, and None elsewhere.
    """

    attrs: Any
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    values: tuple[ShapeValue | None, ...]

    def type(self, value: Any) -> TensorType: ...

    def op(self, name: str, *inputs: Any, attrs: Any = None, output: int = 0) -> Any:
        """Output `output` of the op `name` (by its registered name) on `inputs`."""

    def same(self, name: str, *data: Any) -> Any:
        """The op `name` with this op's attributes, shape operands and result type; `data` are its other inputs, in order."""

    def const(self, value: Any, dtype: DType) -> Any:
        """A constant (numpy array or Python number)."""

    def broadcast_to(self, value: Any, shape: Shape) -> Any: ...

    def reshape(self, value: Any, shape: Shape) -> Any: ...


@record(frozen=True, slots=True)
class Composite:
    """Made of other ops: ``expand(p: ExpandContext, *values) -> value or tuple of values``.

    It stays one node until the pass `expand_composites`, so rules that stabilise or fuse see the whole.
    """

    expand: Callable[..., Any]
    checks: bool = False  # its expansion can fail the run, so it runs where the graph asks for it even if nothing uses it


@record(frozen=True, slots=True)
class Deferred:
    """Becomes other ops when the types of its operands, and the values of those that ``attrs.steering`` names, are known.

    ``build(attrs, operands)`` makes them on the default graph, on tensors that stand for the operands (`framework.deferred`).
    """

    build: Callable[..., Any]


Kind: TypeAlias = (
    Elementwise
    | Reduction
    | ArgReduction
    | View
    | IndexMap
    | Generate
    | Random
    | Contraction
    | Gather
    | Scatter
    | ShapeOf
    | Source
    | StateUpdate
    | VariableIsInitialized
    | Assertion
    | NoOp
    | Host
    | Composite
    | Deferred
)


@record(frozen=True, slots=True)
class Algebra:
    """Algebraic facts about an op that generic rewrite rules use.

    `identity`: the constant c with op(x, c) = x for every x, NaN and infinities included (left side too if commutative).
    `idempotent`: f(f(x)) = f(x). `involution`: f(f(x)) = x.
    """

    commutative: bool = False
    identity: float | None = None
    idempotent: bool = False
    involution: bool = False


NO_ALGEBRA = Algebra()


def flops(kind: object, attrs: Any, result: Shape | None, operands: Sequence[Shape]) -> Dim:
    """An estimate of an op's floating-point operations.

    2mnk for a contraction, one per element of the result for an elementwise op, one per element of the first operand for the
    rest, none for what runs in Python. `result` is None for ops without one (an assertion).
    """
    size = product(result) if result is not None else 0
    if isinstance(kind, Host):
        return 0
    if isinstance(kind, Contraction):
        return size * operands[0][-2 if attrs.transpose_a else -1] * 2
    if isinstance(kind, Elementwise):
        return size
    return product(operands[0]) if operands else 0
