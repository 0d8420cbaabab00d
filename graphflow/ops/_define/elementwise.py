"""What the elementwise families share: making tensors of operands, rules of types and shapes, sample inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow.framework import context, provenance
from graphflow.framework.build import as_array, convert_to_tensor, is_tensor_like
from graphflow.framework.dtypes import FLOATS, SIGNED, UNSIGNED, DType, bool_, int32, int64
from graphflow.framework.errors import DTypeError
from graphflow.framework.kinds import NO_ALGEBRA, Algebra, Elementwise, ShapeValue, TensorType
from graphflow.framework.registry import (
    NO_ATTRS,
    InferContext,
    InferFn,
    NotDifferentiable,
    OpDef,
    Sample,
    TensorValue,
)
from graphflow.framework.shapes import Dim, Shape, SymDim
from graphflow.framework.tensor import Tensor
from graphflow.ops.array.source import CONST, ConstAttrs

_KINDS: dict[str, tuple[DType, ...]] = {"f": FLOATS, "i": SIGNED, "u": UNSIGNED, "b": (bool_,)}

# ---------------------------------------------------------------------------------------------- operands


def build_unary(op: OpDef, x: Any, name: str | None, arg: str = "x", attrs: Any = NO_ATTRS) -> Tensor:
    """`op` on x. A value that is no tensor becomes the constant ``<op>/<arg>``, as in TensorFlow."""
    if isinstance(x, Tensor):
        return x.op.graph.create_op(op, (x,), attrs, name or op.name).outputs[0]
    if is_tensor_like(x):
        t = convert_to_tensor(x)
        return t.op.graph.create_op(op, (t,), attrs, name or op.name).outputs[0]
    graph = context.get_default_graph()
    with graph.name_scope(name or op.name) as scope:
        t = convert_to_tensor(x, name=arg)
    return graph.create_op(op, (t,), attrs, scope).outputs[0]


def build_binary(
    op: OpDef, x: Any, y: Any, name: str | None, args: tuple[str, str] = ("x", "y"), attrs: Any = NO_ATTRS
) -> Tensor:
    """`op` on x and y. A value that is no tensor takes the dtype of the other side and is named ``<op>/<arg>``."""
    if isinstance(x, Tensor) and isinstance(y, Tensor):
        return x.op.graph.create_op(op, (x, y), attrs, name or op.name).outputs[0]
    frames = provenance.capture()
    a, b, scope = convert_operands((x, y), name or op.name, args, frames)
    return a.op.graph.create_op(op, (a, b), attrs, scope, (), frames).outputs[0]


def convert_operands(
    values: tuple[Any, Any], name: str, args: tuple[str, str], frames: provenance.RawFrames | None = None
) -> tuple[Tensor, Tensor, str]:
    """Both operands as tensors, and the name for the op: a scope to close around new constants, or `name` unchanged.

    `frames` is the user's line, where the caller has it.
    """
    x, y = values
    x_is, y_is = is_tensor_like(x), is_tensor_like(y)
    if x_is:
        x = convert_to_tensor(x)
    if y_is:
        y = convert_to_tensor(y)
    if x_is and y_is:
        return x, y, name
    if y_is is not x_is and type(y if x_is else x) in (int, float, bool) and name[-1] != "/":
        # The commonest case, ``x * 2``, without the cost of a scope and of a conversion of whatever it may be.
        like, arg = (x, args[1]) if x_is else (y, args[0])
        graph, attrs = like.op.graph, _scalar(y if x_is else x, like.base_dtype)
        scope = graph.unique_name(name) + "/"
        made = graph.create_op(CONST, (), attrs, f"{scope}{arg}/", (), frames).outputs[0]
        return (x, made, scope) if x_is else (made, y, scope)
    graph = x.op.graph if x_is else y.op.graph if y_is else context.get_default_graph()
    with graph.as_default(), graph.name_scope(name) as scope:
        if not x_is:
            x = convert_to_tensor(x, y.base_dtype if y_is else None, name=args[0])
        if not y_is:
            y = convert_to_tensor(y, x.base_dtype, name=args[1])
    return x, y, scope


_scalars: dict[tuple[str, str], ConstAttrs] = {}


def _scalar(value: float, dtype: DType) -> ConstAttrs:
    key = (dtype.name, repr(value))
    found = _scalars.get(key)
    if found is None:
        if len(_scalars) >= 4096:
            _scalars.clear()
        found = _scalars[key] = ConstAttrs(TensorValue(as_array(value, dtype)))
    return found


# ---------------------------------------------------------------------------------------------- types


def allowed(kinds: str) -> tuple[DType, ...]:
    return tuple(d for k in kinds for d in _KINDS[k])


def refuse(ctx: InferContext, arg: str, dtype: DType, kinds: str) -> DTypeError:
    names = ", ".join(d.name for d in allowed(kinds))
    if kinds == "b":
        return DTypeError(
            f"Input '{arg}' of '{ctx.op_name}' Op has type {dtype.name} that does not match expected type of bool."
        )
    return DTypeError(
        f"{ctx.op_name}: Value passed to parameter '{arg}' has DataType {dtype.name} not in list of allowed values: " + names
    )


def mismatch(ctx: InferContext, args: tuple[str, str], x: TensorType, y: TensorType) -> DTypeError:
    return DTypeError(
        f"Input '{args[1]}' of '{ctx.op_name}' Op has type {y.dtype.name} that does not match type {x.dtype.name} of "
        f"argument '{args[0]}'."
    )


def unary_infer(kinds: str, arg: str = "x", out: DType | None = None) -> InferFn:
    """Type rule of one operand with a dtype of `kinds` (letters f, i, u, b); the result has dtype `out` or its own."""

    def infer(ctx: InferContext, attrs: Any, x: TensorType) -> tuple[TensorType, ...]:
        if x.dtype.kind not in kinds:
            raise refuse(ctx, arg, x.dtype, kinds)
        return (x,) if out is None else (TensorType(out, x.shape),)

    return infer


def binary_infer(kinds: str, args: tuple[str, str] = ("x", "y"), out: DType | None = None) -> InferFn:
    """Type rule of two operands of one dtype that broadcast."""

    def infer(ctx: InferContext, attrs: Any, x: TensorType, y: TensorType) -> tuple[TensorType, ...]:
        if x.dtype is not y.dtype:
            raise mismatch(ctx, args, x, y)
        if x.dtype.kind not in kinds:
            raise refuse(ctx, args[0], x.dtype, kinds)
        if out is None and (x.shape == y.shape or y.shape == ()) and x.shape is not None:
            return (x,)
        return (TensorType(out or x.dtype, broadcast(ctx, x.shape, y.shape)),)

    return infer


def broadcast(ctx: InferContext, a: Shape | None, b: Shape | None) -> Shape | None:
    if a is None or b is None:
        return None
    return a if a == b else ctx.broadcast(a, b)


def unequal(what: str, a: Shape, b: Shape) -> str:
    """TensorFlow's words for two shapes that ought to be one."""
    if len(a) != len(b):
        return f"{what}: Shapes must be equal rank, but are {len(a)} and {len(b)}: {brackets(a)} and {brackets(b)}."
    axis = next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=True)) if isinstance(x, int) and isinstance(y, int) and x != y),
        0,
    )
    return (
        f"{what}: Dimension {axis} in both shapes must be equal, but are {a[axis]} and {b[axis]}. Shapes are "
        f"{brackets(a)} and {brackets(b)}."
    )


def brackets(shape: Shape) -> str:
    return "[" + ",".join("?" if isinstance(d, SymDim) else str(d) for d in shape) + "]"


def dim_arithmetic(f: Callable[[Dim, Dim], Dim | None]) -> Callable[..., ShapeValue | None]:
    """The symbolic value of arithmetic on sizes: ``tf.shape(x)[0] * 4`` is known where it is used as a shape."""

    def shape_value(attrs: Any, types: tuple[TensorType, ...], values: tuple[ShapeValue | None, ...]) -> ShapeValue | None:
        a, b = values
        if a is None or b is None or types[0].dtype not in (int32, int64):
            return None
        if not isinstance(a, tuple) and not isinstance(b, tuple):
            return _in_range(f(a, b), types[0].dtype)
        n = max(len(v) for v in (a, b) if isinstance(v, tuple))
        pairs = zip(_repeat(a, n), _repeat(b, n), strict=True)
        dims = [_in_range(f(x, y), types[0].dtype) for x, y in pairs]
        return None if any(d is None for d in dims) else tuple(d for d in dims if d is not None)

    return shape_value


def _repeat(v: ShapeValue, n: int) -> tuple[Dim, ...]:
    if not isinstance(v, tuple):
        return (v,) * n
    return v * n if len(v) == 1 else v


def _in_range(d: Dim | None, dtype: DType) -> Dim | None:
    # A known value that wraps is left to the run; sizes known only there are taken not to.
    limit = 1 << (8 * dtype.size - 1)
    return None if isinstance(d, int) and not -limit <= d < limit else d


# ---------------------------------------------------------------------------------------------- definitions


def quiet(f: Callable[..., Any], dtype: DType | None = None) -> Callable[..., Any]:
    """A numpy function as an OpDef.reference: no warnings, and the result in `dtype` or the first operand's."""

    def reference(attrs: Any, *arrays: Any) -> Any:
        with np.errstate(all="ignore"):
            return np.asarray(f(*arrays)).astype(arrays[0].dtype if dtype is None else dtype.numpy_dtype)

    return reference


_SHAPES: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (7,), (3, 5), (2, 1, 3))
_PAIRS: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((), ()), ((0, 3), (3,)), ((1,), (1,)), ((7,), (7,)), ((3, 5), (5,)), ((3, 1), (1, 4)), ((), (2, 3)),
    ((2, 3, 4), (3, 1)),
)  # fmt: skip


def spread(shape: tuple[int, ...], low: float, high: float, avoid: Sequence[float] = (), seed: int = 0) -> Any:
    """float32 values in [low, high], the same every time, none within a tenth of `avoid`."""
    x = np.random.default_rng([seed, *shape]).uniform(low, high, shape)
    for kink in avoid:
        x = np.where(np.abs(x - kink) < 0.1, kink + 0.2, x)
    return np.asarray(x, np.float32)


def unary_samples(
    low: float, high: float, avoid: Sequence[float] = (), attrs: Any = NO_ATTRS, gradient: bool = True
) -> Callable[[], list[Sample]]:
    return lambda: [Sample((spread(s, low, high, avoid),), attrs, gradient) for s in _SHAPES]


def binary_samples(
    x: tuple[float, float], y: tuple[float, float], apart: float = 0.0, gradient: bool = True, attrs: Any = NO_ATTRS
) -> Callable[[], list[Sample]]:
    """Pairs that broadcast in all ways; y keeps `apart` from zero and, where that is negative, from x."""

    def samples() -> list[Sample]:
        made = []
        for i, (a, b) in enumerate(_PAIRS):
            left, right = spread(a, *x, seed=i), spread(b, *y, seed=i + 100)
            if apart > 0:
                right = np.where(np.abs(right) < apart, np.float32(apart) + np.abs(right), right)
            if apart < 0:  # on different grids: their distance is at least a quarter
                left, right = np.round(left), np.round(right) + np.float32(0.5)
            made.append(Sample((left, right), attrs, gradient))
        return made

    return samples


def unary_op(
    name: str, rule: Callable[..., Any], reference: Callable[..., Any], doc: str,
    low: float = -2.0, high: float = 2.0, avoid: Sequence[float] = (), kinds: str = "f", arg: str = "x",
    out: DType | None = None, cheap: bool = True, algebra: Algebra = NO_ALGEBRA, onnx: str | None = None,
    grad: NotDifferentiable | None = None,
) -> OpDef:  # fmt: skip
    """The definition of a one-operand op without attributes.

    `low`, `high` and `avoid` are the domain of its samples; `grad` says why there is no gradient, where there is none.
    """
    return OpDef(
        name,
        Elementwise(rule, cheap=cheap),
        unary_infer(kinds, arg, out),
        quiet(reference, out),
        unary_samples(low, high, avoid, gradient=grad is None),
        grad=grad,
        dtypes=allowed(kinds),
        algebra=algebra,
        onnx=onnx,
        doc=doc,
    )


def binary_op(
    name: str, rule: Callable[..., Any], reference: Callable[..., Any], doc: str,
    x: tuple[float, float] = (-3.0, 3.0), y: tuple[float, float] = (-3.0, 3.0), apart: float = 0.0, kinds: str = "fiu",
    args: tuple[str, str] = ("x", "y"), out: DType | None = None, cheap: bool = True,
    check: Callable[..., Any] | None = None,
    check_message: str = "", shape_value: Callable[..., ShapeValue | None] | None = None, algebra: Algebra = NO_ALGEBRA,
    onnx: str | None = None, checked: tuple[DType, ...] | None = None, grad: NotDifferentiable | None = None,
) -> OpDef:  # fmt: skip
    """The definition of an op on two operands that broadcast.

    `x`, `y` and `apart` are the domain of its samples; `grad` says why there is no gradient, where there is none.
    """
    return OpDef(
        name,
        Elementwise(rule, check, check_message, cheap, checked),
        binary_infer(kinds, args, out),
        quiet(reference, out),
        binary_samples(x, y, apart, gradient=grad is None),
        grad=grad,
        shape_value=shape_value,
        dtypes=allowed(kinds),
        algebra=algebra,
        onnx=onnx,
        doc=doc,
    )
