"""Ops for order and effects: no_op, group, tuple, Assert, Print, check_numerics, py_func. `assertions` has `tf.assert_*`."""

from __future__ import annotations

import builtins
import itertools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow.framework import context
from graphflow.framework.build import as_array, build, build_op, convert_to_tensor, name_scope
from graphflow.framework.dtypes import ALL, FLOATS, DType, as_dtype, bool_, string
from graphflow.framework.errors import ArgumentError, DTypeError, NumericError
from graphflow.framework.graph import Graph
from graphflow.framework.indexed_slices import IndexedSlices
from graphflow.framework.kinds import Assertion, Composite, Elementwise, Host, NoOp, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import InferContext, OpDef, Sample, not_differentiable, register
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.array.identity import identity

# ---------------------------------------------------------------------------------------------- order only

NO_OP = register(
    OpDef(
        "NoOp",
        NoOp(),
        lambda ctx, attrs: (),
        lambda attrs: (),
        list,
        grad=not_differentiable("it has no outputs"),
        doc="Does nothing; its control inputs run first.",
    )
)


def no_op(name: str | None = None) -> Operation:
    """An operation that does nothing, to carry control dependencies."""
    return build_op(NO_OP, (), name=name)


def _operation(item: Any) -> Operation:
    """The operation behind an Operation, Tensor, Variable or IndexedSlices."""
    if isinstance(item, Operation):
        return item
    op = getattr(item, "op", None)
    if not isinstance(op, Operation):
        raise TypeError(f"Expected tf.group() expected Tensor objects not None with type '{type(item)}'")
    return op


def _flatten(items: Any) -> list[Any]:
    flat: list[Any] = []
    todo = [items]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            # By key, so that the order does not depend on how the dict was filled;
            # backwards, because `todo` is a stack.
            todo += [item[k] for k in sorted(item, reverse=True)]
        elif isinstance(item, (list, builtins.tuple)):
            todo += reversed(item)
        else:
            flat.append(item)
    return flat


def group(*inputs: Any, name: str | None = None, **kwargs: Any) -> Operation:
    """An operation that is done when all of `inputs` (operations, tensors, nested lists of them) are done.

    Raises:
        TypeError: an input is None or of another kind.
    """
    if kwargs:
        raise ArgumentError(f"Unknown keyword arguments: {', '.join(kwargs)}")
    operations = list(dict.fromkeys(_operation(item) for item in _flatten(inputs)))
    graph: Graph = operations[0].graph if operations else context.get_default_graph()
    with graph.as_default(), graph.control_dependencies(operations):
        return no_op(name or "group_deps")


def with_dependencies(dependencies: Sequence[Any], output_tensor: Any, name: str | None = None) -> Any:
    """`output_tensor`, available only after `dependencies` (operations or tensors) are done."""
    operations = [_operation(d) for d in dependencies]
    graph = output_tensor.graph
    with name_scope(name, "control_dependency", [output_tensor]) as scope, graph.control_dependencies(operations):
        if isinstance(output_tensor, IndexedSlices):
            # The values alone are gated: whoever reads the sparse gradient reads them.
            values = identity(output_tensor.values)
            return IndexedSlices(values, output_tensor.indices, output_tensor.dense_shape)
        return identity(convert_to_tensor(output_tensor), name=scope)


def tuple(tensors: Any, name: str | None = None, control_inputs: Any = None) -> list[Any]:
    """The tensors again, each available only after all of them, and `control_inputs`, are done. None stays None.

    Raises:
        ValueError: no tensor is given. TypeError: a control input is no operation or tensor.
    """
    with name_scope(name, "tuple", [t for t in tensors if t is not None]):
        gates = [_operation(t) for t in tensors if t is not None] + [_operation(c) for c in control_inputs or ()]
        if not gates:
            raise ArgumentError(f"Must have at least one Tensor: {tensors}")
        # By name, as in TensorFlow, so that the same tensors in any order make the same graph.
        gate = group(*sorted(dict.fromkeys(gates), key=lambda op: op.name))
        return [None if t is None else with_dependencies([gate], t) for t in tensors]


# ---------------------------------------------------------------------------------------------- showing values


def _number(value: Any, is_long: bool) -> str:
    """As C++ and TensorFlow print it: bools as 0 and 1, floats with as few digits as tell them apart, in two lengths."""
    if not isinstance(value, float):
        return str(int(value)) if isinstance(value, bool) else str(value)
    short = f"{value:.15g}" if is_long else f"{value:.6g}"
    same = float(short) == value if is_long else np.float32(short) == np.float32(value)
    return short if same or value != value else f"{value:.17g}" if is_long else f"{value:.9g}"


def summarize(array: Any, limit: int | None) -> str:
    """The first `limit` elements of an array (3 by default, -1 for all), in TensorFlow's brackets."""
    array = np.asarray(array)
    limit = 3 if limit is None else array.size if limit < 0 else limit
    # One counter for the whole array: the limit is on its elements, not on those of each row.
    left = itertools.count(limit, -1)

    def show(a: Any) -> str:
        if a.ndim == 0:
            value = a.item()
            return value.decode(errors="replace") if isinstance(value, bytes) else _number(value, a.dtype.itemsize == 8)
        parts: list[str] = []
        for element in a:
            if element.ndim == 0 and next(left) <= 0:
                return " ".join(parts) + "..."
            parts.append(show(element) if element.ndim == 0 else f"[{show(element)}]")
        return (" " if a.ndim == 1 else "").join(parts)

    if array.dtype == object and array.ndim:
        return " ".join(show(np.asarray(x, object)) for x in array.ravel()[:limit]) + ("..." if array.size > limit else "")
    return show(array)


def _texts_and_tensors(data: Any) -> builtins.tuple[builtins.tuple[str | None, ...], list[Tensor]]:
    """The strings of `data`, with None for each tensor, and the tensors.

    Strings become attributes, not string tensors: those would keep the program from running natively.
    """
    texts: list[str | None] = []
    tensors: list[Tensor] = []
    for item in data if isinstance(data, (list, builtins.tuple)) else [data]:
        if isinstance(item, (str, bytes)):
            texts.append(item.decode(errors="replace") if isinstance(item, bytes) else item)
        else:
            texts.append(None)
            tensors.append(convert_to_tensor(item))
    return builtins.tuple(texts), tensors


def _shown(texts: builtins.tuple[str | None, ...], arrays: Sequence[Any], limit: int | None) -> list[str]:
    rest = iter(arrays)
    return [f"[{summarize(next(rest), limit) if text is None else text}]" for text in texts]


@record(frozen=True, slots=True)
class AssertAttrs:
    """`texts`: the data of the message in order; None stands for the next input."""

    texts: builtins.tuple[str | None, ...] = ()
    summarize: int | None = None


def _assert_infer(ctx: InferContext, attrs: Any, condition: TensorType, *data: TensorType) -> builtins.tuple[TensorType, ...]:
    if condition.dtype is not bool_:
        raise DTypeError(
            f"Input 'condition' of 'Assert' Op has type {condition.dtype.name} that does not match expected type of bool."
        )
    return ()


def _assert_reference(attrs: AssertAttrs, condition: Any, *data: Any) -> Any:
    if not bool(np.all(condition)):
        raise ArgumentError(f"assertion failed: {' '.join(_shown(attrs.texts, data, attrs.summarize))}")
    return ()


ASSERT = register(
    OpDef(
        "Assert",
        Assertion(),
        _assert_infer,
        _assert_reference,
        list,
        grad=not_differentiable("it has no outputs"),
        attrs=AssertAttrs,
        dtypes=(bool_,),
        doc="Fails the run unless its condition holds.",
    )
)


def Assert(condition: Any, data: Any, summarize: int | None = None, name: str | None = None) -> Operation:
    """An operation that fails the run with InvalidArgumentError unless every element of `condition` is true.

    It acts only in runs that need it: fetch it, or make others depend on it by `control_dependencies`.

    Args:
        condition: a bool tensor. data: tensors and strings to show in the message, `summarize` elements of each.

    Raises:
        TypeError: `condition` is not bool.
    """
    test = convert_to_tensor(condition, name="condition")
    texts, tensors = _texts_and_tensors(data)
    return build_op(ASSERT, (test, *tensors), AssertAttrs(texts, summarize), name)


@record(frozen=True, slots=True)
class PrintAttrs:
    message: str = ""
    texts: builtins.tuple[str | None, ...] = ()
    first_n: int = -1
    summarize: int | None = None
    ident: int = 0  # tells Print ops apart: each counts its own runs


_print_count = itertools.count(1)
# How often each Print op of this process has printed, for `first_n`: the op itself has no state.
_printed: dict[int, int] = {}


def _print_reference(attrs: PrintAttrs, x: Any, *data: Any) -> Any:
    done = _printed.get(attrs.ident, 0)
    if attrs.first_n < 0 or done < attrs.first_n:
        _printed[attrs.ident] = done + 1
        print(attrs.message + "".join(_shown(attrs.texts, data, attrs.summarize)), file=sys.stderr, flush=True)
    return x


PRINT = register(
    OpDef(
        "Print",
        Host(stateful=True),
        lambda ctx, attrs, x, *data: (x,),
        _print_reference,
        list,
        attrs=PrintAttrs,
        dtypes=ALL,
        doc="Its first input; prints the others to stderr.",
    )
)


def Print(
    input_: Any,
    data: Any,
    message: str | None = None,
    first_n: int | None = None,
    summarize: int | None = None,
    name: str | None = None,
) -> Tensor:
    """`input_`, unchanged; each run that needs it prints `message` and `data` to stderr.

    Args:
        data: tensors and strings. first_n: how often to print (always by default).
        summarize: how many elements of a tensor to show (3 by default, -1 for all).
    """
    x = convert_to_tensor(input_, name="input")
    texts, tensors = _texts_and_tensors(data)
    attrs = PrintAttrs(message or "", texts, -1 if first_n is None else first_n, summarize, next(_print_count))
    return build(PRINT, (x, *tensors), attrs, name)


# ---------------------------------------------------------------------------------------------- check_numerics


@record(frozen=True, slots=True)
class MessageAttrs:
    message: str = ""


def _infinite(b: Any, attrs: Any, x: Any) -> Any:
    return b.eq(b.abs(x), float("inf"))


def _check(name: str, test: Callable[..., Any], what: str) -> OpDef:
    return OpDef(
        name,
        Elementwise(lambda b, attrs, x: x, test, lambda attrs: f"{attrs.message} : Tensor had {what} values"),
        lambda ctx, attrs, x: (x,),
        lambda attrs, x: x,
        lambda: [Sample((np.array([1.0, 2.0], np.float32),), MessageAttrs("x"))],
        attrs=MessageAttrs,
        dtypes=FLOATS,
        doc=f"Its input; the run fails if that has {what} values.",
    )


# Two ops, because a check has one message, and TensorFlow's says which of the two it met.
REFUSE_NAN = register(_check("RefuseNaN", lambda b, attrs, x: b.is_nan(x), "NaN"))
REFUSE_INF = register(_check("RefuseInf", _infinite, "Inf"))


def _numerics_infer(ctx: InferContext, attrs: MessageAttrs, x: TensorType) -> builtins.tuple[TensorType, ...]:
    if x.dtype not in FLOATS:
        raise DTypeError(
            f"CheckNumerics: Value passed to parameter 'tensor' has DataType {x.dtype.name} not in list of allowed "
            f"values: {', '.join(d.name for d in FLOATS)}"
        )
    return (x,)


def _numerics_reference(attrs: MessageAttrs, x: Any) -> Any:
    found = [what for what, test in (("Inf", np.isinf), ("NaN", np.isnan)) if test(x).any()]
    if found:
        raise NumericError(message=f"{attrs.message} : Tensor had {' and '.join(found)} values")
    return x


CHECK_NUMERICS = register(
    OpDef(
        "CheckNumerics",
        # `checks`: the op runs also where its result is not used, as TensorFlow's does
        # if it is fetched or depended on.
        Composite(lambda p, x: p.op("RefuseInf", p.op("RefuseNaN", x, attrs=p.attrs), attrs=p.attrs), checks=True),
        _numerics_infer,
        _numerics_reference,
        lambda: [Sample((np.array([[1.0, -2.0]], np.float32),), MessageAttrs("x"))],
        attrs=MessageAttrs,
        dtypes=FLOATS,
        doc="Its input; the run fails if that has a NaN or an infinity.",
    )
)


def check_numerics(tensor: Any, message: str, name: str | None = None) -> Tensor:
    """`tensor`, unchanged; a run in which it has a NaN or an infinity fails with ``<message> : Tensor had NaN values``.

    Raises:
        TypeError: not a float tensor. InvalidArgumentError: in a run, as said.
    """
    return build(CHECK_NUMERICS, (convert_to_tensor(tensor, name="tensor"),), MessageAttrs(str(message)), name)


def verify_tensor_all_finite(
    t: Any = None, msg: str | None = None, name: str | None = None, x: Any = None, message: str | None = None
) -> Tensor:
    """`check_numerics` under an older name: (t, msg) or (x=, message=)."""
    value, text = (x if t is None else t), (message if msg is None else msg)
    if value is None or text is None:
        raise ArgumentError("verify_tensor_all_finite: a tensor and a message are needed")
    return check_numerics(value, text, name or "VerifyFinite")


# ---------------------------------------------------------------------------------------------- Python functions


@record(frozen=True, slots=True)
class PyFuncAttrs:
    """`token`: the key of the function in this process; a Python function cannot be written to a file."""

    token: int
    output_types: builtins.tuple[DType, ...]


# Functions stay for the life of the process, since any graph that holds the token may still run.
_py_tokens = itertools.count()
_py_functions: dict[int, Callable[..., Any]] = {}


def _py_func_infer(ctx: InferContext, attrs: PyFuncAttrs, *inputs: TensorType) -> builtins.tuple[TensorType, ...]:
    return builtins.tuple(TensorType(t, None) for t in attrs.output_types)


def _py_func_reference(attrs: PyFuncAttrs, *arrays: Any) -> Any:
    function = _py_functions.get(attrs.token)
    if function is None:
        raise ArgumentError(f"callback pyfunc_{attrs.token} is not found")
    try:
        result = function(*arrays)
    except Exception as e:
        # Any exception of the user's function fails the run, with the exception as its cause.
        raise ArgumentError(f"{type(e).__name__}: {e} (raised by the Python function of pyfunc_{attrs.token})") from e
    results = list(result) if isinstance(result, (list, builtins.tuple)) else [] if result is None else [result]
    if len(results) != len(attrs.output_types):
        raise ArgumentError(
            f"pyfunc_{attrs.token} returns {len(results)} values, but expects to see {len(attrs.output_types)} values."
        )
    return builtins.tuple(_py_result(attrs, i, r) for i, r in enumerate(results))


def _py_result(attrs: PyFuncAttrs, i: int, value: Any) -> Any:
    want = attrs.output_types[i]
    array = as_array(value) if isinstance(value, (str, bytes, list, builtins.tuple)) and want is string else np.asarray(value)
    if isinstance(value, (float, int)) and not isinstance(value, (bool, np.generic)) and not want.is_bool:
        array = array.astype(want.numpy_dtype)  # Python's numbers have no dtype of their own, so they take the promised one
    found = as_dtype(array.dtype)
    if found is not want:
        raise ArgumentError(f"{i}-th value returned by pyfunc_{attrs.token} is {found.name}, but expects {want.name}")
    return as_array(array, string) if want is string else array


PY_FUNC = register(
    OpDef(
        "PyFunc",
        Host(stateful=True),
        _py_func_infer,
        _py_func_reference,
        list,
        grad=not_differentiable("a Python function"),
        attrs=PyFuncAttrs,
        dtypes=ALL,
        doc="Calls a Python function on arrays.",
    )
)


def py_func(func: Callable[..., Any], inp: Any, Tout: Any, stateful: bool = True, name: str | None = None) -> Any:
    """Calls `func` on the arrays of `inp` in each run that needs it. No gradient passes.

    Args:
        func: takes one array an input and returns arrays (or one array) of the dtypes `Tout`.
        Tout: one dtype, or a list of them; the result is one tensor, or a list. Shapes are unknown: use set_shape.
        stateful: accepted; the function is always called anew.

    Raises:
        InvalidArgumentError: in a run, if the function raises or returns something else than announced.
    """
    single = not isinstance(Tout, (list, builtins.tuple))
    types = builtins.tuple(as_dtype(t).base_dtype for t in ([Tout] if single else Tout))
    token = next(_py_tokens)
    _py_functions[token] = func
    # The function itself stays out of the graph: the op holds a number for it.
    tensors = [convert_to_tensor(x, name=f"input_{i}") for i, x in enumerate(inp if inp is not None else [])]
    op = build_op(PY_FUNC, tensors, PyFuncAttrs(token, types), name)
    if not types:
        return op
    return op.outputs[0] if single else list(op.outputs)


def numpy_function(func: Callable[..., Any], inp: Any, Tout: Any, name: str | None = None) -> Any:
    """`py_func` under its later name."""
    return py_func(func, inp, Tout, True, name)


__all__ = [
    "Assert", "Print", "check_numerics", "group", "no_op", "numpy_function", "py_func", "tuple",
    "verify_tensor_all_finite", "with_dependencies",
]  # fmt: skip
