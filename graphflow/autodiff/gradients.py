"""`tf.gradients`: symbolic differentiation of the user's graph, from the outputs back to the inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from enum import Enum
from typing import Any

from graphflow.autodiff.rule_loader import rule_of
from graphflow.framework.build import build_op, convert_to_tensor, name_scope
from graphflow.framework.context import differentiation
from graphflow.framework.errors import ArgumentError, DTypeError, GradientError, ShapeError
from graphflow.framework.graph import Graph, Operation, Tensor
from graphflow.framework.indexed_slices import IndexedSlices
from graphflow.framework.registry import NO_ATTRS, UndefinedGradient
from graphflow.framework.shapes import GRAPH_POLICY, format_shape, product
from graphflow.ops.array.concat import concat, stack
from graphflow.ops.array.fill import ones_like, zeros_like
from graphflow.ops.array.identity import IDENTITY, IDENTITY_N
from graphflow.ops.array.movement import broadcast_to
from graphflow.ops.array.reshape import reshape
from graphflow.ops.array.shape import shape
from graphflow.ops.math.add_n import add_n
from graphflow.ops.math.cast import cast

__all__ = [
    "AggregationMethod", "NoGradient", "NotDifferentiable", "RegisterGradient", "UnconnectedGradients",
    "custom_gradient", "gradients", "hessians",
]  # fmt: skip

Gradient = Tensor | IndexedSlices


class AggregationMethod:
    """Accepted for compatibility: sums of gradients are always one AddN, which the compiler fuses with the ops around it."""

    ADD_N = 0
    DEFAULT = ADD_N
    EXPERIMENTAL_TREE = 1
    EXPERIMENTAL_ACCUMULATE_N = 2


class UnconnectedGradients(Enum):
    """The result of `gradients` for an x that ys do not depend on: None or zeros."""

    NONE = "none"
    ZERO = "zero"


# ---------------------------------------------------------------------------------------------- registered gradients

_registered: dict[str, Callable[..., Any] | None] = {}


class RegisterGradient:
    """``@RegisterGradient("Name")`` names a function (op, *grads), for `Graph.gradient_override_map`."""

    def __init__(self, op_type: str) -> None:
        if not isinstance(op_type, str):
            raise TypeError("op_type must be a string")
        self._op_type = op_type

    def __call__(self, f: Callable[..., Any]) -> Callable[..., Any]:
        _register(self._op_type, f)
        return f


def _register(name: str, f: Callable[..., Any] | None) -> None:
    if name in _registered:
        raise KeyError(f"Registering two gradient with name '{name}'! (Previous registration was {_registered[name]!r})")
    _registered[name] = f


def NotDifferentiable(op_type: str) -> None:
    """Registers that `op_type` (a name for gradient_override_map) passes no gradient."""
    _register(op_type, None)


NoGradient = NotDifferentiable


def _gradient_function(op: Operation) -> Callable[..., Any] | None:
    """The gradient function of `op`; None if it passes no gradient.

    Raises:
        GradientError: an override that nobody registered, or an op that says nothing of its gradient.
    """
    # An override of the user's comes before everything, also before "not differentiable".
    override = op.gradient_name
    if override is not None:
        if override not in _registered:
            raise _undefined(op, f"the graph maps it to {override!r}, which is not registered with tf.RegisterGradient")
        return _registered[override]
    op_def = op.op_def
    if op_def.grad is None:
        rule = rule_of(op_def)
        if rule is None:
            raise _undefined(op, 'its OpDef needs grad=..., a function, not_differentiable("why") or undefined_gradient("why")')
        return rule
    if isinstance(op_def.grad, UndefinedGradient):
        raise _undefined(op, op_def.grad.reason)
    return op_def.grad if callable(op_def.grad) else None


def _undefined(op: Operation, reason: str) -> GradientError:
    return GradientError(f"No gradient defined for operation '{op.name}' (op type: {op.type}): {reason}")


# ---------------------------------------------------------------------------------------------- gradients


def _element(x: Any) -> Tensor:
    """The tensor to differentiate by: of a Variable its ref, because every way of reading the variable starts from that."""
    convert = getattr(x, "_as_graph_element", None)
    found = x if convert is None else convert()
    if isinstance(found, IndexedSlices):
        found = found.values
    return found if isinstance(found, Tensor) else convert_to_tensor(found)


def _as_list(x: Any) -> list[Any]:
    return list(x) if isinstance(x, (list, tuple)) else [x]


def gradients(
    ys: Any,
    xs: Any,
    grad_ys: Any = None,
    name: str = "gradients",
    colocate_gradients_with_ops: bool = False,
    gate_gradients: bool = False,
    aggregation_method: Any = None,
    stop_gradients: Any = None,
    unconnected_gradients: Any = UnconnectedGradients.NONE,
) -> list[Any]:
    """The derivatives of the sum of `ys` with respect to each x: new ops on the same graph, differentiable again.

    Args:
        ys: tensor or list of tensors.
        xs: tensor, Variable or list of them; any tensor of the graph will do.
        grad_ys: for each y the gradient that flows into it (of its shape, or broadcast to that), or None for ones.
        name: the scope of the new ops.
        colocate_gradients_with_ops: put each op's gradient on its device.
        stop_gradients: tensors to be taken as constants.
        unconnected_gradients: "none" or "zero".

    Returns:
        A list as long as xs: a Tensor, an IndexedSlices (from gather), or None where ys do not depend on x.

    Raises:
        LookupError: an op on the way has no gradient. ValueError: `grad_ys` of another length or shape.
    """
    y_list = [_element(y) for y in _as_list(ys)]
    x_list = [_element(x) for x in _as_list(xs)]
    y_grads = [None] * len(y_list) if grad_ys is None else _as_list(grad_ys)
    if len(y_grads) != len(y_list):
        raise ArgumentError(f"Passed {len(y_grads)} grad_ys for {len(y_list)} ys")
    zero = UnconnectedGradients(unconnected_gradients) is UnconnectedGradients.ZERO
    if not y_list:
        return [zeros_like(x) if zero else None for x in x_list]
    graph = y_list[0].graph
    for t in (*y_list, *x_list):
        graph.as_graph_element(t)  # one graph for all
    stops = {_element(t) for t in _as_list(() if stop_gradients is None else stop_gradients)}
    with graph.as_default(), name_scope(name):
        sums: dict[Tensor, list[Gradient]] = {}
        for i, (y, g) in enumerate(zip(y_list, y_grads, strict=True)):
            # An integer does not change smoothly, so nothing flows into it.
            if y.base_dtype.is_floating:
                sums.setdefault(y, []).append(_start(y, g, i))
        needed = _ops_between(y_list, x_list, stops)
        keep = set(x_list)
        # Ops made from here on belong to the gradients themselves.
        begin = graph.version
        # Only what lies between ys and xs needs a gradient.
        reaching = set(needed)

        def wanted(t: Tensor) -> bool:
            # Ops that gradient functions have made since are not in `reaching`: they always count as wanted.
            return t in keep or (t.op in reaching and t not in stops) or t.op._id >= begin

        # The old question comes back afterwards: a gradient function may call `gradients` itself.
        outer, differentiation.wanted = differentiation.wanted, wanted
        results: dict[Tensor, Gradient] = {}
        try:
            for op in needed:
                # Latest op first: whatever uses an output has been differentiated, so the
                # sum of its gradients is complete.
                grads = [None if t in stops else g for t, g in ((t, _total(sums, t, keep, results)) for t in op.outputs)]
                # An op none of whose outputs influences ys is passed over.
                if any(g is not None for g in grads):
                    device = graph.device(op.device) if colocate_gradients_with_ops and op.device else nullcontext()
                    with graph.name_scope(f"{op.name}_grad"), device:
                        _differentiate(op, grads, sums)
        finally:
            differentiation.wanted = outer
        found = [results[x] if x in results else _total(sums, x, keep, results) for x in x_list]
        if zero:
            return [zeros_like(x) if g is None else g for g, x in zip(found, x_list, strict=True)]
        return found


def dense_gradients(ys: Sequence[Tensor], xs: Sequence[Tensor], grad_ys: Sequence[Tensor]) -> list[Tensor]:
    """`gradients` as tensors; zeros where ys do not depend on an x."""
    found = gradients(ys, xs, list(grad_ys), unconnected_gradients=UnconnectedGradients.ZERO)
    return [convert_to_tensor(g) for g in found]


def _start(y: Tensor, grad: Any, i: int) -> Gradient:
    if grad is None:
        # The gradient of a scalar loss, the usual case, is a constant 1 and no op on the loss.
        if y.shape.num_elements() == 1 and y.shape.ndims == 0:
            return convert_to_tensor(1.0, y.base_dtype, name=f"grad_ys_{i}")
        return ones_like(y, name=f"grad_ys_{i}")
    if isinstance(grad, IndexedSlices):
        return grad
    given = convert_to_tensor(grad, None if isinstance(grad, Tensor) else y.base_dtype, name=f"grad_ys_{i}")
    if given.base_dtype is not y.base_dtype:
        raise DTypeError(f"Gradient type {given.base_dtype.name} generated for real-valued tensor {y} must be real")
    return _as_shaped(given, y, i)


def _as_shaped(given: Tensor, y: Tensor, i: int) -> Tensor:
    """`given`, of which TensorFlow asks less than the shape of y: as many elements, or as few as can be broadcast.

    Sizes that are not known are taken to be right.
    """
    source, target = given._shape, y._shape
    if source is None or target is None or source == target:
        return given
    count = product(source)
    if isinstance(count, int) and count == product(target):
        return reshape(given, shape(y))
    extra = len(source) - len(target)
    if extra > 0 and all(d == 1 for d in source[:extra]):
        return _as_shaped(reshape(given, shape(given)[extra:]), y, i)
    pairs = list(zip(source, target[-extra:] if extra < 0 else target, strict=False))
    if extra > 0 or any(isinstance(s, int) and isinstance(t, int) and s not in (1, t) for s, t in pairs):
        raise ShapeError(f"grad_ys[{i}] has shape {given.shape}, but y is {y} of shape {y.shape}")
    if extra or any(s == 1 and t != 1 for s, t in pairs):
        return broadcast_to(given, shape(y))
    return given


def _ops_between(ys: Sequence[Tensor], xs: Sequence[Tensor], stops: set[Tensor]) -> list[Operation]:
    """The ops through which ys depend on xs, latest first.

    Inputs exist before the op that takes them, so creation order is a topological order and no counting is needed.
    """
    behind: dict[Operation, None] = {}
    todo = [y.op for y in ys if y not in stops]
    while todo:
        op = todo.pop()
        if op in behind:
            continue
        # Also ops that pass no gradient, though not what lies behind them.
        behind[op] = None
        if op.gradient_name is None and not op.op_def.differentiable:
            continue
        todo += [t.op for t in op.inputs if t.base_dtype.is_floating and t not in stops and t.op not in behind]
    targets = set(xs)
    reaching: set[Operation] = set()
    found = []
    # In creation order, so that inputs are judged before the ops that take them.
    for op in sorted(behind, key=lambda op: op._id):
        passes = op.gradient_name is not None or op.op_def.differentiable
        if passes and any(
            t.base_dtype.is_floating and (t in targets or (t.op in reaching and t not in stops)) for t in op.inputs
        ):
            reaching.add(op)
            found.append(op)
    return found[::-1]


def _total(
    sums: dict[Tensor, list[Gradient]], t: Tensor, keep: set[Tensor], results: dict[Tensor, Gradient]
) -> Gradient | None:
    """The sum of all that flows into t, now that all of it is known."""
    # Popped, because a gradient that has been handed on is needed no more; those of xs are kept in `results`.
    parts = sums.pop(t, None)
    if parts is None:
        return None
    total = parts[0] if len(parts) == 1 else _add(parts)
    if t in keep:
        results[t] = total
    return total


def _add(parts: Sequence[Gradient]) -> Gradient:
    # Sparse gradients of a table that is looked up several times stay sparse: their rows are put one after the other.
    slices = [p for p in parts if isinstance(p, IndexedSlices)]
    if len(slices) == len(parts):
        values = concat([s.values for s in slices], 0)
        indices = concat([_indices_like(s.indices, slices) for s in slices], 0)
        return IndexedSlices(values, indices, slices[0].dense_shape)
    return add_n([convert_to_tensor(p) for p in parts])


def _indices_like(indices: Tensor, slices: Sequence[IndexedSlices]) -> Tensor:
    """Indices of one dtype: the wider one where they differ."""
    if len({s.indices.base_dtype for s in slices}) == 1:
        return indices
    wide: Tensor = cast(indices, "int64")
    return wide


def _differentiate(op: Operation, grads: list[Gradient | None], sums: dict[Tensor, list[Gradient]]) -> None:
    """Adds op's gradients with respect to its inputs to `sums`."""
    function = _gradient_function(op)
    if function is None:
        return
    if op.gradient_name is None and op.op_def is IDENTITY:  # such as W/read: a sparse gradient passes through as it is
        returned: Any = grads
    else:
        # Gradient functions are written for tensors, so a sparse gradient is made dense before.
        dense = [convert_to_tensor(g) if isinstance(g, IndexedSlices) else g for g in grads]
        returned = function(op, *dense)
    if returned is None or isinstance(returned, (Tensor, IndexedSlices)):
        returned = [returned]
    returned = list(returned)
    if len(returned) != len(op.inputs):
        raise GradientError(
            f"Num gradients {len(returned)} generated for op {op.name} ({op.type}) do not match num inputs {len(op.inputs)}"
        )
    for t, g in zip(op.inputs, returned, strict=True):
        if g is None or not t.base_dtype.is_floating:
            continue
        if isinstance(g, Tensor):
            _check(op, t, g)
        elif not isinstance(g, IndexedSlices):
            g = convert_to_tensor(g, t.base_dtype)
        sums.setdefault(t, []).append(g)


def _check(op: Operation, t: Tensor, g: Tensor) -> None:
    """Checks that a gradient has the dtype and shape of its tensor, and refines its static shape by the tensor's."""
    if g.base_dtype is not t.base_dtype:
        raise DTypeError(
            f"the gradient of {op.type} '{op.name}' with respect to {t!r} has dtype {g.base_dtype.name}, "
            f"not {t.base_dtype.name}"
        )
    # Shapes mostly agree, and then there is nothing to unify.
    if g._shape == t._shape or t._shape is None:
        return
    if g._shape is None:
        g._shape = t._shape
        return
    mine, other = t._shape, g._shape
    g._shape = GRAPH_POLICY.unify_shapes(
        mine,
        other,
        lambda: (
            f"the gradient of {op.type} '{op.name}' with respect to {t!r} has shape {format_shape(other)}: "
            f"Incompatible shapes between op input and calculated input gradient"
        ),
    )


def hessians(
    ys: Any,
    xs: Any,
    name: str = "hessians",
    colocate_gradients_with_ops: bool = False,
    gate_gradients: bool = False,
    aggregation_method: Any = None,
) -> list[Any]:
    """For each x the second derivatives of the sum of ys, of shape x.shape + x.shape.

    Raises:
        ValueError: the shape of an x is not known, or ys or their first derivatives do not depend on it.
    """
    found = []
    with name_scope(name):
        for x, first in zip(_as_list(xs), gradients(ys, xs), strict=True):
            if first is None:
                raise ArgumentError(f"hessians: ys do not depend on {x!r}")
            shape = _element(x).shape
            size = shape.num_elements()
            if size is None:
                raise ArgumentError(f"hessians: the shape of {x!r} must be known, got {shape}")
            flat = reshape(convert_to_tensor(first), [size])
            # One row of the Hessian per element of x, each by a gradient of its own: the graph
            # grows with the number of elements.
            rows = [gradients(flat[i], x)[0] for i in range(size)]
            if any(r is None for r in rows):
                raise ArgumentError(f"hessians: None values not supported: the gradient of ys does not depend on {x!r}")
            dims = shape.as_list()
            found.append(reshape(stack([convert_to_tensor(r) for r in rows]), dims + dims))
    return found


# ---------------------------------------------------------------------------------------------- custom gradients


def custom_gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates ``f(*tensors) -> (result, grad_fn)`` so that gradients go through ``grad_fn(*dresults)``.

    `grad_fn` returns one gradient (or None) per argument of f, as a list or, for one argument, a tensor.
    """

    def decorated(*args: Any, **kwargs: Any) -> Any:
        inputs = [convert_to_tensor(a) for a in args]
        result, grad_fn = f(*inputs, **kwargs)
        results = [convert_to_tensor(r) for r in _as_list(result)]
        # The count makes it unique even where the id of an old function is used again.
        gradient_name = f"CustomGradient-{len(_registered)}-{id(grad_fn)}"

        def grad(op: Operation, *grads: Any) -> list[Any]:
            incoming = [zeros_like(r) if g is None else g for r, g in zip(results, grads, strict=False)]
            outgoing = grad_fn(*incoming)
            as_list = list(outgoing) if isinstance(outgoing, (list, tuple)) else [outgoing]
            if len(as_list) != len(inputs):
                raise ArgumentError(
                    f"custom_gradient function expected to return {len(inputs)} gradients, but returned {len(as_list)} instead."
                )
            # The IdentityN below takes results and inputs. Its gradient goes to the inputs
            # alone: what f computed is skipped.
            return [None] * len(results) + as_list

        _register(gradient_name, grad)
        graph: Graph = (results or inputs)[0].graph
        # One op through which all results pass carries the gradient function.
        with graph.as_default(), graph.gradient_override_map({IDENTITY_N.name: gradient_name}):
            outputs = build_op(IDENTITY_N, [*results, *inputs], NO_ATTRS).outputs[: len(results)]
        if isinstance(result, (list, tuple)):
            return list(outputs) if isinstance(result, list) else tuple(outputs)
        return outputs[0]

    decorated.__name__ = getattr(f, "__name__", "custom_gradient")
    decorated.__doc__ = f.__doc__
    return decorated
