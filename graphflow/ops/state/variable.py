"""The variable itself as an op, and assignment to it. Row updates are in `rows`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow.framework.build import build, convert_to_tensor
from graphflow.framework.dtypes import ALL, NUMERIC, DType, as_dtype, bool_, int32, int64
from graphflow.framework.errors import DTypeError, OutOfRangeError
from graphflow.framework.kinds import Elementwise, Source, StateUpdate, TensorType, VariableIsInitialized
from graphflow.framework.records import record
from graphflow.framework.registry import InferContext, NoAttrs, OpDef, Sample, not_differentiable, register
from graphflow.framework.shapes import Shape, as_internal
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.updates import check_dtype, merge_shapes
from graphflow.ops.math.binary import subtract

_ASSIGNED = "an assignment changes a variable; it is no function of it"


# ---------------------------------------------------------------------------------------------- the variable


@record(frozen=True, slots=True)
class VariableAttrs:
    dtype: DType
    shape: Shape | None
    container: str = ""
    shared_name: str = ""


VARIABLE = register(
    OpDef(
        "VariableV2",
        Source("variable"),
        lambda ctx, attrs: (TensorType(attrs.dtype, attrs.shape),),
        None,
        list,
        grad=not_differentiable("a variable has no inputs"),
        attrs=VariableAttrs,
        dtypes=ALL,
        doc="A value that lives in the session and stays from run to run.",
    )
)


def variable_op(shape: Any, dtype: Any, name: str = "Variable", container: str = "", shared_name: str = "") -> Tensor:
    """The op of a variable; users make `Variable` objects, which hold one."""
    return build(VARIABLE, (), VariableAttrs(as_dtype(dtype).base_dtype, as_internal(shape), container, shared_name), name)


IS_VARIABLE_INITIALIZED = register(
    OpDef(
        "IsVariableInitialized",
        VariableIsInitialized(),
        lambda ctx, attrs, ref: (TensorType(bool_, ()),),
        None,
        list,
        grad=not_differentiable("a bool"),
        dtypes=ALL,
        doc="Whether a variable has a value in this session.",
    )
)


def mutable(ref: Any, op_name: str) -> Tensor:
    """The ref tensor of a Variable, or a ref tensor as it is. TypeError for anything else."""
    convert = getattr(ref, "_as_graph_element", None)
    t = ref if convert is None else convert()
    if not isinstance(t, Tensor) or not t.is_ref:
        raise DTypeError(f"'{op_name}' Op requires that input 'ref' be a mutable tensor (e.g.: a tf.Variable), but got {ref!r}")
    return t


def is_variable_initialized(ref: Any, name: str | None = None) -> Tensor:
    """A bool scalar: whether `ref` has a value."""
    return build(IS_VARIABLE_INITIALIZED, (mutable(ref, "IsVariableInitialized"),), NoAttrs(), name)


# ---------------------------------------------------------------------------------------------- assignment


@record(frozen=True, slots=True)
class AssignAttrs:
    validate_shape: bool = True


def _assign_infer(ctx: InferContext, attrs: AssignAttrs, ref: TensorType, value: TensorType) -> tuple[TensorType, ...]:
    check_dtype(ctx, "value", value.dtype, ref.dtype)
    # The variable takes the shape of whatever is assigned.
    if not attrs.validate_shape:
        return (value,)
    return (TensorType(ref.dtype, merge_shapes(ctx, ref.shape, value.shape)),)


ASSIGN = register(
    OpDef(
        "Assign",
        StateUpdate((0,), lambda p, ref, value: value),
        _assign_infer,
        lambda attrs, ref, value: (value,),
        lambda: [
            Sample(
                (np.zeros((2, 3), np.float32), np.arange(6, dtype=np.float32).reshape(2, 3)),
                AssignAttrs(),
                gradient=False,
            ),
            Sample((np.float32(0), np.float32(2)), AssignAttrs(), gradient=False),
            Sample((np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32)), AssignAttrs(), gradient=False),
        ],
        grad=not_differentiable(_ASSIGNED),
        attrs=AssignAttrs,
        dtypes=ALL,
        doc="Gives a variable a new value.",
    )
)


def _same_infer(ctx: InferContext, attrs: Any, ref: TensorType, value: TensorType) -> tuple[TensorType, ...]:
    check_dtype(ctx, "value", value.dtype, ref.dtype)
    return (TensorType(ref.dtype, merge_shapes(ctx, ref.shape, value.shape)),)


def _arithmetic_samples() -> list[Sample]:
    a = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    return [
        Sample((a, 2 * a + 1), gradient=False),
        Sample((np.float32(3), np.float32(2)), gradient=False),
        Sample((np.zeros((0,), np.float32), np.zeros((0,), np.float32)), gradient=False),
    ]


def _assign_arithmetic(name: str, op: str, reference: Callable[[Any, Any], Any], doc: str) -> OpDef:
    return OpDef(
        name,
        StateUpdate((0,), lambda p, ref, value: p.op(op, ref, value)),
        _same_infer,
        lambda attrs, ref, value: (reference(ref, value),),
        _arithmetic_samples,
        grad=not_differentiable(_ASSIGNED),
        dtypes=NUMERIC,
        doc=doc,
    )


ASSIGN_ADD = register(_assign_arithmetic("AssignAdd", "AddV2", np.add, "Adds to a variable."))
ASSIGN_SUB = register(_assign_arithmetic("AssignSub", "Sub", np.subtract, "Subtracts from a variable."))


def _build_update(op: OpDef, ref: Any, value: Any, attrs: Any, name: str | None) -> Tensor:
    target = mutable(ref, op.name)
    graph = target.graph
    with graph.as_default(), graph.name_scope(name or op.name) as scope:
        tensor = convert_to_tensor(value, target.base_dtype, name="value")
        return build(op, (target, tensor), attrs, scope)


def assign(
    ref: Any, value: Any, validate_shape: bool | None = None, use_locking: bool | None = None, name: str | None = None
) -> Tensor:
    """Gives the variable `ref` the value `value`. The result, a ref tensor, yields the new value.

    Args:
        ref: a Variable, a ref tensor, or a slice of a Variable.
        value: same dtype, and same shape unless `validate_shape` is False.
        use_locking: accepted; updates are always atomic.

    Raises:
        ValueError: the shapes differ. TypeError: the dtypes differ, or `ref` is not mutable.
    """
    if isinstance(ref, Tensor) and hasattr(ref, "assign"):  # a slice of a variable
        part: Any = ref
        whole: Tensor = part.assign(value, name=name)
        return whole
    return _build_update(ASSIGN, ref, value, AssignAttrs(validate_shape is not False), name)


def assign_add(ref: Any, value: Any, use_locking: bool | None = None, name: str | None = None) -> Tensor:
    """``ref += value`` in place (same shape); yields the new value."""
    return _build_update(ASSIGN_ADD, ref, value, NoAttrs(), name)


def assign_sub(ref: Any, value: Any, use_locking: bool | None = None, name: str | None = None) -> Tensor:
    """``ref -= value`` in place (same shape); yields the new value."""
    return _build_update(ASSIGN_SUB, ref, value, NoAttrs(), name)


# ---------------------------------------------------------------------------------------------- counting


@record(frozen=True, slots=True)
class CountAttrs:
    limit: int


INCREMENT_BELOW = register(
    OpDef(
        "IncrementBelow",
        Elementwise(
            lambda b, attrs, x: b.add(x, 1),
            check=lambda b, attrs, x: b.ge(x, attrs.limit),
            check_message=lambda attrs: f"Reached limit of {attrs.limit}",
        ),
        lambda ctx, attrs, x: (x,),
        lambda attrs, x: (x + 1).astype(x.dtype),
        lambda: [Sample((np.array([1, 2], np.int32),), CountAttrs(9), gradient=False)],
        grad=not_differentiable("integers"),
        attrs=CountAttrs,
        dtypes=(int32, int64),
        doc="x + 1; the run fails unless x is below the limit.",
    )
)


def _count_reference(attrs: CountAttrs, ref: Any) -> tuple[Any]:
    if np.any(ref >= attrs.limit):
        raise OutOfRangeError(message=f"Reached limit of {attrs.limit}")
    return ((ref + 1).astype(ref.dtype),)


COUNT_UP_TO = register(
    OpDef(
        "CountUpTo",
        StateUpdate((0,), lambda p, ref: p.op("IncrementBelow", ref, attrs=p.attrs), checks=True),
        lambda ctx, attrs, ref: (ref,),
        _count_reference,
        lambda: [Sample((np.int32(3),), CountAttrs(5), gradient=False)],
        grad=not_differentiable(_ASSIGNED),
        attrs=CountAttrs,
        dtypes=(int32, int64),
        doc="Adds one to an integer variable that is below a limit; an error otherwise.",
    )
)


def count_up_to(ref: Any, limit: int, name: str | None = None) -> Tensor:
    """Adds 1 to the scalar integer variable `ref`; yields its value before. OutOfRangeError (in a run) once it is `limit`."""
    counted = build(COUNT_UP_TO, (mutable(ref, "CountUpTo"),), CountAttrs(int(limit)), name)
    # As in TensorFlow the result is the value before, which an assignment does not yield.
    return subtract(counted, 1)


__all__ = ["assign", "assign_add", "assign_sub", "count_up_to", "is_variable_initialized", "mutable", "variable_op"]
