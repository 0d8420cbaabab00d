"""The table of `test_run_errors`: what a run refuses, with which class of error, and which words it says so with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import graphflow as tf

F32, I64 = np.float32, np.int64
V = np.arange(3, dtype=F32)
M = np.arange(6, dtype=F32).reshape(2, 3)


class Case(NamedTuple):
    """`build` gets placeholders like `good`, of open sizes, and makes what is fetched. It runs on `good` and fails on `bad`.

    `words` are in the first line of the error, and an op of this type made it.
    """

    name: str
    build: Callable[..., Any]
    good: tuple[Any, ...]
    bad: tuple[Any, ...]
    words: str
    op: str
    error: type[Exception] = tf.errors.InvalidArgumentError
    depth: int | None = None  # the last size of the last placeholder, where it must be known


def ints(*values: Any) -> np.ndarray[Any, Any]:
    return np.array(values, np.int32)


def scalar(value: float, dtype: Any = np.int32) -> np.ndarray[Any, Any]:
    return np.array(value, dtype)


def _on_variable(update: str, value: Any = V, *more: Any) -> Callable[..., Any]:
    return lambda i: getattr(tf, update)(tf.Variable(value), i, np.ones(2, F32), *more)


def _counted() -> Any:
    return tf.count_up_to(tf.Variable(0), 3)


def _labels(i: Any, x: Any) -> Any:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=i, logits=x)


def _sparse_step(i: Any) -> Any:
    v = tf.Variable(M)
    slices = tf.IndexedSlices(tf.ones([2, 3]), i, tf.constant([2, 3]))
    return tf.train.AdagradOptimizer(0.5).apply_gradients([(slices, v)])


_ZERO = "Integer division by zero"
_ORDER = "segment ids are not increasing: segment_ids[1] = 0 comes after 1"
_ROWS = (ints(1, 0),)
_POSITION = (ints([0, 1], [1, 2]),)

CASES = [
    # ---- indices
    Case("gather", tf.gather, (V, ints(1, 2)), (V, ints(1, 7)), "indices[1] = 7 is not in [0, 3)", "GatherV2"),
    Case("gather_negative", tf.gather, (V, ints(1, 2)), (V, ints(-1, 2)), "indices[0] = -1 is not in [0, 3)", "GatherV2"),
    Case("gather_one", tf.gather, (V, scalar(1)), (V, scalar(9)), "indices = 9 is not in [0, 3)", "GatherV2"),
    Case("gather_far", tf.gather, (V, I64([2])), (V, I64([2**40])), f"indices[0] = {2**40} is not in [0, 3)", "GatherV2"),
    Case("gather_matrix", tf.gather, (V, ints([0, 1])), (V, ints([0, 3])), "indices[0,1] = 3 is not in [0, 3)", "GatherV2"),
    Case(
        "gather_axis", lambda x, i: tf.gather(x, i, axis=1), (M, ints(0, 2)), (M, ints(0, 3)),
        "indices[1] = 3 is not in [0, 3)", "GatherV2",
    ),
    Case("gather_nothing", tf.gather, (V[:0], ints()), (V[:0], ints(0)), "indices[0] = 0 is not in [0, 0)", "GatherV2"),
    Case(
        "gather_batch", lambda x, i: tf.gather(x, i, batch_dims=1), (M, ints([0, 1], [2, 2])), (M, ints([0, 1], [2, 3])),
        "indices[1,1] = 3 is not in [0, 3)", "BatchRowPositions",
    ),
    Case(
        "gather_nd", tf.gather_nd, (M, *_POSITION), (M, ints([0, 1], [1, 3])),
        "indices[1] = [1, 3] does not index into param shape [2,3]", "RowPositions", depth=2,
    ),
    Case(
        "gather_nd_rows", tf.gather_nd, (M, ints([0], [1])), (M, ints([0], [-5])),
        "indices[1] = [-5] does not index into param shape [2,3]", "RowPositions", depth=1,
    ),
    Case(
        "gather_nd_gradient", lambda x, i: tf.gradients(tf.gather_nd(x, i), x)[0], (M, *_POSITION), (M, ints([0, 1], [2, 0])),
        "indices[1] = [2, 0] does not index into param shape [2,3]", "RowPositions", depth=2,
    ),
    Case("embedding", tf.nn.embedding_lookup, (M, ints(1)), (M, ints(5)), "indices[0] = 5 is not in [0, 2)", "GatherV2"),
    Case("item", lambda x, i: x[i], (V, scalar(-3)), (V, scalar(5)), "slice index 5 of dimension 0 out", "IndexFromFront"),
    Case("item_far", lambda x, i: x[i], (V, scalar(2)), (V, scalar(-4)), "slice index -4 of dimension 0", "IndexFromFront"),
    Case("item_known", lambda x: x[2], (V,), (V[:1],), "slice index 2 of dimension 0 out of bounds", "StridedSlice"),
    Case("slice", tf.slice, (V, ints(1), ints(2)), (V, ints(5), ints(1)), "Expected begin[0] in [0, 3], but got 5", "Slice"),
    Case(
        "slice_size", tf.slice, (V, ints(1), ints(2)), (V, ints(2), ints(2)), "Expected size[0] in [0, 1], but got 2", "Slice",
    ),
    Case(
        "slice_window", lambda x, b: tf.slice(x, [b], [2]), (V, scalar(1)), (V, scalar(-1)),
        "Expected begin[0] in [0, 3], but got -1", "CheckedBegin",
    ),
    Case(
        "slice_window_end", lambda x, b: tf.slice(x, [b], [2]), (V, scalar(1)), (V, scalar(2)),
        "Expected size[0] in [0, 1], but got 2", "CheckedBegin",
    ),
    # ---- segments, permutations
    Case(
        "unsorted_segment_sum", lambda x, i: tf.unsorted_segment_sum(x, i, 3), (M, ints(1, 0)), (M, ints(1, 4)),
        "segment_ids[1] = 4 is out of range [0, 3)", "UnsortedSegmentSum",
    ),
    Case("segment_sum", tf.segment_sum, (M, ints(0, 1)), (M, ints(1, 0)), _ORDER, "SortedSegmentIds"),
    Case(
        "segment_sum_negative", tf.segment_sum, (M, ints(0, 1)), (M, ints(-1, 1)),
        "Segment id -1 out of range: segment_ids[0] = -1", "SortedSegmentIds",
    ),
    Case(
        "permutation", tf.invert_permutation, (ints(2, 0, 1),), (ints(2, 0, 3),), "3 is not between 0 and 3: x[2] = 3",
        "InvertPermutation",
    ),
    Case(
        "permutation_twice", tf.invert_permutation, (ints(2, 0, 1),), (ints(2, 0, 2),), "2 is duplicated in the input: x[2]",
        "InvertPermutation",
    ),
    # ---- positions and rows of values and variables
    Case(
        "scatter_nd", lambda i: tf.scatter_nd(i, [1.0, 2.0], [2, 3]), _POSITION, (ints([0, 1], [1, -1]),),
        "indices[1] = [1, -1] does not index into shape [2,3]", "RowPositions", depth=2,
    ),
    *(
        Case(
            f"tensor_scatter_{name}", lambda x, i, f=f"tensor_scatter_{name}": getattr(tf, f)(x, i, [[1.0, 2.0, 3.0]]),
            (M, ints([1])), (M, ints([5])), "indices[0] = [5] does not index into shape [2,3]", "RowPositions", depth=1,
        )
        for name in ("add", "sub", "update")
    ),
    *(
        Case(
            f"scatter_{name}_{bad}", _on_variable(f"scatter_{name}"), _ROWS, (ints(1, bad),),
            f"indices[1] = {bad} is not in [0, 3)", op,
        )
        for name, op in (
            ("add", "ScatterAdd"), ("sub", "ScatterSub"), ("mul", "ScatterMul"), ("div", "ScatterDiv"), ("min", "ScatterMin"),
            ("max", "ScatterMax"), ("update", "ScatterUpdate"),
        )
        for bad in (77, -1)
    ),
    *(
        Case(
            f"scatter_nd_{name}", _on_variable(f"scatter_nd_{name}", M), _POSITION, (ints([0, 1], [0, 3]),),
            "indices[1] = [0, 3] does not index into shape [2,3]", op, depth=2,
        )
        for name, op in (("add", "ScatterNdAdd"), ("sub", "ScatterNdSub"), ("update", "ScatterNdUpdate"))
    ),
    Case("sparse_step", _sparse_step, (ints(1, 1),), (ints(1, -2),), "-2 is not in [0, 2)", "SparseApplyAdagrad"),
    # ---- labels
    Case(
        "labels", _labels, (ints(1, 2), M), (ints(1, 77), M),
        "Received a label value of 77 which is outside the valid range of [0, 3).  Label values: 1 77",
        "SparseSoftmaxCrossEntropyWithLogits",
    ),
    Case(
        "labels_negative", lambda i, x: tf.losses.sparse_softmax_cross_entropy(i, x), (I64([1, 2]), M), (I64([-1, 2]), M),
        "label value of -1 which is outside the valid range of [0, 3).  Label values: -1 2",
        "SparseSoftmaxCrossEntropyWithLogits",
    ),
    # ---- assertions
    Case(
        "Assert", lambda x: tf.Assert(tf.reduce_all(x >= 0), ["neg!", x], summarize=2), (V,), (-V,),
        "assertion failed: [neg!] [-0 -1...]", "Assert",
    ),
    *(
        Case(
            f"assert_{name}", lambda x, f=f"assert_{name}": getattr(tf, f)(x, message="must be"), (good,), (bad,),
            f"assertion failed: [must be] [Condition x {sign} 0 did not hold element-wise:] [x (Placeholder:0) = ] [{shown}]",
            "Assert",
        )
        for name, sign, good, bad, shown in (
            ("positive", ">", V + 1, V, "0 1 2"), ("negative", "<", -V - 1, V, "0 1 2"),
            ("non_negative", ">=", V, V - 1, "-1 0 1"), ("non_positive", "<=", -V, V, "0 1 2"),
        )
    ),
    *(
        Case(
            f"assert_{name}", lambda x, y, f=f"assert_{name}": getattr(tf, f)(x, y, message="must be"), good, bad,
            f"assertion failed: [must be] [Condition x {sign} y did not hold element-wise:] [x (Placeholder:0) = ] [{shown}",
            "Assert",
        )
        for name, sign, good, bad, shown in (
            ("equal", "==", (V, V), (V, V + 1), "0 1 2] [y (Placeholder_1:0) = ] [1 2 3]"),
            ("none_equal", "!=", (V, V + 1), (V, V), "0 1 2] [y (Placeholder_1:0) = ] [0 1 2]"),
            ("less", "<", (V, V + 1), (V, V), "0 1 2] [y (Placeholder_1:0) = ] [0 1 2]"),
            ("less_equal", "<=", (V, V), (V, V - 1), "0 1 2] [y (Placeholder_1:0) = ] [-1 0 1]"),
            ("greater", ">", (V + 1, V), (V, V), "0 1 2] [y (Placeholder_1:0) = ] [0 1 2]"),
            ("greater_equal", ">=", (V, V), (V - 1, V), "-1 0 1] [y (Placeholder_1:0) = ] [0 1 2]"),
        )
    ),
    Case(
        "assert_near", lambda x, y: tf.assert_near(x, y, rtol=0.5, atol=0.25), (V, V), (V, 9 * V),
        "not equal to tolerance rtol = 0.5, atol = 0.25] [x (Placeholder:0) = ] [0 1 2] [y (Placeholder_1:0) = ] [0 9 18]",
        "Assert",
    ),
    Case(
        "assert_data", lambda x: tf.assert_positive(x, data=["x was", x], message="m", summarize=1), (V + 1,), (V,),
        "assertion failed: [m] [x was] [0...]", "Assert",
    ),
    # ---- numbers
    *(
        Case(
            f"check_numerics_{what}", lambda x: tf.check_numerics(x, "mine"), (V,), (F32([1, *bad]),),
            f"mine : Tensor had {what.replace('_', ' ')} values", "CheckNumerics", tf.errors.InvalidArgumentError,
        )
        for what, bad in (("NaN", [np.nan]), ("Inf", [-np.inf]), ("Inf_and_NaN", [np.nan, np.inf]))
    ),
    *(
        Case(f.__name__, f, (ints(7, 2), ints(1, 2)), (ints(7, 2), ints(1, 0)), _ZERO, op)
        for f, op in (
            (tf.floordiv, "FloorDiv"), (tf.div, "FloorDiv"), (tf.floormod, "FloorMod"), (tf.mod, "FloorMod"),
            (tf.truncatediv, "TruncateDiv"), (tf.truncatemod, "TruncateMod"),
        )
    ),
    Case(
        "pow", tf.pow, (ints(7, 2), ints(1, 2)), (ints(7, 2), ints(1, -1)), "negative integer powers are not allowed",
        "Pow",
    ),
    Case(
        "random_bounds", lambda a, b: tf.random_uniform([2], a, b, tf.int32), (scalar(2), scalar(5)), (scalar(5), scalar(4)),
        "Need minval < maxval, got 5 >= 4", "RandomUpperBound",
    ),
    Case("top_k", lambda x, k: tf.nn.top_k(x, k)[0], (M, scalar(2)), (M, scalar(5)), "k = 5 but is 3", "TopKV2"),
    # ---- sizes that only the run knows
    Case(
        "reshape", lambda x: tf.reshape(x, [3]), (V,), (V[:2],), "reshape a tensor with 2 elements to shape [3]", "Reshape",
    ),
    Case("reshape_rest", lambda x: tf.reshape(x, [3, -1]), (V,), (V[:2],), "2 elements to shape [3,-1]", "Reshape"),
    Case("reshape_to", tf.reshape, (V, ints(3, 1)), (V, ints(-7, 1)), "must be non-negative or -1, got [-7,1]", "Reshape"),
    Case("split", lambda x: tf.split(x, 3), (V,), (V[:2],), "evenly divisible by 3 but is 2", "Split"),
    Case("split_sizes", lambda x: tf.split(x, [1, 2]), (V,), (V[:2],), "Got: 3 for dimension 0 of size 2", "Split"),
    Case("unstack", lambda x: tf.unstack(x, 3), (V,), (V[:2],), "must be 3 but is 2", "Unpack"),
    Case("concat", lambda x, y: tf.concat([x, y], 0), (M, M), (M, M[:, :2]), "must be equal, but are 3 and 2", "ConcatV2"),
    Case("stack", lambda x, y: tf.stack([x, y]), (V, V), (V, V[:2]), "must be equal, but are 3 and 2", "Pack"),
    Case("add", tf.add, (V, V), (V, V[:2]), "shapes (3,) and (2,) do not broadcast", "AddV2"),
    Case("matmul", tf.matmul, (M, M.T.copy()), (M, M), "a is (2, 3), b is (2, 3)", "MatMul"),
    Case("squeeze", lambda x: tf.squeeze(x, [0]), (M[:1],), (M,), "expected a dimension of 1, got 2", "Squeeze"),
    Case("argmax", lambda x: tf.argmax(x, 0), (M,), (M[:0],), "Reduction axis 0 is empty", "ArgMax"),
    Case(
        "pad_reflect", lambda x: tf.pad(x, [[2, 0]], "REFLECT"), (V,), (V[:2],), "dimension size: 2, 0 not less than 2",
        "Mirrored",
    ),
    Case(
        "pad_symmetric", lambda x: tf.pad(x, [[0, 3]], "SYMMETRIC"), (V,), (V[:2],),
        "no greater than the dimension size: 0, 3 greater than 2", "Mirrored",
    ),
    Case(
        "pad_negative", lambda x, n: tf.pad(x, [[n, 0]]), (V, scalar(1)), (V, scalar(-1)), "Dimension -1 must be >= 0", "Fill",
    ),
    Case(
        "set_diag", tf.matrix_set_diag, (M, V[:2]), (M, V[:1]), "(1,) is not the shape of the diagonals", "DiagonalOf",
    ),
    Case("tile", lambda x, n: tf.tile(x, [n]), (V, scalar(2)), (V, scalar(-1)), "multiples[0] >= 0, but got -1", "Tile"),
    Case("fill", lambda n: tf.fill([n, 2], 1.0), (scalar(2),), (scalar(-1),), "Dimension -1 must be >= 0", "Fill"),
    Case("random_size", lambda n: tf.random_uniform([n]), (scalar(2),), (scalar(-3),), "Dimension -3 must be", "RandomUniform"),
    Case("range", tf.range, (scalar(0), scalar(5)), (scalar(5), scalar(0)), "start <= limit when delta > 0: 5/0", "Range"),
    Case("range_still", tf.range, (scalar(0), scalar(5), scalar(2)), (scalar(0), scalar(5), scalar(0)), "delta != 0", "Range"),
    Case("one_hot", tf.one_hot, (ints(0), scalar(2)), (ints(0), scalar(-2)), "depth must be non-negative, got: -2", "OneHot"),
    Case("broadcast", lambda x, n: tf.broadcast_to(x, [n]), (V, scalar(3)), (V, scalar(5)), "(3,) cannot be", "BroadcastTo"),
    Case(
        "assign", lambda x: tf.assign(tf.Variable([1.0, 2.0, 3.0]), x), (V,), (V[:2],), "must be equal, but are 3 and 2",
        "Assign",
    ),
]  # fmt: skip

#: (fetch, good runs before it fails) of what counts for itself, so that no other feed makes it fail.
COUNTED = Case("count_up_to", _counted, (), (), "Reached limit of 3", "CountUpTo", tf.errors.OutOfRangeError)
