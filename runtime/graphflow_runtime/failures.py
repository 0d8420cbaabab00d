"""The texts of run-time errors: what failed, the user's line, what to do."""

from __future__ import annotations

from collections.abc import Sequence

from graphflow.core.graph import Operation
from graphflow.errors import InvalidArgumentError, UninitializedVariableError
from graphflow.shapes import TensorShape, to_public


def describe(op: Operation, message: str) -> str:
    return f"{message}\n  created at {op.created_at}\n\t [[{{{{node {op.name}}}}}]]"


def uninitialized(names: Sequence[str]) -> UninitializedVariableError:
    """One error for all variables that were read before they had a value."""
    others = f" (and also {', '.join(names[1:])})" if len(names) > 1 else ""
    return UninitializedVariableError(
        message=f"Attempting to use uninitialized value {names[0]}{others}\n"
        "  run tf.global_variables_initializer(), assign a value, or restore a checkpoint first\n"
        f"\t [[{{{{node {names[0]}}}}}]]"
    )


_TF_NAMES = {"float32": "float", "float64": "double", "float16": "half"}


def unfed(placeholders: Sequence[Operation]) -> InvalidArgumentError:
    """One error for all placeholders that a run needs and nobody fed."""
    op = placeholders[0]
    t = op.outputs[0]
    shape = to_public(t.type.shape)
    text = "" if shape.ndims is None else f" and shape {_brackets(shape)}"
    lines = [
        f"You must feed a value for placeholder tensor '{op.name}' with dtype "
        f"{_TF_NAMES.get(t.base_dtype.name, t.base_dtype.name)}{text}"
    ]
    lines += [f"  and for '{other.name}' ({other.created_at})" for other in placeholders[1:]]
    lines += [f"  created at {op.created_at}", f"\t [[{{{{node {op.name}}}}}]]"]
    return InvalidArgumentError(op=op, node_def=op, message="\n".join(lines))


def _brackets(shape: TensorShape) -> str:
    return "[" + ",".join("?" if d.value is None else str(d.value) for d in shape) + "]"
