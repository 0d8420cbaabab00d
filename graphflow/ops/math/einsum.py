"""`tensordot` and `einsum`: products over listed or named axes, made of transpose, reshape and matmul."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.framework.build import convert_pair, convert_to_tensor, is_tensor_like, name_scope
from graphflow.framework.deferred import Arguments, deferrable
from graphflow.framework.errors import ArgumentError, ShapeError
from graphflow.framework.graph import check_same_dtype
from graphflow.framework.kinds import TensorType
from graphflow.framework.shapes import Dim, fresh_dim
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.arguments import known_rank, static_int, static_ints
from graphflow.ops._define.deferred_types import length_of, open_shape, rank_of
from graphflow.ops.array.axis import axis_size
from graphflow.ops.array.identity import identity
from graphflow.ops.array.movement import transpose
from graphflow.ops.array.reshape import reshape
from graphflow.ops.math.binary import multiply
from graphflow.ops.math.matmul import matmul
from graphflow.ops.math.reduce import reduce_sum

# ---------------------------------------------------------------------------------------------- sizes and layouts


def _size(x: Tensor, axis: int) -> Any:
    """The size of an axis: an int where it is known, else a scalar tensor."""
    assert x._shape is not None
    d = x._shape[axis]
    return d if isinstance(d, int) else axis_size(x, axis)


def _product(sizes: Sequence[Any]) -> Any:
    # An int as long as all sizes are known: then the shapes of the reshapes are static.
    total: Any = 1
    for s in sizes:
        total = total * s if isinstance(total, int) and isinstance(s, int) else multiply(total, s)
    return total


def _arranged(x: Tensor, order: Sequence[int]) -> Tensor:
    if list(order) == list(range(len(order))):
        return x
    result: Tensor = transpose(x, list(order))
    return result


def _reshaped(x: Tensor, sizes: list[Any], name: str | None = None) -> Tensor:
    if name is None and x._shape is not None and list(x._shape) == sizes:
        return x
    result: Tensor = reshape(x, sizes, name=name)
    return result


# ---------------------------------------------------------------------------------------------- tensordot


def _pairs(axes: Any, rank_a: int, rank_b: int) -> tuple[list[int], list[int]]:
    # numpy's short form: the last axes of a with the first of b.
    if isinstance(axes, (int, np.integer)) or (is_tensor_like(axes) and convert_to_tensor(axes)._shape == ()):
        n = static_int(axes, "tensordot: axes")
        if n < 0:
            raise ArgumentError("'axes' must be at least 0.")
        if n > min(rank_a, rank_b):
            raise ArgumentError(f"'axes' must not be larger than the number of dimensions of tensor, got {n}.")
        return list(range(rank_a - n, rank_a)), list(range(n))
    if is_tensor_like(axes):
        axes = convert_to_tensor(axes)
        axes = [axes[0], axes[1]] if axes._shape and axes._shape[0] == 2 else ()
    if not hasattr(axes, "__len__") or len(axes) != 2:
        raise ArgumentError("'axes' must be an integer or have length 2.")
    left, right = (list(static_ints(side, "tensordot: axes")) for side in axes)
    if len(left) != len(right):
        raise ArgumentError(f"Different number of contraction axes 'a' and 'b', {len(left)} != {len(right)}.")
    for side, rank in ((left, rank_a), (right, rank_b)):
        if any(not -rank <= v < rank for v in side):
            raise ArgumentError(f"tensordot: axes {side} are not axes of a tensor of rank {rank}")
    return [v % rank_a for v in left], [v % rank_b for v in right]


def tensordot(a: Any, b: Any, axes: Any, name: str | None = None) -> Tensor:
    """Sums the products of elements over pairs of axes.

    Args:
        axes: n (the last n axes of a with the first n of b) or ([axes of a], [axes of b]).

    Returns:
        A tensor with the other axes of a, then those of b.

    Raises:
        ValueError: axes that are not there, or paired sizes that differ. TypeError: the dtypes differ.
    """
    with name_scope(name, "Tensordot", [a, b]) as scope:
        x, y = convert_pair(a, b)
        check_same_dtype("Tensordot", a=x, b=y)
        return _tensordot(x, y, axes, scope)


def _tensordot_types(a: Arguments) -> list[TensorType]:
    x, y, axes = a["x"], a["y"], a["axes"]
    first, second = rank_of(x), rank_of(y)
    pairs = axes if isinstance(axes, int) else length_of(axes[0]) if isinstance(axes, list) and axes else None
    if first is None or second is None or pairs is None:
        return [TensorType(x.base_dtype, None)]
    return [TensorType(x.base_dtype, open_shape(max(first + second - 2 * pairs, 0)))]


@deferrable(_tensordot_types, "axes")
def _tensordot(x: Tensor, y: Tensor, axes: Any, name: str | None = None) -> Tensor:
    with name_scope(name, "Tensordot", [x]) as scope:
        rank_x, rank_y = known_rank("tensordot", x), known_rank("tensordot", y)
        over_x, over_y = _pairs(axes, rank_x, rank_y)
        assert x._shape is not None and y._shape is not None
        for i, j in zip(over_x, over_y, strict=True):
            m, n = x._shape[i], y._shape[j]
            if isinstance(m, int) and isinstance(n, int) and m != n:
                raise ShapeError(
                    f"tensordot: Dimensions must be equal, but are {m} and {n}: axis {i} of {x.shape} and axis {j} of {y.shape}"
                )
        free_x = [i for i in range(rank_x) if i not in over_x]
        free_y = [j for j in range(rank_y) if j not in over_y]
        sizes = [_size(x, i) for i in free_x] + [_size(y, j) for j in free_y]
        inner = _product([_size(x, i) for i in over_x])
        rows = _product([_size(x, i) for i in free_x])
        columns = _product([_size(y, j) for j in free_y])
        # The contracted axes may come first or last in each operand. Where they are already in such a place, the operand is
        # not transposed: a flag of matmul costs nothing.
        first_x = over_x == list(range(len(over_x))) and bool(free_x)
        last_y = over_y == list(range(rank_y - len(over_y), rank_y)) and bool(free_y)
        left = _reshaped(_arranged(x, over_x + free_x), [inner, rows]) if first_x else None
        if left is None:
            left = _reshaped(_arranged(x, free_x + over_x), [rows, inner])
        if last_y:
            right = _reshaped(_arranged(y, free_y + over_y), [columns, inner])
        else:
            right = _reshaped(_arranged(y, over_y + free_y), [inner, columns])
        product = matmul(left, right, transpose_a=first_x, transpose_b=last_y)
        return _reshaped(product, sizes, scope)


# ---------------------------------------------------------------------------------------------- einsum


def einsum(equation: str, *inputs: Any, name: str | None = None, **kwargs: Any) -> Tensor:
    """Sums products as an equation says: ``einsum("bij,bjk->bik", x, y)`` is a batch of matrix products.

    Args:
        equation: one group of letters per input, ``->`` and those of the result (without it: the letters that occur
            once, in alphabetical order). ``...`` stands for leading axes that all inputs that have it share.

    Raises:
        ValueError: the equation does not fit the inputs, or has a letter twice in one group.
    """
    kwargs.pop("optimize", None)
    if kwargs:
        raise TypeError(f"invalid keyword arguments for this function: {', '.join(sorted(kwargs))}")
    with name_scope(name, "einsum", list(inputs)) as scope:
        return _einsum(equation, _converted(inputs), scope)


def _einsum_types(a: Arguments) -> list[TensorType]:
    equation, tensors = a["equation"], a["tensors"]
    groups = equation.replace(" ", "").partition("->")[0].split(",")
    if "." in equation or len(groups) != len(tensors):
        return [TensorType(tensors[0].base_dtype, None)]
    terms, output = _parse(equation, [len(g) for g in groups])
    sizes: dict[str, Dim] = {}
    for term, t in zip(terms, tensors, strict=True):
        sizes.update(zip(term, t._shape or (), strict=False))
    return [TensorType(tensors[0].base_dtype, tuple([sizes.get(c) or fresh_dim() for c in output]))]


@deferrable(_einsum_types)
def _einsum(equation: str, tensors: list[Tensor], name: str | None = None) -> Tensor:
    with name_scope(name, "einsum", tensors) as scope:
        terms, output = _parse(equation, [known_rank("einsum", t) for t in tensors])
        _check_sizes(equation, terms, tensors)
        current, labels = tensors[0], terms[0]
        for i in range(1, len(tensors)):
            # Labels that neither the result nor a later operand has are summed as early as
            # possible: intermediate results stay small.
            kept = set(output).union(*terms[i + 1 :])
            current, labels = _contract(current, labels, tensors[i], terms[i], kept)
        gone = [k for k, c in enumerate(labels) if c not in output]
        if gone:
            current, labels = reduce_sum(current, gone), [c for c in labels if c in output]

        order = [labels.index(c) for c in output]
        plain = order == list(range(len(order)))
        result: Tensor = identity(current, name=scope) if plain else transpose(current, order, name=scope)
        return result


def _converted(inputs: Sequence[Any]) -> list[Tensor]:
    dtype = next((t.base_dtype for t in inputs if isinstance(t, Tensor)), None)
    tensors = [t if isinstance(t, Tensor) else convert_to_tensor(t, dtype) for t in inputs]
    check_same_dtype("einsum", **{f"inputs_{i}": t for i, t in enumerate(tensors)})
    return tensors


def _parse(equation: str, ranks: list[int]) -> tuple[list[list[str]], list[str]]:
    """The labels of each input and of the result; the axes behind ``...`` get labels of their own."""
    text = equation.replace(" ", "")
    match = re.fullmatch(r"([A-Za-z.,]*)(->([A-Za-z.]*))?", text)
    if match is None:
        raise ArgumentError(f"Indices have incorrect format: {equation}")
    groups = match[1].split(",")
    if len(groups) != len(ranks):
        raise ArgumentError(f'Got {len(ranks)} arguments for equation "{equation}", expecting {len(groups)}')
    widths = [rank - len(g.replace("...", "")) for g, rank in zip(groups, ranks, strict=True)]
    for g, rank, width in zip(groups, ranks, widths, strict=True):
        if width < 0 or (width > 0 and "..." not in g) or "." in g.replace("...", "", 1):
            raise ArgumentError(f'einsum: "{g}" of "{equation}" does not fit an input of rank {rank}')
    shared = max((w for g, w in zip(groups, widths, strict=True) if "..." in g), default=0)

    def labels(g: str, width: int) -> list[str]:
        head, dots, tail = g.partition("...")
        # Aligned at the right, as broadcasting is.
        hidden = [f"...{i}" for i in range(shared - width, shared)] if dots else []
        return [*head, *hidden, *tail]

    terms = [labels(g, w) for g, w in zip(groups, widths, strict=True)]
    for g, term in zip(groups, terms, strict=True):
        if len(set(term)) != len(term):
            raise ArgumentError(f"Subscript not supported: an axis appears more than once: {g}")
    if match[2] is not None:
        output = labels(match[3], shared)
    else:
        counts = [c for term in terms for c in term]
        letters = sorted(c for c in set(counts) if counts.count(c) == 1 and not c.startswith("."))
        output = [f"...{i}" for i in range(shared)] + letters
    unknown = [c for c in output if not any(c in term for term in terms)]
    if unknown or len(set(output)) != len(output):
        raise ArgumentError(f'einsum: the result of "{equation}" has a label that no input has, or has one twice')
    return terms, output


def _check_sizes(equation: str, terms: list[list[str]], tensors: list[Tensor]) -> None:
    seen: dict[str, int] = {}
    for term, t in zip(terms, tensors, strict=True):
        for c, d in zip(term, t._shape or (), strict=True):
            if isinstance(d, int) and seen.setdefault(c, d) != d:
                raise ShapeError(
                    f"einsum: Dimensions must be equal, but are {seen[c]} and {d} for label '{c}' of \"{equation}\""
                )


def _contract(a: Tensor, la: list[str], b: Tensor, lb: list[str], kept: set[str]) -> tuple[Tensor, list[str]]:
    """The product of two operands, summed over the labels that nothing later needs."""
    a, la = _sum_out(a, la, kept.union(lb))
    b, lb = _sum_out(b, lb, kept.union(la))
    batch = [c for c in la if c in lb and c in kept]
    inner = [c for c in la if c in lb and c not in kept]
    rows = [c for c in la if c not in lb]
    columns = [c for c in lb if c not in la]

    def sizes(x: Tensor, labels: list[str], wanted: list[str]) -> list[Any]:
        return [_size(x, labels.index(c)) for c in wanted]

    def block(x: Tensor, labels: list[str], first: list[str], second: list[str]) -> Tensor:
        arranged = _arranged(x, [labels.index(c) for c in (*batch, *first, *second)])
        shape = [*sizes(x, labels, batch), _product(sizes(x, labels, first)), _product(sizes(x, labels, second))]
        return _reshaped(arranged, shape)

    # An operand that is stored the other way round is taken as it is: matmul's flag transposes at no cost.
    swap_a = la == [*batch, *inner, *rows] and la != [*batch, *rows, *inner]
    swap_b = lb == [*batch, *columns, *inner] and lb != [*batch, *inner, *columns]
    left = block(a, la, inner, rows) if swap_a else block(a, la, rows, inner)
    right = block(b, lb, columns, inner) if swap_b else block(b, lb, inner, columns)
    product = matmul(left, right, transpose_a=swap_a, transpose_b=swap_b)
    shape = [*sizes(a, la, batch), *sizes(a, la, rows), *sizes(b, lb, columns)]
    return _reshaped(product, shape), [*batch, *rows, *columns]


def _sum_out(x: Tensor, labels: list[str], needed: set[str]) -> tuple[Tensor, list[str]]:
    gone = [i for i, c in enumerate(labels) if c not in needed]
    return (reduce_sum(x, gone) if gone else x), [c for c in labels if c in needed]


__all__ = ["einsum", "tensordot"]
