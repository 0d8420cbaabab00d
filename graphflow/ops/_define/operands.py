"""Conversion of the operands of elementwise ops to tensors, under the names that TensorFlow gives them."""

from __future__ import annotations

from typing import Any

from graphflow.framework import context, provenance
from graphflow.framework.build import as_array, convert_to_tensor, is_tensor_like
from graphflow.framework.dtypes import DType
from graphflow.framework.registry import NO_ATTRS, OpDef, TensorValue, lookup
from graphflow.framework.tensor import Tensor


def build_unary(op: OpDef, x: Any, name: str | None, arg: str = "x", attrs: Any = NO_ATTRS) -> Tensor:
    """Adds `op` on x. A value that is no tensor becomes the constant ``<op>/<arg>``, as in TensorFlow."""
    if isinstance(x, Tensor):
        return x.op.graph.create_op(op, (x,), attrs, name or op.name).outputs[0]
    if is_tensor_like(x):
        t = convert_to_tensor(x)
        return t.op.graph.create_op(op, (t,), attrs, name or op.name).outputs[0]
    graph = context.get_default_graph()
    with graph.name_scope(name or op.name) as scope:
        t = convert_to_tensor(x, name=arg)
    return graph.create_op(op, (t,), attrs, scope).outputs[0]


def build_binary(
    op: OpDef, x: Any, y: Any, name: str | None, args: tuple[str, str] = ("x", "y"), attrs: Any = NO_ATTRS
) -> Tensor:
    """Adds `op` on x and y. A value that is no tensor takes the dtype of the other side and is named ``<op>/<arg>``."""
    if isinstance(x, Tensor) and isinstance(y, Tensor):
        return x.op.graph.create_op(op, (x, y), attrs, name or op.name).outputs[0]
    # One capture, 2.5 us, for the op and its constant.
    frames = provenance.capture()
    a, b, scope = convert_operands((x, y), name or op.name, args, frames)
    return a.op.graph.create_op(op, (a, b), attrs, scope, (), frames).outputs[0]


def convert_operands(
    values: tuple[Any, Any], name: str, args: tuple[str, str], frames: provenance.RawFrames | None = None
) -> tuple[Tensor, Tensor, str]:
    """Both operands as tensors, and the name for the op: a scope to close around new constants, or `name` unchanged.

    `frames` is the user's line, where the caller has it.
    """
    x, y = values
    x_is, y_is = is_tensor_like(x), is_tensor_like(y)
    if x_is:
        x = convert_to_tensor(x)
    if y_is:
        y = convert_to_tensor(y)
    if x_is and y_is:
        return x, y, name
    if y_is is not x_is and type(y if x_is else x) in (int, float, bool) and name[-1] != "/":
        # The commonest case, ``x * 2``: it needs neither a name scope nor the conversion that takes any value.
        like, arg = (x, args[1]) if x_is else (y, args[0])
        graph, (const, attrs) = like.op.graph, _scalar(y if x_is else x, like.base_dtype)
        scope = graph.unique_name(name) + "/"
        made = graph.create_op(const, (), attrs, f"{scope}{arg}/", (), frames).outputs[0]
        return (x, made, scope) if x_is else (made, y, scope)
    graph = x.op.graph if x_is else y.op.graph if y_is else context.get_default_graph()
    with graph.as_default(), graph.name_scope(name) as scope:
        if not x_is:
            x = convert_to_tensor(x, y.base_dtype if y_is else None, name=args[0])
        if not y_is:
            y = convert_to_tensor(y, x.base_dtype, name=args[1])
    return x, y, scope


_scalars: dict[tuple[str, str], tuple[OpDef, Any]] = {}


def _scalar(value: float, dtype: DType) -> tuple[OpDef, Any]:
    """The op of constants and its attrs for a number."""
    # By its text, because 0.0 and -0.0, or 1 and True, are one key otherwise.
    key = (dtype.name, repr(value))
    found = _scalars.get(key)
    if found is None:
        # A bound for programs that build ops with new numbers again and again.
        if len(_scalars) >= 4096:
            _scalars.clear()
        const = lookup("Const")
        found = _scalars[key] = const, const.attrs(TensorValue(as_array(value, dtype)))
    return found
