"""Optimizer steps: one StateUpdate op per variable, which the compiler fuses into the kernel that makes its gradient.

The formulas are TensorFlow's. The sparse forms take gradient rows `grad` and their `indices`: rows that repeat are added up
first, and rows that do not occur stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow.framework.dtypes import FLOATS
from graphflow.framework.errors import ShapeError
from graphflow.framework.kinds import ExpandContext, StateUpdate, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import NO_ATTRS, InferContext, OpDef, Sample, register, undefined_gradient
from graphflow.ops._define.bad_elements import refuse_rows
from graphflow.ops._define.types import brackets
from graphflow.ops._define.updates import check_dtype, merge_shapes, rows_infer
from graphflow.ops.array.row_updates import ROWS_ADD, ROWS_UPDATE

Formula = Callable[..., Sequence[Any]]  # (attrs, *refs, *scalars, grad), Terms or arrays -> the new values of the refs


class Term:
    """A value of an expansion with Python's arithmetic, so that one formula serves the compiler and numpy arrays."""

    __slots__ = ("p", "value")

    def __init__(self, p: ExpandContext, value: Any) -> None:
        self.p = p
        self.value = value

    def _op(self, name: str, *others: Term | float) -> Term:
        return Term(self.p, self.p.op(name, self.value, *(self._operand(o) for o in others)))

    def _operand(self, other: Term | float) -> Any:
        if isinstance(other, Term):
            return other.value
        return self.p.const(other, self.p.type(self.value).dtype)

    def __add__(self, other: Term | float) -> Term:
        return self._op("AddV2", other)

    def __sub__(self, other: Term | float) -> Term:
        return self._op("Sub", other)

    def __rsub__(self, other: float) -> Term:
        return Term(self.p, self._operand(other)) - self

    def __mul__(self, other: Term | float) -> Term:
        return self._op("Mul", other)

    __rmul__ = __mul__

    def __truediv__(self, other: Term | float) -> Term:
        return self._op("RealDiv", other)

    def __neg__(self) -> Term:
        return self._op("Neg")


def _function(op: str, on_arrays: Callable[..., Any]) -> Callable[..., Any]:
    """A function of formulas: the op `op` on Terms, `on_arrays` on numpy arrays."""
    return lambda x, *others: x._op(op, *others) if isinstance(x, Term) else on_arrays(x, *others)


_square = _function("Square", np.square)
_sqrt = _function("Sqrt", np.sqrt)
_abs = _function("Abs", np.abs)
_sign = _function("Sign", np.sign)
_power = _function("Pow", np.power)


def _where_above(x: Any, limit: Any, a: Any, b: Any) -> Any:
    """a where x > limit, else b; shapes broadcast."""
    if not isinstance(x, Term):
        return np.where(x > limit, a, b)
    return Term(x.p, x.p.op("SelectV2", x._op("Greater", limit).value, x._operand(a), x._operand(b)))


# ---------------------------------------------------------------------------------------------- formulas


def _gradient_descent(attrs: Any, var: Any, alpha: Any, grad: Any) -> Sequence[Any]:
    return (var - grad * alpha,)


@record(frozen=True, slots=True)
class MomentumAttrs:
    use_nesterov: bool = False


def _momentum(attrs: MomentumAttrs, var: Any, accum: Any, lr: Any, momentum: Any, grad: Any) -> Sequence[Any]:
    accum = accum * momentum + grad
    if attrs.use_nesterov:
        # Nesterov: the gradient, and one more step along the new momentum.
        return var - (grad * lr + accum * momentum * lr), accum
    return var - accum * lr, accum


def _adam(
    attrs: MomentumAttrs, var: Any, m: Any, v: Any, beta1_power: Any, beta2_power: Any, lr: Any, beta1: Any, beta2: Any,
    epsilon: Any, grad: Any,
) -> Sequence[Any]:  # fmt: skip
    # Both bias corrections in one factor of the step, which leaves epsilon outside of
    # them (the paper's "epsilon hat").
    alpha = lr * _sqrt(1.0 - beta2_power) / (1.0 - beta1_power)
    # The moving average m * beta1 + grad * (1 - beta1), as TensorFlow writes it, with one product less.
    m = m + (grad - m) * (1.0 - beta1)
    v = v + (_square(grad) - v) * (1.0 - beta2)
    step = m * beta1 + grad * (1.0 - beta1) if attrs.use_nesterov else m
    return var - step * alpha / (_sqrt(v) + epsilon), m, v


def _rms_prop(
    attrs: Any, var: Any, ms: Any, mom: Any, lr: Any, rho: Any, momentum: Any, epsilon: Any, grad: Any
) -> Sequence[Any]:
    ms = ms + (_square(grad) - ms) * (1.0 - rho)
    # Epsilon under the root, as in TensorFlow.
    mom = mom * momentum + grad * lr / _sqrt(ms + epsilon)
    return var - mom, ms, mom


def _centered_rms_prop(
    attrs: Any, var: Any, mg: Any, ms: Any, mom: Any, lr: Any, rho: Any, momentum: Any, epsilon: Any, grad: Any
) -> Sequence[Any]:
    ms = ms + (_square(grad) - ms) * (1.0 - rho)
    mg = mg + (grad - mg) * (1.0 - rho)
    # The variance E[g^2] - E[g]^2 in place of the mean square; epsilon keeps it above 0 where the two nearly cancel.
    mom = mom * momentum + grad * lr / _sqrt(ms - _square(mg) + epsilon)
    return var - mom, mg, ms, mom


def _adagrad(attrs: Any, var: Any, accum: Any, lr: Any, grad: Any) -> Sequence[Any]:
    accum = accum + _square(grad)
    # No epsilon: the accumulator starts above 0.
    return var - grad * lr / _sqrt(accum), accum


def _adadelta(attrs: Any, var: Any, accum: Any, accum_update: Any, lr: Any, rho: Any, epsilon: Any, grad: Any) -> Sequence[Any]:
    accum = accum * rho + _square(grad) * (1.0 - rho)
    # The averages of squared updates before this step: the one of this step depends on the update itself.
    update = _sqrt(accum_update + epsilon) / _sqrt(accum + epsilon) * grad
    return var - update * lr, accum, accum_update * rho + _square(update) * (1.0 - rho)


def _ftrl(
    attrs: Any,
    var: Any,
    accum: Any,
    linear: Any,
    lr: Any,
    l1: Any,
    l2: Any,
    l2_shrinkage: Any,
    lr_power: Any,
    grad: Any,
) -> Sequence[Any]:
    # L2 shrinkage changes the gradient but not the accumulator, so it does not slow down the learning rate.
    with_shrinkage = grad + 2.0 * l2_shrinkage * var
    new_accum = accum + _square(grad)
    old_root, new_root = _power(accum, -lr_power), _power(new_accum, -lr_power)
    linear = linear + with_shrinkage - (new_root - old_root) / lr * var
    quadratic = new_root / lr + 2.0 * l2
    # The minimum of the regularised sum of linear terms; weights whose |linear| is within l1 become exactly 0.
    shrunk = (_sign(linear) * l1 - linear) / quadratic
    return _where_above(_abs(linear), l1, shrunk, 0.0), new_accum, linear


# ---------------------------------------------------------------------------------------------- dense and sparse ops


def _check(ctx: InferContext, refs: tuple[TensorType, ...], scalars: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
    shape = refs[0].shape
    for t in refs[1:]:
        check_dtype(ctx, "slot", t.dtype, refs[0].dtype, "var")
        shape = merge_shapes(ctx, shape, t.shape, " (variable and slot)")
    for t in scalars:
        check_dtype(ctx, "a hyper-parameter", t.dtype, refs[0].dtype, "var")
        if t.shape is not None and t.shape != ():
            raise ShapeError(
                f"{ctx.op_name}: Shape must be rank 0 but is rank {len(t.shape)}: a hyper-parameter of shape "
                f"{brackets(t.shape)} is not a scalar"
            )
    return tuple(TensorType(t.dtype, shape) for t in refs)


def _dense_infer(n: int) -> Callable[..., tuple[TensorType, ...]]:
    def infer(ctx: InferContext, attrs: Any, *types: TensorType) -> tuple[TensorType, ...]:
        outputs = _check(ctx, types[:n], types[n:-1])
        check_dtype(ctx, "grad", types[-1].dtype, types[0].dtype, "var")
        merge_shapes(ctx, outputs[0].shape, types[-1].shape, " (variable and gradient)")
        return outputs

    return infer


def _sparse_infer(n: int) -> Callable[..., tuple[TensorType, ...]]:
    def infer(ctx: InferContext, attrs: Any, *types: TensorType) -> tuple[TensorType, ...]:
        outputs = _check(ctx, types[:n], types[n:-2])
        rows_infer(ctx, attrs, outputs[0], types[-1], types[-2])
        return outputs

    return infer


def _dense_expand(formula: Formula) -> Callable[..., Any]:
    def expand(p: ExpandContext, *values: Any) -> Any:
        return tuple(t.value for t in formula(p.attrs, *(Term(p, v) for v in values)))

    return expand


def _sparse_expand(formula: Formula, n: int, every_row: bool) -> Callable[..., Any]:
    """The dense formula on the scattered gradient; rows that do not occur keep their old values.

    `every_row`: the formula with a gradient of 0 is right for the rows that do not occur, too (Adam's moments decay, as in
    TensorFlow; Adagrad adds nothing), so they need not be kept.
    """

    def expand(p: ExpandContext, *values: Any) -> Any:
        refs, grad, indices = values[:n], values[-2], values[-1]
        type_ = p.type(refs[0])
        assert type_.shape is not None
        zeros = p.broadcast_to(p.const(0, type_.dtype), type_.shape)
        dense = p.op(ROWS_ADD.name, zeros, indices, grad)
        new = formula(p.attrs, *(Term(p, v) for v in (*values[:-2], dense)))
        if every_row:
            return tuple(t.value for t in new)
        rows, rest = type_.shape[:1], type_.shape[1:]
        index_shape = p.type(indices).shape
        assert index_shape is not None
        ones = p.broadcast_to(p.const(1, type_.dtype), index_shape)
        # 1 where a row occurs. A gradient that adds up to 0 must still count, so it cannot be read off the gradient.
        marks = p.op(ROWS_UPDATE.name, p.broadcast_to(p.const(0, type_.dtype), rows), indices, ones)
        touched = Term(p, p.reshape(marks, rows + (1,) * len(rest)))
        return tuple(_where_above(touched, 0.0, t, Term(p, old)).value for t, old in zip(new, refs, strict=True))

    return expand


def _reference(formula: Formula) -> Callable[..., Any]:
    def reference(attrs: Any, *arrays: Any) -> tuple[Any, ...]:
        dtype = np.asarray(arrays[0]).dtype
        with np.errstate(all="ignore"):
            new = formula(attrs, *(np.asarray(a) for a in arrays))
        return tuple(np.asarray(a, dtype=dtype) for a in new)

    return reference


def _sparse_reference(formula: Formula, n: int, every_row: bool) -> Callable[..., Any]:
    dense_reference = _reference(formula)

    def reference(attrs: Any, *arrays: Any) -> tuple[Any, ...]:
        refuse_rows("indices", arrays[-1], arrays[0].shape[0])
        dense = np.zeros_like(arrays[0])
        np.add.at(dense, arrays[-1], arrays[-2])
        new = dense_reference(attrs, *arrays[:-2], dense)
        if every_row:
            return tuple(new)
        out = [np.array(ref) for ref in arrays[:n]]
        for kept, array in zip(out, new, strict=True):
            kept[arrays[-1]] = array[arrays[-1]]
        return tuple(out)

    return reference


def _state(shape: tuple[int, ...], n: int, scalars: tuple[float, ...]) -> tuple[Any, ...]:
    """A variable, n - 1 slots and the hyper-parameters."""
    size = int(np.prod(shape))
    starts = [(-1.0, 1.0), *((0.5, 1.5 + i) for i in range(n - 1))]
    refs = (np.linspace(low, high, size, dtype=np.float32).reshape(shape) for low, high in starts)
    return (*refs, *(np.float32(v) for v in scalars))


def _dense_samples(n: int, scalars: tuple[float, ...], attrs: Any) -> list[Sample]:
    shapes: tuple[tuple[int, ...], ...] = ((2, 3), (), (0,), (17,))
    gradients = (np.linspace(-0.7, 0.9, int(np.prod(s)), dtype=np.float32).reshape(s) for s in shapes)
    return [Sample((*_state(s, n, scalars), g), attrs, gradient=False) for s, g in zip(shapes, gradients, strict=True)]


def _sparse_samples(n: int, scalars: tuple[float, ...], attrs: Any) -> list[Sample]:
    cases = []
    for rows, rest in ((4, (3,)), (5, ()), (0, (2,))):
        indices = np.array([1, 3, 1] if rows else [], np.int32)
        shape = (indices.size, *rest)
        grad = np.linspace(0.2, 0.9, int(np.prod(shape)), dtype=np.float32).reshape(shape)
        cases.append(Sample((*_state((rows, *rest), n, scalars), grad, indices), attrs, gradient=False))
    return cases


_REASON = undefined_gradient("an optimizer step changes variables; it is no function of them")


def _dense(name: str, n: int, formula: Formula, scalars: tuple[float, ...], attrs: Any = NO_ATTRS) -> OpDef:
    """The op ``Apply<name>`` on (*n refs, *scalars, grad)."""
    return register(
        OpDef(
            f"Apply{name}",
            StateUpdate(tuple(range(n)), _dense_expand(formula)),
            _dense_infer(n),
            _reference(formula),
            lambda: _dense_samples(n, scalars, attrs),
            grad=_REASON,
            attrs=type(attrs),
            dtypes=FLOATS,
            doc=f"One {name} step.",
        )
    )


def _sparse(
    name: str, n: int, formula: Formula, scalars: tuple[float, ...], attrs: Any = NO_ATTRS, every_row: bool = False
) -> OpDef:
    """The op ``SparseApply<name>`` on (*n refs, *scalars, grad, indices); see `_sparse_expand` for `every_row`."""
    return register(
        OpDef(
            f"SparseApply{name}",
            # `checks`: an index out of range fails the run.
            StateUpdate(tuple(range(n)), _sparse_expand(formula, n, every_row), checks=True),
            _sparse_infer(n),
            _sparse_reference(formula, n, every_row),
            lambda: _sparse_samples(n, scalars, attrs),
            grad=_REASON,
            attrs=type(attrs),
            dtypes=FLOATS,
            doc=f"One {name} step for some rows.",
        )
    )


_MOMENTUM = (0.1, 0.9)
_ADAM = (0.9, 0.999, 0.1, 0.9, 0.999, 1e-8)
_RMS = (0.1, 0.9, 0.5, 1e-10)
_CENTERED = (0.1, 0.9, 0.5, 10.0)
_ADADELTA = (0.1, 0.95, 1e-6)
_FTRL = (0.1, 0.01, 0.02, 0.0, -0.5)

APPLY_GRADIENT_DESCENT = _dense("GradientDescent", 1, _gradient_descent, (0.1,))
APPLY_MOMENTUM = _dense("Momentum", 2, _momentum, _MOMENTUM, MomentumAttrs())
SPARSE_APPLY_MOMENTUM = _sparse("Momentum", 2, _momentum, _MOMENTUM, MomentumAttrs())
APPLY_ADAM = _dense("Adam", 3, _adam, _ADAM, MomentumAttrs())
SPARSE_APPLY_ADAM = _sparse("Adam", 3, _adam, _ADAM, MomentumAttrs(), every_row=True)
APPLY_RMS_PROP = _dense("RMSProp", 3, _rms_prop, _RMS)
SPARSE_APPLY_RMS_PROP = _sparse("RMSProp", 3, _rms_prop, _RMS)
APPLY_CENTERED_RMS_PROP = _dense("CenteredRMSProp", 4, _centered_rms_prop, _CENTERED)
SPARSE_APPLY_CENTERED_RMS_PROP = _sparse("CenteredRMSProp", 4, _centered_rms_prop, _CENTERED)
APPLY_ADAGRAD = _dense("Adagrad", 2, _adagrad, (0.1,))
SPARSE_APPLY_ADAGRAD = _sparse("Adagrad", 2, _adagrad, (0.1,), every_row=True)
APPLY_ADADELTA = _dense("Adadelta", 3, _adadelta, _ADADELTA)
SPARSE_APPLY_ADADELTA = _sparse("Adadelta", 3, _adadelta, _ADADELTA)
APPLY_FTRL = _dense("FtrlV2", 3, _ftrl, _FTRL)
SPARSE_APPLY_FTRL = _sparse("FtrlV2", 3, _ftrl, _FTRL)
