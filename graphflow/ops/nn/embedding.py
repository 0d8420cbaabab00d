"""Embeddings: rows of a table, looked up by their numbers."""

from __future__ import annotations

from typing import Any

from graphflow.framework.build import convert_to_tensor, name_scope
from graphflow.framework.errors import ArgumentError
from graphflow.framework.tensor import Tensor
from graphflow.ops.array.gather import gather
from graphflow.ops.math.clip import clip_by_norm


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
        params: one tensor or variable, or a list of one; a table that is split into several is not supported.
        ids: int32 or int64, any shape.
        max_norm: rows longer than this are scaled down to it.

    Raises:
        ArgumentError: several tables. InvalidArgumentError (at run time): an id out of range.
    """
    if isinstance(params, (list, tuple)):
        if len(params) != 1:
            raise ArgumentError(f"embedding_lookup: a table in {len(params)} parts is not supported; concatenate them")
        params = params[0]
    with name_scope(name, "embedding_lookup"):
        rows = gather(params, ids)
        if max_norm is None:
            return rows

        # Each looked-up row is clipped by its own norm, not the table: rows that are not looked up cost nothing.
        kept = len(convert_to_tensor(ids)._shape or ())
        clipped: Tensor = clip_by_norm(rows, max_norm, axes=list(range(kept, len(rows._shape or ()))))
        return clipped
