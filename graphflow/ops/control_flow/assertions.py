"""`tf.assert_*`: checks of values during a run; of dtypes, and of ranks as far as possible, while the graph is built."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from graphflow.framework.build import convert_pair, convert_to_tensor, name_scope
from graphflow.framework.dtypes import DType, as_dtype
from graphflow.framework.errors import DTypeError, InvalidArgumentError, ShapeError
from graphflow.framework.registry import TensorValue
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.array.reshape import reshape
from graphflow.ops.array.shape import rank as rank_of
from graphflow.ops.array.shape import shape
from graphflow.ops.control_flow.control import Assert, no_op, summarize
from graphflow.ops.math import compare
from graphflow.ops.math.binary import add, multiply, subtract
from graphflow.ops.math.reduce import reduce_all
from graphflow.ops.math.unary import abs


def constant_value(t: Tensor) -> Any:
    """The array of a constant, None of any other tensor."""
    value = getattr(t.op.attrs, "value", None) if t.op.type == "Const" else None
    return value.array if isinstance(value, TensorValue) else None


def _assert(holds: Tensor, constants: Any, data: list[Any], limit: int | None, scope: str) -> Operation:
    """The Assert op of a comparison; between constants the answer is known at once, and a no-op takes its place."""
    if constants is not None:
        if not bool(np.all(constants)):
            shown = [d if isinstance(d, str) else f"[{summarize(constant_value(d), limit)}]" for d in data]
            raise InvalidArgumentError(message=" ".join(shown))
        return no_op(scope)
    return Assert(reduce_all(holds), data, summarize=limit, name=scope)


def _comparison(
    name: str, sign: str, build: Callable[..., Tensor], of_arrays: Callable[..., Any], wording: str
) -> Callable[..., Operation]:
    def check(
        x: Any,
        y: Any,
        data: Any = None,
        summarize: int | None = None,
        message: str | None = None,
        name: str | None = None,
    ) -> Operation:
        with name_scope(name, default, [x, y]) as scope:
            a, b = convert_pair(x, y)
            shown = list(data) if data is not None else [f"x ({a.name}) = ", a, f"y ({b.name}) = ", b]
            if data is None:
                shown = [f"Condition x {sign} y did not hold element-wise:", *shown]
            left, right = constant_value(a), constant_value(b)
            # With `data` the message shows other tensors, which only a run can compute.
            known = None if data is not None or left is None or right is None else of_arrays(left, right)
            return _assert(build(a, b), known, [message or "", *shown], summarize, scope)

    default = name
    check.__name__ = check.__qualname__ = name
    check.__doc__ = f"""An operation that fails the run unless {wording}, element by element (shapes broadcast).

    Args:
        data: what to show instead of x and y. summarize: how many elements of each. message: text before them.

    Raises:
        InvalidArgumentError: in a run; of two constants while the graph is built.
    """
    return check


assert_equal = _comparison("assert_equal", "==", compare.equal, np.equal, "x == y")
assert_none_equal = _comparison("assert_none_equal", "!=", compare.not_equal, np.not_equal, "x != y")
assert_less = _comparison("assert_less", "<", compare.less, np.less, "x < y")
assert_less_equal = _comparison("assert_less_equal", "<=", compare.less_equal, np.less_equal, "x <= y")
assert_greater = _comparison("assert_greater", ">", compare.greater, np.greater, "x > y")
assert_greater_equal = _comparison("assert_greater_equal", ">=", compare.greater_equal, np.greater_equal, "x >= y")


def _sign(name: str, sign: str, build: Callable[..., Tensor], of_arrays: Callable[..., Any]) -> Callable[..., Operation]:
    def check(
        x: Any, data: Any = None, summarize: int | None = None, message: str | None = None, name: str | None = None
    ) -> Operation:
        with name_scope(name, default, [x]) as scope:
            a = convert_to_tensor(x, name="x")
            shown = list(data) if data is not None else [f"Condition x {sign} 0 did not hold element-wise:"]
            if data is None:
                shown += [f"x ({a.name}) = ", a]
            array = constant_value(a)
            known = None if data is not None or array is None else of_arrays(array, 0)
            return _assert(build(a, 0), known, [message or "", *shown], summarize, scope)

    default = name
    check.__name__ = check.__qualname__ = name
    check.__doc__ = f"An operation that fails the run unless x {sign} 0 for all elements; else as `assert_equal`."
    return check


assert_negative = _sign("assert_negative", "<", compare.less, np.less)
assert_positive = _sign("assert_positive", ">", compare.greater, np.greater)
assert_non_negative = _sign("assert_non_negative", ">=", compare.greater_equal, np.greater_equal)
assert_non_positive = _sign("assert_non_positive", "<=", compare.less_equal, np.less_equal)


def assert_near(
    x: Any,
    y: Any,
    rtol: Any = None,
    atol: Any = None,
    data: Any = None,
    summarize: int | None = None,
    message: str | None = None,
    name: str | None = None,
) -> Operation:
    """An operation that fails the run unless |x - y| <= atol + rtol * |y|; by default 10 times the precision."""
    with name_scope(name, "assert_near", [x, y]) as scope:
        a, b = convert_pair(x, y)
        # TensorFlow's default tolerance; integers are compared exactly.
        eps = 10 * float(np.finfo(a.base_dtype.numpy_dtype).eps) if a.base_dtype.is_floating else 0.0
        relative = convert_to_tensor(eps if rtol is None else rtol, a.base_dtype)
        absolute = convert_to_tensor(eps if atol is None else atol, a.base_dtype)
        close = compare.less_equal(abs(subtract(a, b)), add(absolute, multiply(relative, abs(b))))
        limits = f"rtol = {eps if rtol is None else rtol}, atol = {eps if atol is None else atol}"
        shown = [f"x and y not equal to tolerance {limits}", f"x ({a.name}) = ", a, f"y ({b.name}) = ", b]
        return _assert(close, None, [message or "", *(shown if data is None else data)], summarize, scope)


# ---------------------------------------------------------------------------------------------- ranks and dtypes


def _check_rank(
    x: Any, rank: Any, message: str | None, name: str, holds: Callable[[Any, Any], Any], words: str, summarize: int | None
) -> Operation:
    t = convert_to_tensor(x, name="x")
    wanted = convert_to_tensor(rank).static_value() if isinstance(rank, Tensor) else rank
    if t._shape is None or not isinstance(wanted, (int, np.integer)):
        with name_scope(name, values=[t]) as scope:
            text = f"Tensor {t.name} must have rank {words}"
            data = [message or "", text, convert_to_tensor(rank), "Received shape: ", shape(t)]
            return Assert(holds(rank_of(t), convert_to_tensor(rank)), data, summarize=summarize, name=scope)
    if not holds(len(t._shape), int(wanted)):
        prefix = f"{message}. " if message else ""
        raise ShapeError(
            f"{prefix}Tensor {t.name} must have rank {words}{int(wanted)}. Received rank {len(t._shape)}, shape {t.shape}"
        )
    # TensorFlow's name for the op of an assertion that was decided while building.
    return no_op(f"{name}/static_checks_determined_all_ok")


def _equal(a: Any, b: Any) -> Any:
    return compare.equal(a, b) if isinstance(a, Tensor) else a == b


def assert_rank(
    x: Any,
    rank: Any,
    data: Any = None,
    summarize: int | None = None,
    message: str | None = None,
    name: str | None = None,
) -> Operation:
    """Checks that x has rank `rank`. ValueError if not; InvalidArgumentError where only a run knows the ranks."""
    return _check_rank(x, rank, message, name or "assert_rank", _equal, "", summarize)


def assert_rank_at_least(
    x: Any,
    rank: Any,
    data: Any = None,
    summarize: int | None = None,
    message: str | None = None,
    name: str | None = None,
) -> Operation:
    """Checks that x has at least rank `rank`; else as `assert_rank`."""
    return _check_rank(x, rank, message, name or "assert_rank_at_least", lambda a, b: a >= b, "at least ", summarize)


def assert_scalar(tensor: Any, name: str | None = None, message: str | None = None) -> Tensor:
    """`tensor`, which must be a scalar. ValueError if its rank is known to be another."""
    t = convert_to_tensor(tensor)
    if t._shape:
        raise ShapeError(f"{message or ''}Expected scalar shape for {t.name}, saw shape: {t.shape}.")
    return t


def assert_type(tensor: Any, tf_type: Any, message: str | None = None, name: str | None = None) -> Operation:
    """TypeError unless `tensor` has dtype `tf_type`."""
    t = convert_to_tensor(tensor)
    want: DType = as_dtype(tf_type).base_dtype
    if t.base_dtype is not want:
        raise DTypeError(f"{message or ''}  {t.name} must be of type {want!r}")
    return no_op(name or "assert_type/statically_determined_correct_type")


def assert_integer(x: Any, message: str | None = None, name: str | None = None) -> Operation:
    """TypeError unless x is an integer tensor."""
    t = convert_to_tensor(x)
    if not t.base_dtype.is_integer:
        raise DTypeError(f'{message or ""}  Expected "x" to be integer type.  Found: {t.base_dtype!r}')
    return no_op(name or "assert_integer/statically_determined_is_integer")


def assert_proper_iterable(values: Any) -> None:
    """TypeError for a tensor, a string, an array, or what is not iterable at all."""
    if isinstance(values, (Tensor, np.ndarray, str, bytes)) or not isinstance(values, Iterable):
        raise DTypeError(f"Expected argument 'values' to be a 'proper' iterable.  Found: {type(values)}")


def is_numeric_tensor(tensor: Any) -> bool:
    """Whether it is a Tensor of numbers."""
    return isinstance(tensor, Tensor) and (tensor.base_dtype.is_floating or tensor.base_dtype.is_integer)


def is_non_decreasing(x: Any, name: str | None = None) -> Tensor:
    """Whether no element of x, read as one vector, is smaller than the one before. A bool scalar."""
    return _steps(x, compare.greater_equal, name or "is_non_decreasing")


def is_strictly_increasing(x: Any, name: str | None = None) -> Tensor:
    """Whether each element of x, read as one vector, is larger than the one before. A bool scalar."""
    return _steps(x, compare.greater, name or "is_strictly_increasing")


def _steps(x: Any, ordered: Callable[..., Tensor], name: str) -> Tensor:
    with name_scope(name, name, [x]) as scope:
        flat = reshape(convert_to_tensor(x, name="x"), [-1])
        return reduce_all(ordered(flat[1:], flat[:-1]), name=scope)


__all__ = [
    "assert_equal", "assert_greater", "assert_greater_equal", "assert_integer", "assert_less", "assert_less_equal",
    "assert_near", "assert_negative", "assert_non_negative", "assert_non_positive", "assert_none_equal",
    "assert_positive", "assert_proper_iterable", "assert_rank", "assert_rank_at_least", "assert_scalar", "assert_type",
    "is_non_decreasing", "is_numeric_tensor", "is_strictly_increasing",
]  # fmt: skip
