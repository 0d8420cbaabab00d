"""Embeddings: rows of a table, looked up by their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphflow.framework.build import convert_to_tensor, name_scope
from graphflow.framework.errors import ArgumentError
from graphflow.framework.tensor import Tensor
from graphflow.ops.array.axis import axis_size
from graphflow.ops.array.concat import concat
from graphflow.ops.array.gather import gather
from graphflow.ops.array.reshape import reshape
from graphflow.ops.array.shape import shape_tensor
from graphflow.ops.math.add_n import add_n
from graphflow.ops.math.binary import floordiv, maximum, minimum, mod
from graphflow.ops.math.clip import clip_by_norm, clip_by_value
from graphflow.ops.math.compare import equal
from graphflow.ops.math.select import where, where_v2


def embedding_lookup(
    params: Any,
    ids: Any,
    partition_strategy: str = "mod",
    name: str | None = None,
    validate_indices: bool = True,
    max_norm: float | None = None,
) -> Tensor:
    """Rows of the table `params` picked by `ids` (any shape): the result has shape ids.shape + params.shape[1:].

    Args:
        params: one tensor or variable, or a list of them: the parts of one table.
        ids: int32 or int64, any shape.
        partition_strategy: where the rows of a table in n parts are: "mod" has row i in part i % n, "div" has rows that
            follow each other in one part, of which the first are longer by one row if they differ.
        max_norm: rows longer than this are scaled down to it.

    Raises:
        ArgumentError: no table, or an unknown strategy. InvalidArgumentError (at run time): an id out of range.
    """
    tables = list(params) if isinstance(params, (list, tuple)) else [params]
    if not tables:
        raise ArgumentError("Need at least one param")
    if partition_strategy not in ("mod", "div"):
        raise ArgumentError(f"Unrecognized partition strategy: {partition_strategy}")
    with name_scope(name, "embedding_lookup"):
        if len(tables) == 1:
            rows = gather(tables[0], ids)
        else:
            rows = _from_parts(tables, convert_to_tensor(ids, name="ids"), partition_strategy)
        if max_norm is None:
            return rows

        # Each looked-up row is clipped by its own norm, not the table: rows that are not looked up cost nothing.
        kept = len(convert_to_tensor(ids)._shape or ())
        clipped: Tensor = clip_by_norm(rows, max_norm, axes=list(range(kept, len(rows._shape or ()))))
        return clipped


def _from_parts(tables: Sequence[Any], ids: Tensor, strategy: str) -> Tensor:
    """Every part is asked for all ids, those of other parts as its row 0: so no part is copied, and each gets the gradient of
    its own rows, as IndexedSlices."""
    flat = reshape(ids, [-1])
    count = len(tables)
    if strategy == "mod":
        part, row = mod(flat, count), floordiv(flat, count)
    else:
        part, row = _divided(tables, flat)
    found: Tensor | None = None
    for k, table in enumerate(tables):
        mine = equal(part, k)
        # A part that is known to have no row has no row 0 either: what is asked of it is out of range in another.
        empty = bool(table.shape) and table.shape.ndims and table.shape[0].value == 0
        rows = gather(tables[0], where_v2(mine, -1, 0)) if empty else gather(table, where_v2(mine, row, 0))
        found = rows if found is None else where(mine, rows, found)
    assert found is not None
    if ids._shape is not None and len(ids._shape) == 1:
        return found
    result: Tensor = reshape(found, concat([shape_tensor(ids), shape_tensor(found)[1:]], 0))
    return result


def _divided(tables: Sequence[Any], flat: Tensor) -> tuple[Tensor, Tensor]:
    """The part and the row of each id, where parts follow each other."""
    sizes = [axis_size(convert_to_tensor(t), 0, flat.base_dtype) for t in tables]
    total, last = add_n(sizes), len(tables) - 1
    least, longer = floordiv(total, len(tables)), mod(total, len(tables))
    part = maximum(floordiv(flat, least + 1), floordiv(flat - longer, maximum(least, 1)))
    # Ids out of range get a row out of range, too.
    part = clip_by_value(part, 0, last)
    return part, flat - (part * least + minimum(part, longer))
