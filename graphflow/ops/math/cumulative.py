"""Running sums and products along an axis: cumsum and cumprod."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow.framework.build import build, convert_to_tensor
from graphflow.framework.deferred import deferrable
from graphflow.framework.dtypes import NUMERIC
from graphflow.framework.kinds import Host, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import InferContext, OpDef, Sample, register
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.axes import check_axes, one_position
from graphflow.ops._define.deferred_types import like
from graphflow.ops._define.types import check_number


@record(frozen=True, slots=True)
class CumulativeAttrs:
    axis: int = 0
    exclusive: bool = False
    reverse: bool = False


def _cumulative_infer(ctx: InferContext, attrs: CumulativeAttrs, x: TensorType) -> tuple[TensorType, ...]:
    check_number(ctx, x)
    if x.shape is not None:
        check_axes(ctx.op_name, (attrs.axis,), len(x.shape))
    return (x,)


def _cumulative_reference(ufunc: Any, start: int) -> Callable[..., Any]:
    def reference(attrs: CumulativeAttrs, x: Any) -> Any:
        x = np.asarray(x)
        if attrs.reverse:
            x = np.flip(x, attrs.axis)
        with np.errstate(all="ignore"):
            # In the dtype of x: numpy by itself adds up small integers in wider ones.
            total = ufunc.accumulate(x, axis=attrs.axis, dtype=x.dtype)
        if attrs.exclusive and x.shape[attrs.axis]:
            first = np.full_like(np.take(x, [0], attrs.axis), start)
            total = np.concatenate([first, np.take(total, np.arange(x.shape[attrs.axis] - 1), attrs.axis)], attrs.axis)
        return np.ascontiguousarray(np.flip(total, attrs.axis) if attrs.reverse else total)

    return reference


def _cumulative_samples() -> list[Sample]:
    rng = np.random.default_rng(23)
    x = rng.uniform(0.5, 1.5, (3, 5)).astype(np.float32)
    flags = [(False, False), (True, False), (False, True), (True, True)]
    cases = [Sample((x,), CumulativeAttrs(axis, *f), rtol=1e-4) for axis in (0, 1) for f in flags]
    return [*cases, Sample((np.zeros((0, 3), np.float32),), CumulativeAttrs()), Sample((x[0, :1],), CumulativeAttrs())]


def _cumulative(name: str, ufunc: Any, start: int, doc: str) -> OpDef:
    return OpDef(
        name,
        Host(),
        _cumulative_infer,
        _cumulative_reference(ufunc, start),
        _cumulative_samples,
        attrs=CumulativeAttrs,
        dtypes=NUMERIC,
        doc=doc,
    )


CUMSUM = register(_cumulative("Cumsum", np.add, 0, "Running sums along an axis."))
CUMPROD = register(_cumulative("Cumprod", np.multiply, 1, "Running products along an axis."))


def cumsum(x: Any, axis: Any = 0, exclusive: bool = False, reverse: bool = False, name: str | None = None) -> Tensor:
    """Running sums along `axis`: [a, b, c] -> [a, a + b, a + b + c].

    Args:
        exclusive: each sum leaves its own element out: [0, a, a + b].
        reverse: from the end: [a + b + c, b + c, c].
    """
    return _along(CUMSUM, convert_to_tensor(x, name="x"), axis, bool(exclusive), bool(reverse), name)


def cumprod(x: Any, axis: Any = 0, exclusive: bool = False, reverse: bool = False, name: str | None = None) -> Tensor:
    """Running products along `axis`; arguments as of `cumsum`."""
    return _along(CUMPROD, convert_to_tensor(x, name="x"), axis, bool(exclusive), bool(reverse), name)


@deferrable(like("x"), "axis")
def _along(op: OpDef, x: Tensor, axis: Any, exclusive: bool, reverse: bool, name: str | None = None) -> Tensor:
    return build(op, (x,), CumulativeAttrs(one_position(op.name, axis, x, 0), exclusive, reverse), name)
