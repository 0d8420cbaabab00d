"""Random numbers: every element's bits are a function of its position, of how often the session has executed the op, and of
the op's seeds (`framework.philox`)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow.framework import context
from graphflow.framework.build import build, convert_to_tensor, name_scope
from graphflow.framework.dtypes import FLOATS, DType, as_dtype, float32, float64, int32, int64, uint32, uint64
from graphflow.framework.errors import ArgumentError, DTypeError, ShapeError
from graphflow.framework.kinds import Elementwise, LowerContext, Random, TensorType
from graphflow.framework.philox import SALTED
from graphflow.framework.records import record
from graphflow.framework.registry import NO_ATTRS, InferContext, OpDef, Sample, not_differentiable, register
from graphflow.framework.scalar_builder import ScalarBuilder
from graphflow.framework.shapes import format_shape, fresh_dim
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.arguments import static_ints
from graphflow.ops.math.binary import add, multiply, subtract

# ---------------------------------------------------------------------------------------------- seeds

_DEFAULT_GRAPH_SEED = 87654321  # TensorFlow's, for an op seed without a graph seed
_MASK = 0xFFFFFFFF


def set_random_seed(seed: int | None) -> None:
    """The seed of the current default graph; it counts for ops that are made from now on."""
    context.get_default_graph().seed = None if seed is None else int(seed)


def get_seed(op_seed: int | None) -> tuple[int | None, int | None]:
    """The two seeds of an op, as TensorFlow derives them.

    With a graph seed, an op without one of its own takes the number of ops in the graph as its seed, so the same program draws
    the same numbers. With neither, both seeds are None.
    """
    graph = context.get_default_graph()
    if graph.seed is not None:
        seeds = graph.seed % 2**31, (graph.version if op_seed is None else int(op_seed)) % 2**31
    elif op_seed is not None:
        seeds = _DEFAULT_GRAPH_SEED, int(op_seed) % 2**31
    else:
        return None, None
    # TensorFlow reads two zeros as "no seed", and gives this pair in their place.
    return (0, 2**31 - 1) if seeds == (0, 0) else seeds


@record(frozen=True, slots=True)
class RandomAttrs:
    """The key of the generator; see `framework.philox.draws` for the mark of ops without any seed."""

    dtype: DType = float32
    seed: int = 0
    seed2: int = 0


def _attrs(dtype: DType, op_seed: int | None) -> RandomAttrs:
    seed, seed2 = get_seed(op_seed)
    if seed is None or seed2 is None:
        drawn = int.from_bytes(os.urandom(8), "little")  # drawn per op, so that two ops without seeds differ
        return RandomAttrs(dtype, drawn & _MASK, drawn >> 32 | SALTED)
    return RandomAttrs(dtype, seed, seed2)


# ---------------------------------------------------------------------------------------------- distributions


def _unit(b: ScalarBuilder[Any], dtype: DType, high: Any, low: Any) -> Any:
    """A multiple of 2^-k in [0, 1); `low` counts for float64 only.

    k is one less than the precision of `dtype`, as in TensorFlow: with all bits, scaling to [0, max) could round up to max.
    """
    if dtype is float64:
        # By way of int32, for which processors have a conversion to floats; after the
        # shift the value is never negative.
        top = b.cast(b.cast(b.binary("shr", high, b.const(6, uint32)), int32), float64)
        rest = b.cast(b.cast(b.binary("shr", low, b.const(6, uint32)), int32), float64)
        return b.mul(b.add(b.mul(top, 2.0**26), rest), 2.0**-52)
    bits = {"float16": 10, "bfloat16": 7}.get(dtype.name, 23)
    value = b.cast(b.cast(b.binary("shr", high, b.const(32 - bits, uint32)), int32), float32)
    return _narrow(b, b.mul(value, 2.0**-bits), dtype)


def _narrow(b: ScalarBuilder[Any], x: Any, dtype: DType) -> Any:
    return x if b.dtype(x) is dtype else b.cast(x, dtype)


def _wide(dtype: DType) -> DType:
    return float64 if dtype is float64 else float32


def _uniform_rule(b: ScalarBuilder[Any], ctx: LowerContext, draw: Callable[[int], Any]) -> Any:
    return _unit(b, ctx.outputs[0].dtype, draw(0), draw(1))


def _positive(b: ScalarBuilder[Any], dtype: DType, high: Any, low: Any) -> Any:
    """Uniform in (0, 1], fine near 0, which is where the logarithm of the normal's radius looks."""
    if dtype is float64:
        # One step up: [0, 1) becomes (0, 1].
        return b.add(_unit(b, float64, high, low), 2.0**-52)
    value = b.cast(b.cast(b.binary("shr", high, b.const(1, uint32)), int32), float32)
    return b.mul(b.add(value, 1.0), 2.0**-31)


def _normal_rule(b: ScalarBuilder[Any], ctx: LowerContext, draw: Callable[[int], Any]) -> Any:
    """Box and Muller's transformation of the element's own two uniforms."""
    dtype = ctx.outputs[0].dtype
    wide = _wide(dtype)
    # Of the pair of normal numbers that two uniforms give, only this one is used: each element has its own two.
    radius = b.sqrt(b.mul(b.call("log", _positive(b, wide, draw(0), draw(1))), -2.0))
    angle = b.mul(_unit(b, wide, draw(2), draw(3)), 2 * math.pi)
    return _narrow(b, b.mul(radius, b.call("cos", angle)), dtype)


#: erf(sqrt(2)): the probability of being within two standard deviations.
_WITHIN_TWO = 0.9544997361036416
#: Giles, "Approximating the erfinv function" (GPU Computing Gems 2, 2010), the branch for w < 5, highest power first.
_ERFINV = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164,
    0.246640727, 1.50140941,
)  # fmt: skip


def erfinv_central(b: ScalarBuilder[Any], v: Any) -> Any:
    """The inverse of erf for |v| < 0.995, as precise as float32; in float64 one step of Newton's method follows."""
    w = b.sub(b.neg(b.call("log", b.mul(b.sub(1.0, v), b.add(1.0, v)))), 2.5)
    p = b.const(_ERFINV[0], b.dtype(v))
    for c in _ERFINV[1:]:
        p = b.add(b.mul(p, w), c)
    x = b.mul(p, v)
    if b.dtype(v) is float64:
        slope = b.mul(b.call("exp", b.mul(x, x)), math.sqrt(math.pi) / 2)
        x = b.sub(x, b.mul(b.sub(b.call("erf", x), v), slope))
    return x


def _truncated_rule(b: ScalarBuilder[Any], ctx: LowerContext, draw: Callable[[int], Any]) -> Any:
    """The quantile function at a uniform: unlike rejection it needs one draw, so each element stands alone."""
    dtype = ctx.outputs[0].dtype
    wide = _wide(dtype)
    # Off 0, where the quantile is infinite, and symmetric about 1/2.
    half_step = 2.0**-53 if wide is float64 else 2.0**-24
    u = b.add(_unit(b, wide, draw(0), draw(1)), half_step)
    v = b.mul(b.sub(b.mul(u, 2.0), 1.0), _WITHIN_TWO)
    x = b.mul(erfinv_central(b, v), math.sqrt(2.0))
    # Roundings must not lead out of the range that is promised.
    return _narrow(b, b.maximum(b.minimum(x, 2.0), -2.0), dtype)


def _integer_rule(b: ScalarBuilder[Any], ctx: LowerContext, draw: Callable[[int], Any], low: Any, high: Any) -> Any:
    """minval + bits mod range, as TensorFlow: the bias is below range / 2^32 (2^64 for int64)."""
    if ctx.outputs[0].dtype is int64:
        unsigned = uint64
        bits = b.binary("or", b.binary("shl", b.cast(draw(0), uint64), b.const(32, uint64)), b.cast(draw(1), uint64))
    else:
        unsigned, bits = uint32, draw(0)
    # Unsigned, because the range of signed bounds may have twice the largest signed number.
    span = b.sub(b.bitcast(high, unsigned), b.bitcast(low, unsigned))
    # An empty range has failed the run by its check, but a division by 0 would kill the process.
    offset = b.binary("mod", bits, b.select(b.eq(span, 0), 1, span))
    return b.bitcast(b.add(b.bitcast(low, unsigned), offset), ctx.outputs[0].dtype)


# ---------------------------------------------------------------------------------------------- the ops


def _infer(ctx: InferContext, attrs: RandomAttrs, shape: TensorType, *rest: TensorType) -> tuple[TensorType, ...]:
    if not shape.dtype.is_integer:
        raise DTypeError(f"{ctx.op_name}: the shape must be int32 or int64, not {shape.dtype.name}")
    dims = ctx.vector(0)
    if dims is None and shape.shape is not None and shape.shape and isinstance(shape.shape[0], int):
        dims = tuple(fresh_dim() for _ in range(shape.shape[0]))
    least = min((d for d in dims or () if isinstance(d, int)), default=0)
    if least < 0:
        raise ShapeError(f"{ctx.op_name}: Dimension {least} must be >= 0 in shape {format_shape(dims)}")
    return (TensorType(attrs.dtype, dims),)


def _samples() -> list[Sample]:
    return [Sample((np.array(s, np.int32),), RandomAttrs(float32, 1, 2), gradient=False) for s in ([3, 5], [7], [], [0, 2])]


def _float_op(name: str, rule: Callable[..., Any], doc: str) -> OpDef:
    return OpDef(
        name,
        Random(rule),
        _infer,
        None,
        _samples,
        grad=not_differentiable("random numbers are no function of an input"),
        attrs=RandomAttrs,
        shape_operands=(0,),
        doc=doc,
    )


RANDOM_UNIFORM = register(_float_op("RandomUniform", _uniform_rule, "Uniform in [0, 1)."))
RANDOM_NORMAL = register(_float_op("RandomStandardNormal", _normal_rule, "Normal with mean 0 and deviation 1."))
TRUNCATED_NORMAL = register(
    _float_op("TruncatedNormal", _truncated_rule, "Standard normal, of values within two deviations only.")
)
RANDOM_UNIFORM_INT = register(
    OpDef(
        "RandomUniformInt",
        Random(_integer_rule),
        _infer,
        None,
        lambda: [
            Sample(
                (np.array([4, 3], np.int32), np.asarray(-5, np.int32), np.asarray(7, np.int32)),
                RandomAttrs(int32, 1, 2),
                gradient=False,
            )
        ],
        grad=not_differentiable("integers"),
        attrs=RandomAttrs,
        shape_operands=(0,),
        doc="Uniform integers in [minval, maxval).",
    )
)


def _bound_reference(attrs: Any, low: Any, high: Any) -> Any:
    bad = np.asarray(low) >= np.asarray(high)
    if np.any(bad):
        raise ArgumentError(
            f"Need minval < maxval, got {np.asarray(low)[bad].ravel()[0]} >= {np.asarray(high)[bad].ravel()[0]}"
        )
    return np.asarray(high)


UPPER_BOUND = register(
    OpDef(
        "RandomUpperBound",
        Elementwise(
            lambda b, attrs, low, high: high,
            check=lambda b, attrs, low, high: b.ge(low, high),
            check_message="Need minval < maxval",
        ),
        lambda ctx, attrs, low, high: (high,),
        _bound_reference,
        lambda: [Sample((np.asarray(1, np.int32), np.asarray(4, np.int32)), gradient=False)],
        grad=not_differentiable("integers"),
        dtypes=(int32, int64),
        doc="maxval; the run fails unless it is above minval.",
    )
)

# ---------------------------------------------------------------------------------------------- user functions


def _shape_tensor(shape: Any) -> Tensor:
    # Sizes that are all known are checked here, where the user's line is known, and need no op.
    if not isinstance(shape, Tensor) and not (isinstance(shape, (list, tuple)) and any(isinstance(d, Tensor) for d in shape)):
        dims = shape.as_list() if hasattr(shape, "as_list") else shape
        if isinstance(dims, (list, tuple)):
            dims = list(static_ints(dims, "shape"))
            if any(d < 0 for d in dims):
                raise ShapeError(f"Dimension {min(dims)} must be >= 0 in shape {dims}")
            wide = any(d >= 2**31 for d in dims)
            return convert_to_tensor(np.asarray(dims, np.int64 if wide else np.int32), name="shape")
        shape = dims
    return convert_to_tensor(shape, name="shape")


def _float_type(dtype: Any, function: str) -> DType:
    found = as_dtype(dtype).base_dtype
    if found not in FLOATS:
        raise DTypeError(f"{function}: dtype must be a float type, got {found.name}")
    return found


def _scaled(
    op: OpDef, function: str, shape: Any, mean: Any, stddev: Any, dtype: Any, seed: int | None, name: str | None
) -> Tensor:
    found = _float_type(dtype, function)
    with name_scope(name, function, [shape, mean, stddev]) as scope:
        dims = _shape_tensor(shape)
        location = convert_to_tensor(mean, found, name="mean")
        scale = convert_to_tensor(stddev, found, name="stddev")
        drawn = build(op, (dims,), _attrs(found, seed))
        # The names of TensorFlow's ops, and its order of operations.
        return add(multiply(drawn, scale, name="mul"), location, name=scope)


def random_normal(
    shape: Any,
    mean: Any = 0.0,
    stddev: Any = 1.0,
    dtype: Any = float32,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """Normally distributed values.

    Args:
        shape: ints, or an integer vector tensor.
        mean, stddev: numbers or tensors of `dtype` that broadcast with `shape`.
        seed: with it (or `set_random_seed`), every session draws the same sequence.

    Raises:
        TypeError: `dtype` is no float type.
    """
    return _scaled(RANDOM_NORMAL, "random_normal", shape, mean, stddev, dtype, seed, name)


def truncated_normal(
    shape: Any,
    mean: Any = 0.0,
    stddev: Any = 1.0,
    dtype: Any = float32,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """As `random_normal`, but of values within two standard deviations of the mean only."""
    return _scaled(TRUNCATED_NORMAL, "truncated_normal", shape, mean, stddev, dtype, seed, name)


def random_uniform(
    shape: Any,
    minval: Any = 0,
    maxval: Any = None,
    dtype: Any = float32,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """Uniformly distributed values in [minval, maxval), floats (by default below 1) or int32 and int64.

    Raises:
        ValueError: an integer range without `maxval`, or an empty one.
        TypeError: another dtype.
        InvalidArgumentError: in a run, where tensors give an empty range of integers.
    """
    found = as_dtype(dtype).base_dtype
    if found not in (*FLOATS, int32, int64):
        raise DTypeError(f"Invalid dtype {found.name}: random_uniform gives floats, int32 and int64")
    if maxval is None:
        if found.is_integer:
            raise ArgumentError(f"Must specify maxval for integer dtype {found.name}")
        maxval = 1
    with name_scope(name, "random_uniform", [shape, minval, maxval]) as scope:
        dims = _shape_tensor(shape)
        low = convert_to_tensor(minval, found, name="min")
        high = convert_to_tensor(maxval, found, name="max")
        if found.is_integer:
            # Bounds that are known are checked now, at the user's line; others need a check in the run.
            known_low, known_high = low.static_value(), high.static_value()
            if isinstance(known_low, int) and isinstance(known_high, int):
                if known_low >= known_high:
                    raise ArgumentError(f"Need minval < maxval, got {known_low} >= {known_high}")
            else:
                high = build(UPPER_BOUND, (low, high), NO_ATTRS)
            return build(RANDOM_UNIFORM_INT, (dims, low, high), _attrs(found, seed), scope)
        drawn = build(RANDOM_UNIFORM, (dims,), _attrs(found, seed))
        return add(multiply(drawn, subtract(high, low, name="sub"), name="mul"), low, name=scope)


normal = random_normal
uniform = random_uniform
set_seed = set_random_seed

__all__ = [
    "get_seed", "normal", "random_normal", "random_uniform", "set_random_seed", "set_seed", "truncated_normal", "uniform",
]  # fmt: skip
