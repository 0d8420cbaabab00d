"""The texts of run-time errors: what failed, the user's line, what to do."""

from __future__ import annotations

from collections.abc import Sequence

from graphflow.framework.errors import InvalidArgumentError, UninitializedVariableError
from graphflow.framework.graph import Operation, Tensor
from graphflow.framework.shapes import TensorShape, to_public
from graphflow_compiler.frontend import needed_operations

#: Before the name of the op, as TensorFlow's messages have it.
_NODE = "\n\t [[{{node "
#: Most placeholders that one message names; the others are counted.
_SHOWN = 8


def describe(op: Operation, message: str, kernel: str = "") -> str:
    """What happened, where the op was made, and (a line of its own) the kernel that it is part of."""
    return f"{message}\n  created at {op.created_at}{kernel}{_NODE}{op.name}}}}}]]"


def with_kernel(text: str, kernel: str) -> str:
    """The text that `describe` made, with a line on the kernel."""
    before, node, after = text.rpartition(_NODE)
    return f"{before}{kernel}{node}{after}" if node else text


def uninitialized(names: Sequence[str]) -> UninitializedVariableError:
    """One error for all variables that were read before they had a value."""
    others = f" (and also {', '.join(names[1:])})" if len(names) > 1 else ""
    return UninitializedVariableError(
        message=f"Attempting to use uninitialized value {names[0]}{others}\n"
        "  run tf.global_variables_initializer(), assign a value, or restore a checkpoint first\n"
        f"\t [[{{{{node {names[0]}}}}}]]"
    )


# TensorFlow's message spells these types as its protocol buffers do.
_TF_NAMES = {"float32": "float", "float64": "double", "float16": "half"}


def unfed(
    placeholders: Sequence[Operation], fetches: Sequence[Tensor | Operation] = (), feeds: Sequence[Tensor] = ()
) -> InvalidArgumentError:
    """One error for all placeholders that a run of `fetches` needs and nobody fed."""
    op = placeholders[0]
    lines = [f"You must feed a value for placeholder tensor {_placeholder(op)}{_needed_by(op, fetches, feeds)}"]
    lines += [f"  and for {_placeholder(o)}{_needed_by(o, fetches, feeds)}" for o in placeholders[1:_SHOWN]]
    if len(placeholders) > _SHOWN:
        lines.append(f"  and for {len(placeholders) - _SHOWN} others")
    lines += [f"  '{o.name}' was created at {o.created_at}" for o in placeholders[:_SHOWN]]
    lines.append(f"\t [[{{{{node {op.name}}}}}]]")
    return InvalidArgumentError(op=op, node_def=op, message="\n".join(lines))


def _placeholder(op: Operation) -> str:
    t = op.outputs[0]
    shape = to_public(t.type.shape)
    text = "" if shape.ndims is None else f" and shape {_brackets(shape)}"
    return f"'{op.name}' with dtype {_TF_NAMES.get(t.base_dtype.name, t.base_dtype.name)}{text}"


def _needed_by(op: Operation, fetches: Sequence[Tensor | Operation], feeds: Sequence[Tensor]) -> str:
    users = [f.name for f in fetches if f in op.outputs or op in needed_operations((f,), feeds)]
    more = f" and {len(users) - 3} more" if len(users) > 3 else ""
    return f", which the fetch of {', '.join(users[:3])}{more} needs" if users else ""


def _brackets(shape: TensorShape) -> str:
    return "[" + ",".join("?" if d.value is None else str(d.value) for d in shape) + "]"
