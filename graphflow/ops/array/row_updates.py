"""Ops that overwrite rows of a value, add to them and so on: the building blocks of updates of variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow.framework.dtypes import ALL, FLOATS, NUMERIC
from graphflow.framework.kinds import ExpandContext, Scatter
from graphflow.framework.registry import OpDef, Sample, register, undefined_gradient
from graphflow.ops._define.bad_elements import refuse_rows
from graphflow.ops._define.updates import rows_infer

#: combine -> how one row is combined with the row of an update (None: replaced by it)
_COMBINE: dict[str, Callable[[Any, Any], Any] | None] = {
    "set": None, "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
    "min": np.minimum, "max": np.maximum,
}  # fmt: skip


def rows_reference(combine: str) -> Callable[..., Any]:
    function = _COMBINE[combine]

    def reference(attrs: Any, ref: Any, indices: Any, updates: Any) -> Any:
        out = np.array(ref)
        refuse_rows("indices", indices, out.shape[0])
        flat = np.asarray(indices).reshape(-1)
        rows = np.broadcast_to(updates, np.shape(indices) + out.shape[1:]).reshape((flat.size, *out.shape[1:]))
        with np.errstate(all="ignore"):
            # Row by row in order: repeated indices add up, and of those that overwrite the last wins.
            for i, row in zip(flat, rows, strict=True):
                out[i] = row if function is None else function(out[i], row)
        return out

    return reference


def rows_samples(scalar_updates: bool) -> list[Sample]:
    ref = np.arange(1, 13, dtype=np.float32).reshape(4, 3)
    updates = np.linspace(1, 2, 9, dtype=np.float32).reshape(3, 3)
    cases = [
        Sample((ref, np.array([1, 3, 1], np.int32), updates), gradient=False),
        Sample((ref, np.int32(2), updates[0]), gradient=False),
        Sample((ref[:, 0], np.array([], np.int32), np.zeros((0,), np.float32)), gradient=False),
    ]
    if scalar_updates:
        cases.append(Sample((ref, np.array([[0], [2]], np.int64), np.float32(2)), gradient=False))
    return cases


def full_rows(p: ExpandContext, base: Any, indices: Any, updates: Any) -> Any:
    """`updates` with a row per index, where a scalar stands for all of them."""
    if p.type(updates).shape != ():
        return updates
    base_shape, index_shape = p.type(base).shape, p.type(indices).shape
    assert base_shape is not None and index_shape is not None
    return p.broadcast_to(updates, index_shape + base_shape[1:])


def _row_op(name: str, combine: Any, doc: str) -> OpDef:
    return OpDef(
        name,
        Scatter(combine),
        rows_infer,
        rows_reference(combine),
        lambda: rows_samples(False),
        grad=None if combine == "set" else undefined_gradient("a building block of variable updates"),
        dtypes=ALL if combine == "set" else FLOATS if combine == "div" else NUMERIC,
        doc=doc,
    )


ROWS_UPDATE = register(_row_op("RowsUpdate", "set", "base with rows overwritten; the last one wins."))
ROWS_ADD = register(_row_op("RowsAdd", "add", "base with rows added to; repeated rows add up."))
ROWS_SUB = register(_row_op("RowsSub", "sub", "base with rows subtracted from."))
ROWS_MUL = register(_row_op("RowsMul", "mul", "base with rows multiplied."))
ROWS_DIV = register(_row_op("RowsDiv", "div", "base with rows divided."))
ROWS_MIN = register(_row_op("RowsMin", "min", "The smaller of base and updates, by row."))
ROWS_MAX = register(_row_op("RowsMax", "max", "The larger of base and updates, by row."))
