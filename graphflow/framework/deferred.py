"""Functions whose ops cannot be chosen before a run: a rank is unknown, or an axis is a tensor.

``tf.reduce_sum(x, k)`` is a Sum with the axis as an attribute where k is known. Where it is not, or where the rank of x is not,
`deferrable` puts one op, Deferred, in its place, which holds the call itself. When the types of its operands are known, and the
values of those that steer (k), the call is made again on a graph of its own, and its ops take the place of the one.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import numpy as np

from graphflow.framework import late_bindings
from graphflow.framework.build import build_op, constant, convert_to_tensor, is_tensor_like
from graphflow.framework.dtypes import DType, as_dtype
from graphflow.framework.errors import ArgumentError, DTypeError
from graphflow.framework.graph import Graph
from graphflow.framework.kinds import Elementwise, ShapeValue, TensorType
from graphflow.framework.numpy_builder import NumpyBuilder
from graphflow.framework.records import record
from graphflow.framework.registry import InferContext, OpDef, TensorValue, lookup
from graphflow.framework.shapes import Shape
from graphflow.framework.tensor import Operation, Tensor

Array = np.ndarray[Any, Any]
#: The arguments of a call by name, defaults included; what becomes an operand is a tensor already.
Arguments = Mapping[str, Any]
_F = TypeVar("_F", bound=Callable[..., Any])


class NotKnownYet(ArgumentError):
    """Something is not known while the graph is built: a rank, or the value of a tensor. A run will know it."""


# ---------------------------------------------------------------------------------------------- functions


@record(frozen=True, slots=True)
class _Function:
    call: Callable[..., Any]
    types: Callable[[Arguments], Sequence[TensorType]]
    steering: tuple[str, ...]


_functions: dict[str, _Function] = {}


def deferrable(types: Callable[[Arguments], Sequence[TensorType]], *steering: str, op_name: str = "") -> Callable[[_F], _F]:
    """Makes a function put off until a run what it cannot decide: then, instead of NotKnownYet, it gives a Deferred op.

    Args:
        types: what is known of the results, for the arguments of a call.
        steering: the parameters whose values decide what is to be done, such as an axis. A parameter called ``name`` names
            the op.
        op_name: the default of ``name``; by default the name of the op that the function is given as ``op``.
    """

    def deferring(function: _F) -> _F:
        _functions[function.__name__] = _Function(function, types, steering)

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except NotKnownYet:
                made = _defer(function, args, kwargs, op_name)
                if made is None:
                    raise
                return made

        return cast(_F, wrapper)

    return deferring


def _defer(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], op_name: str) -> Any:
    """The results of a Deferred op for a call; None if it cannot be one."""
    import inspect

    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    name = arguments.pop("name", None)
    found = _functions[function.__name__]
    operands: list[Tensor] = []
    steering: list[int] = []
    encoded = {}
    for key, value in arguments.items():
        first = len(operands)
        try:
            encoded[key], arguments[key] = _encoded(value, operands)
        except TypeError:
            return None
        if key in found.steering:
            steering += range(first, len(operands))
            for t in operands[first:]:
                if not t.base_dtype.is_integer:
                    raise DTypeError(f"{function.__name__.strip('_')}: {key} must be of integers, got {t!r}. Expected int32")
    # What is being made for a run has to know all now; and without operands a run knows no more.
    if not operands or operands[0].graph.is_expansion:
        return None
    types = found.types(arguments)
    attrs = DeferredAttrs(
        json.dumps({"function": function.__name__, "arguments": encoded}, sort_keys=True),
        tuple([t.dtype for t in types]),
        tuple([t.shape for t in types]),
        tuple(steering),
    )
    default = op_name or getattr(arguments.get("op"), "name", "")
    outputs = build_op("Deferred", operands, attrs, name or default).outputs
    return outputs if _is_several(found) else outputs[0]


def _is_several(function: _Function) -> bool:
    return str(function.call.__annotations__.get("return", "")).startswith(("list", "tuple", "Sequence"))


def _encoded(value: Any, operands: list[Tensor]) -> tuple[Any, Any]:
    """An argument as JSON, and with tensors in place of what becomes an operand. TypeError for what has no such form."""
    if value is None or isinstance(value, (bool, int, str)):
        return value, value
    if is_tensor_like(value) or isinstance(value, (np.ndarray, np.generic)):
        tensor = convert_to_tensor(value)
        operands.append(tensor)
        return {"operand": len(operands) - 1}, tensor
    if isinstance(value, float):
        return {"float": value.hex()}, value
    if isinstance(value, DType):
        return {"dtype": value.name}, value
    if isinstance(value, OpDef):
        return {"op": value.name}, value
    if isinstance(value, slice):
        parts, shown = _encoded([value.start, value.stop, value.step], operands)
        return {"slice": parts}, slice(*shown)
    if value is Ellipsis:
        return {"ellipsis": 0}, value
    if hasattr(value, "__index__"):
        return int(value), int(value)
    if isinstance(value, (list, tuple, range)):
        # Arrays beside tensors take their dtype, as they would in the function.
        dtype = next((convert_to_tensor(v).base_dtype for v in value if is_tensor_like(v)), None)
        items = [convert_to_tensor(v, dtype) if isinstance(v, np.ndarray) and dtype is not None else v for v in value]
        pairs = [_encoded(v, operands) for v in items]
        return [a for a, _ in pairs], [b for _, b in pairs]
    raise TypeError(f"{value!r} cannot be kept until a run")


def _decoded(value: Any, operands: Sequence[Tensor]) -> Any:
    if isinstance(value, list):
        return [_decoded(v, operands) for v in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    decoders: dict[str, Callable[[], Any]] = {
        "operand": lambda: operands[content],
        "float": lambda: float.fromhex(content),
        "dtype": lambda: as_dtype(content),
        "op": lambda: lookup(content),
        "slice": lambda: slice(*_decoded(content, operands)),
        "ellipsis": lambda: Ellipsis,
    }
    return decoders[kind]()


# ---------------------------------------------------------------------------------------------- the op


@record(frozen=True, slots=True)
class DeferredAttrs:
    """A call as JSON, what is known of its results, and the positions of the operands whose values it has to know."""

    call: str
    dtypes: tuple[DType, ...]
    shapes: tuple[Shape | None, ...]
    steering: tuple[int, ...]


def infer_deferred(ctx: InferContext, attrs: DeferredAttrs, *operands: TensorType) -> tuple[TensorType, ...]:
    if len(attrs.dtypes) != len(attrs.shapes) or any(not 0 <= i < len(operands) for i in attrs.steering):
        raise ArgumentError("Deferred: the attributes do not go together")
    try:
        _check_call(json.loads(attrs.call))
    except (ValueError, LookupError, TypeError) as e:
        raise ArgumentError(f"Deferred: {attrs.call[:200]} is no call: {e}") from None
    return tuple([TensorType(d, s) for d, s in zip(attrs.dtypes, attrs.shapes, strict=True)])


def _check_call(call: Mapping[str, Any]) -> None:
    while "of" in call:
        call = call["of"]
    if call["function"] not in _functions:
        late_bindings.load_rules()  # gradients have such functions, too
    if call["function"] not in _functions:
        raise ValueError(f"no function {call['function']!r}")


def gradient_attrs(
    attrs: DeferredAttrs, operands: Sequence[Tensor], wanted: Sequence[int], given: Sequence[int]
) -> DeferredAttrs:
    """The attributes of the op that computes the gradients of a Deferred one with respect to the operands `wanted`.

    Its own operands are those of that op, and then the gradients of the results `given`.
    """
    call = {"of": json.loads(attrs.call), "operands": len(operands), "wanted": list(wanted), "given": list(given)}
    types = [operands[i].type for i in wanted]
    return DeferredAttrs(
        json.dumps(call, sort_keys=True), tuple([t.dtype for t in types]), tuple([t.shape for t in types]), attrs.steering
    )


def call_results(attrs: DeferredAttrs, operands: Sequence[Tensor]) -> list[Tensor]:
    """Makes the ops that a Deferred op stands for, on its operands, in the default graph."""
    return _results(json.loads(attrs.call), operands)


def _results(call: Mapping[str, Any], operands: Sequence[Tensor]) -> list[Tensor]:
    if "of" not in call:
        arguments = {k: _decoded(v, operands) for k, v in call["arguments"].items()}
        found = _functions[call["function"]].call(**arguments)
        return list(found) if isinstance(found, (list, tuple)) else [found]
    inner, grads = operands[: call["operands"]], operands[call["operands"] :]
    results = _results(call["of"], inner)
    return late_bindings.dense_gradients([results[k] for k in call["given"]], [inner[i] for i in call["wanted"]], grads)


# ---------------------------------------------------------------------------------------------- expansion


@record(frozen=True)
class Expansion:
    """What a Deferred op becomes: `operations`, in order, on `inputs` (None where the operand has become a constant)."""

    inputs: tuple[Tensor | None, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[Tensor, ...]


@functools.lru_cache(maxsize=256)
def expansion(
    build: Callable[..., Sequence[Tensor]],
    attrs: DeferredAttrs,
    types: tuple[TensorType, ...],
    values: tuple[TensorValue | ShapeValue | None, ...],
) -> Expansion:
    """The ops that a Deferred op stands for, for operands of these types.

    Args:
        values: of each operand its value as an array, or, for sizes, in terms of others; None where it is not known.

    Raises:
        NotKnownYet: a value that is needed is not known.
        BuildError: the operands do not go together.
    """
    graph = Graph()
    graph.is_expansion = True
    with graph.as_default():
        operands: list[Tensor] = []
        inputs: list[Tensor | None] = []
        for type_, value in zip(types, values, strict=True):
            if isinstance(value, TensorValue):
                operands.append(constant(value.array, type_.dtype))
                inputs.append(None)
                continue
            placeholder = lookup("Placeholder")
            t = graph.create_op(placeholder, (), placeholder.attrs(type_.dtype, type_.shape)).outputs[0]
            t._shape_value = value
            operands.append(t)
            inputs.append(t)
        outputs = tuple(build(attrs, operands))
    needed = {t.op for t in outputs}
    for op in reversed(graph._operations):
        if op in needed:
            needed.update([t.op for t in op.inputs])
    given = {t.op for t in inputs if t is not None}
    return Expansion(tuple(inputs), tuple([op for op in graph._operations if op in needed and op not in given]), outputs)


def reference_of(build: Callable[..., Sequence[Tensor]]) -> Callable[..., tuple[Array, ...]]:
    """The numpy reference of a Deferred op."""

    def reference(attrs: DeferredAttrs, *arrays: Array) -> tuple[Array, ...]:
        types = tuple([TensorType(as_dtype(a.dtype), a.shape) for a in map(np.asarray, arrays)])
        values = tuple([TensorValue(a) if i in attrs.steering else None for i, a in enumerate(arrays)])
        made = expansion(build, attrs, types, values)
        found = {t: a for t, a in zip(made.inputs, arrays, strict=True) if t is not None}
        for op in made.operations:
            found.update(zip(op.outputs, _computed(op, [found[t] for t in op.inputs]), strict=True))
        return tuple([found[t] for t in made.outputs])

    return reference


def _computed(op: Operation, arrays: Sequence[Array]) -> Sequence[Array]:
    kind = op.op_def.kind
    assert op.op_def.reference is not None, f"{op.type} has no reference"
    result = op.op_def.reference(op.attrs, *arrays)
    # After the reference, which may itself refuse its operands, and say which of their elements.
    check = kind.check if isinstance(kind, Elementwise) else None
    if check is not None and np.any(check(NumpyBuilder(), op.attrs, *np.broadcast_arrays(*arrays))):
        assert isinstance(kind, Elementwise)
        raise ValueError(kind.failure(op.attrs))
    results = result if isinstance(result, (tuple, list)) else [result]
    return [np.asarray(r, t.base_dtype.numpy_dtype) for r, t in zip(results, op.outputs, strict=True)]
