"""The op that stands for a call which only a run can make: an axis is a tensor, or a rank is unknown."""

from __future__ import annotations

import numpy as np

from graphflow.framework.deferred import DeferredAttrs, call_results, infer_deferred, reference_of
from graphflow.framework.dtypes import float32
from graphflow.framework.kinds import Deferred
from graphflow.framework.registry import OpDef, Sample, register


def _samples() -> list[Sample]:
    x = np.arange(6, dtype=np.float32).reshape(2, 3) - 2.5
    softmax = '{"axis": {"operand": 1}, "dim": null, "op": {"op": "Softmax"}, "x": {"operand": 0}}'
    attrs = DeferredAttrs(f'{{"arguments": {softmax}, "function": "_softmax"}}', (float32,), ((2, 3),), (1,))
    # Its gradient is not tried in float64, because the call says of which type the result is.
    return [Sample((x, np.array(k, np.int32)), attrs, gradient=False, rtol=1e-4) for k in (0, -1)]


DEFERRED = register(
    OpDef(
        "Deferred",
        Deferred(call_results),
        infer_deferred,
        reference_of(call_results),
        _samples,
        attrs=DeferredAttrs,
        shape_operands=(1,),
        doc="A call whose ops are chosen when ranks, and the values of operands such as an axis, are known.",
    )
)
