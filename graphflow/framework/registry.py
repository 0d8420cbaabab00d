"""`OpDef`, the one definition of an op; the table of all ops; and the types that an `OpDef` is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from graphflow.framework.dtypes import DType, as_dtype
from graphflow.framework.kinds import NO_ALGEBRA, Algebra, Kind, ShapeValue, Source, StateUpdate, TensorType
from graphflow.framework.late_bindings import op_library
from graphflow.framework.records import record
from graphflow.framework.shapes import Dim, DimPolicy, Shape, fresh_dim, is_open

if TYPE_CHECKING:
    from graphflow.framework.graph import Tensor
    from graphflow.framework.indexed_slices import IndexedSlices

# ---------------------------------------------------------------------------------------------- attributes


class TensorValue:
    """A constant array as an attribute: immutable, hashable by content."""

    __slots__ = ("_digest", "array")

    def __init__(self, array: Any) -> None:
        # A copy, because the caller may change the array later, and graphs, plans and files rely on it.
        copied = np.array(array, order="C", copy=True)
        copied.flags.writeable = False
        self.array = copied
        self._digest: bytes | None = None

    @property
    def digest(self) -> bytes:
        """sha256 of dtype, shape and bytes."""
        # Kept, because sha256 reads all bytes and constants are hashed and compared again and again.
        if self._digest is None:
            h = hashlib.sha256(f"{self.array.dtype.str}{self.array.shape}".encode())
            # The bytes of an array of objects are addresses.
            data = repr(self.array.tolist()).encode() if self.array.dtype == object else self.array.tobytes()
            h.update(data)
            self._digest = h.digest()
        return self._digest

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TensorValue):
            return False
        if self is other:
            return True
        # Compared by bytes: a NaN equals itself, and 0.0 differs from -0.0.
        a, b = self.array, other.array
        return a.dtype == b.dtype and a.shape == b.shape and self.digest == other.digest

    def __hash__(self) -> int:
        a = self.array
        if a.ndim == 0 and a.dtype != object:  # nearly all constants are scalars, and a digest costs microseconds
            return hash((a.dtype.char, a.tobytes()))
        return hash(self.digest)

    def __repr__(self) -> str:
        a = self.array
        return f"TensorValue({a.tolist() if a.size <= 8 else '...'}, {as_dtype(a.dtype).name}{a.shape})"


@record(frozen=True, slots=True)
class NoAttrs:
    """The attributes of ops that have none.

    Other classes of attributes are frozen dataclasses whose fields are int, float, bool, str, None, DType, TensorValue, tuples
    of Dims (shapes) or tuples of these, because that is what the file format can hold.
    """


NO_ATTRS = NoAttrs()

# ---------------------------------------------------------------------------------------------- inference


class InferContext:
    """What an op's `infer` may ask about: how dims agree, and the known values of its integer operands."""

    def __init__(
        self,
        op_name: str,
        policy: DimPolicy,
        value_of: Callable[[int], ShapeValue | None],
    ) -> None:
        self.op_name = op_name
        self.policy = policy
        self._value_of = value_of

    def value(self, i: int) -> ShapeValue | None:
        """The value of integer input i (rank 0: a Dim, rank 1: a tuple of Dims), possibly symbolic; None if unknown."""
        return self._value_of(i)

    def vector(self, i: int) -> tuple[Dim, ...] | None:
        """As `value`, for an operand that holds the sizes of a tensor (a scalar counts as a vector of one).

        Entries that only a run knows are sizes unlike any other.
        """
        found = self.entries(i)
        return None if found is None else tuple([fresh_dim() if d is None else d for d in found])

    def entries(self, i: int) -> tuple[Dim | None, ...] | None:
        """As `vector`, but None for an entry that only a run knows: it may be negative, which a size is not."""
        v = self._value_of(i)
        if v is None:
            return None
        return tuple([None if is_open(d) else d for d in (v if isinstance(v, tuple) else (v,))])

    def unify(self, a: Dim, b: Dim, message: str | Callable[[], str]) -> Dim:
        # The text is a function: it names shapes, and is written only if the sizes conflict.
        return self.policy.unify(a, b, message if callable(message) else lambda: message)

    def at_least(self, a: Dim, least: Dim, message: str | Callable[[], str]) -> None:
        self.policy.at_least(a, least, message if callable(message) else lambda: message)

    def not_0(self, a: Dim, message: str | Callable[[], str]) -> None:
        self.policy.not_0(a, message if callable(message) else lambda: message)

    def broadcast(self, a: Shape, b: Shape) -> Shape:
        return self.policy.broadcast_shapes(a, b, self.op_name)


InferFn: TypeAlias = "Callable[..., tuple[TensorType, ...]]"  # (ctx: InferContext, attrs, *inputs: TensorType)
GradResult: TypeAlias = "Sequence[Tensor | IndexedSlices | None]"
GradFn: TypeAlias = "Callable[..., GradResult]"  # (op: Operation, *output gradients: Tensor | None) -> one per input


@record(frozen=True, slots=True)
class NotDifferentiable:
    """The op passes no gradient; `gradients` gives None for what lies behind it."""

    reason: str


def not_differentiable(reason: str) -> NotDifferentiable:
    return NotDifferentiable(reason)


@record(frozen=True, slots=True)
class UndefinedGradient:
    """Nobody has defined a gradient of the op: where one is needed, `gradients` raises LookupError."""

    reason: str


def undefined_gradient(reason: str) -> UndefinedGradient:
    return UndefinedGradient(reason)


# ---------------------------------------------------------------------------------------------- samples


@record(frozen=True)
class Sample:
    """One case of the generated tests: op(attrs)(inputs) against `reference`, and its gradient in float64.

    `inputs` are numpy arrays of the main dtype (float32 or as given); the tests cast float inputs to float64 and to the other
    dtypes of the op's `dtypes`. `gradient` False leaves out the gradient check (with a reason in `note`); `wrt` are the inputs
    to differentiate (None: all floating ones). Keep inputs away from kinks, where a difference quotient says nothing.
    """

    inputs: tuple[Any, ...]
    attrs: Any = NO_ATTRS
    gradient: bool = True
    wrt: tuple[int, ...] | None = None
    rtol: float = 1e-5
    atol: float = 1e-6
    note: str = ""


# ---------------------------------------------------------------------------------------------- the definition


@record(frozen=True, eq=False)
class OpDef:
    """Everything graphflow knows about one op. See docs/add-an-op.md.

    name: the op's identity in files, so it never changes; TensorFlow's op name where one exists.
    kind: declarative payload (framework.kinds).
    infer: ``(ctx, attrs, *input types) -> output types``; input shapes may be None (unknown rank) on the user's graph.
    reference: numpy oracle ``(attrs, *arrays) -> array or tuple``; integer operands that steer shapes come as arrays too.
    grad: ``(op, *grads) -> one gradient or None per input``, built with user-level functions, or not_differentiable(...) or
        undefined_gradient(...). None for the library's own ops that have one: they have a rule in `graphflow/autodiff/rules/`.
    shape_operands: positions of inputs of which only the (symbolic) value matters; where it is known no kernel reads them.
    shape_value: ``(attrs, input types, input values) -> ShapeValue | None``: the symbolic value of the output, for ops on
        sizes; of ops with several outputs a list.
    dtypes: element types of the main inputs the op takes; the generated tests sweep them.
    """

    name: str
    kind: Kind
    infer: InferFn
    reference: Callable[..., Any] | None
    samples: Callable[[], Sequence[Sample]]
    grad: GradFn | NotDifferentiable | UndefinedGradient | None = None
    attrs: type = NoAttrs
    version: int = 1
    shape_operands: tuple[int, ...] = ()
    shape_value: Callable[..., ShapeValue | list[ShapeValue | None] | None] | None = None
    dtypes: tuple[DType, ...] = ()
    algebra: Algebra = NO_ALGEBRA
    onnx: str | None = None
    doc: str = field(default="")
    module: str = field(default="")  # set by register: the module that defines it
    makes_ref: bool = field(default=False, init=False)  # whether its outputs stand for a variable, not for a value

    def __post_init__(self) -> None:
        kind = self.kind
        is_variable = isinstance(kind, Source) and kind.what == "variable"
        object.__setattr__(self, "makes_ref", is_variable or isinstance(kind, StateUpdate))

    @property
    def family(self) -> str:
        """The short name of the module that defines it."""
        return self.module.rpartition(".")[2]

    @property
    def differentiable(self) -> bool:
        """Whether gradients are asked of it; those of undefined gradients are an error."""
        return not isinstance(self.grad, NotDifferentiable)


_OPS: dict[str, OpDef] = {}


def register(op: OpDef) -> OpDef:
    """Adds `op` to the table; its module-level name is the handle to build it with: ``build(op, inputs, attrs)``."""
    import sys

    module = str(sys._getframe(1).f_globals.get("__name__", ""))
    # The library's own op of that name may not be loaded yet. Its family may come a second time, where Ctrl-C ended the first.
    family, known = op_library().family_of(op.name), _OPS.get(op.name)
    if family not in (None, module) or (known is not None and not family == known.module == module):
        raise ValueError(f"op {op.name!r} is registered twice")
    # The caller's module, so that no definition has to name its own file.
    object.__setattr__(op, "module", module)
    _OPS[op.name] = op
    return op


def is_own(op: OpDef) -> bool:
    """Whether an op is one of graphflow's, not of a user's."""
    return op.module.startswith("graphflow.") and _OPS.get(op.name) is op


def lookup(name: str) -> OpDef:
    """The op called `name`. Raises KeyError with close matches."""
    found = _OPS.get(name)
    if found is None:
        op_library().load(name)
        found = _OPS.get(name)
    if found is None:
        import difflib

        op_library().load_all()
        if name in _OPS:
            return _OPS[name]
        near = difflib.get_close_matches(name, _OPS, 3)
        raise KeyError(f"no op is called {name!r}" + (f"; close: {', '.join(near)}" if near else ""))
    return found


def all_ops() -> Iterator[OpDef]:
    """Every registered op, by name."""
    op_library().load_all()
    return iter([_OPS[name] for name in sorted(_OPS)])


def same_shape_infer(ctx: InferContext, attrs: Any, x: TensorType, *rest: TensorType) -> tuple[TensorType, ...]:
    """The `infer` of ops whose result has the type of the first input."""
    return (x,)
