"""Random choices: rows in random order, and classes drawn with given probabilities."""

from __future__ import annotations

from typing import Any

from graphflow.framework.build import convert_to_tensor, name_scope
from graphflow.framework.dtypes import DType, float32, float64, int64
from graphflow.framework.errors import ShapeError
from graphflow.framework.tensor import Tensor
from graphflow.ops.array.axis import axis_size
from graphflow.ops.array.gather import gather
from graphflow.ops.array.reshape import expand_dims
from graphflow.ops.math.argmax import argmax
from graphflow.ops.math.binary import add, minimum
from graphflow.ops.math.cast import cast
from graphflow.ops.math.top_k import top_k
from graphflow.ops.math.unary import log, negative
from graphflow.ops.random.sampling import random_uniform


def random_shuffle(value: Any, seed: int | None = None, name: str | None = None) -> Tensor:
    """The rows of `value` (along its first axis) in random order, every order equally likely."""
    with name_scope(name, "RandomShuffle", [value]) as scope:
        x = convert_to_tensor(value, name="value")
        if x._shape == ():
            return x
        first = None if x._shape is None else x._shape[0]
        rows = first if isinstance(first, int) else axis_size(x, 0)
        # Rows are sorted by random keys, in float64, because equal keys would keep their order: two are equal with a
        # probability of 2^-52.
        keys = random_uniform([rows], dtype=float64, seed=seed)
        order = top_k(keys, rows).indices
        result: Tensor = gather(x, order, name=scope)
        return result


def multinomial(
    logits: Any, num_samples: Any, seed: int | None = None, name: str | None = None, output_dtype: Any = None
) -> Tensor:
    """Draws classes: [batch, classes] unnormalised log probabilities -> [batch, num_samples] class indices.

    Args:
        output_dtype: int64 (the default) or int32.

    Raises:
        ValueError: `logits` is no matrix.
    """
    with name_scope(name, "multinomial", [logits]) as scope:
        x = convert_to_tensor(logits, name="logits")
        if x._shape is not None and len(x._shape) != 2:
            raise ShapeError(f"multinomial: logits must be a matrix. Shape must be rank 2 but is rank {len(x._shape)}")
        known = x._shape or (None, None)
        rows, classes = (d if isinstance(d, int) else axis_size(x, i) for i, d in enumerate(known))
        dtype = x.base_dtype if x.base_dtype is float64 else float32
        # Gumbel's trick: with the noise -log(-log(u)) the largest logit + noise is at class k with probability
        # softmax(logits)[k]. u is kept off 0 and 1, where the noise would be infinite and inf - inf, at an impossible class,
        # NaN.
        drawn = random_uniform([rows, num_samples, classes], 2.0**-25, 1.0, dtype, seed)
        noise = negative(log(negative(log(minimum(drawn, 1.0 - 2.0**-24)))))
        columns = expand_dims(x if x.base_dtype is dtype else _cast(x, dtype), 1)
        columns.set_shape([None, 1, None])
        scores = add(columns, noise)
        return argmax(scores, 2, name=scope, output_type=int64 if output_dtype is None else output_dtype)


def _cast(x: Tensor, dtype: DType) -> Tensor:
    result: Tensor = cast(x, dtype)
    return result


def categorical(logits: Any, num_samples: Any, dtype: Any = None, seed: int | None = None, name: str | None = None) -> Tensor:
    """As `multinomial`, under the name and with the order of arguments of ``tf.random.categorical``."""
    return multinomial(logits, num_samples, seed, name or "categorical", dtype)


shuffle = random_shuffle
