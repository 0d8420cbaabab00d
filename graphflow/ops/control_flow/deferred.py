"""The op that stands for a call which only a run can make: an axis is a tensor, or a rank is unknown."""

from __future__ import annotations

import numpy as np

from graphflow.framework.deferred import DeferredAttrs, call_results, infer_deferred, reference_of
from graphflow.framework.dtypes import float32
from graphflow.framework.kinds import Deferred
from graphflow.framework.registry import OpDef, Sample, register


def _samples() -> list[Sample]:
    x = np.arange(6, dtype=np.float32).reshape(2, 3) - 2.5
    call = '{"arguments": {"axis": {"operand": 1}, "logits": {"operand": 0}}, "function": "softmax"}'
    return [Sample((x, np.array(k, np.int32)), DeferredAttrs(call, (float32,), ((2, 3),), (1,)), rtol=1e-4) for k in (0, -1)]


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
