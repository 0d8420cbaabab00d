"""Expansion of Composites in float32 where their operands are 16-bit floats.

A softmax shows why: the exponentials of 65,536 equal logits add up to more than float16 can hold, though its result is small.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphflow.framework.dtypes import HALVES, DType, float32
from graphflow.framework.kinds import ExpandContext, TensorType
from graphflow.framework.registry import lookup
from graphflow.framework.shapes import Shape


def in_float32(expand: Callable[..., Any]) -> Callable[..., Any]:
    """The same expansion, with 16-bit operands cast to float32 on the way in and the results cast back."""

    def expanded(p: ExpandContext, *values: Any) -> Any:
        if not any(t.dtype in HALVES for t in p.inputs):
            return expand(p, *values)
        wide = _Widened(p)
        found = expand(wide, *[wide.cast(v, float32) if p.type(v).dtype in HALVES else v for v in values])
        results = found if isinstance(found, tuple) else (found,)
        return tuple([wide.cast(v, t.dtype) for v, t in zip(results, p.outputs, strict=True)])

    return expanded


class _Widened:
    """The context of an expansion, in which everything that is 16-bit floats is float32."""

    def __init__(self, p: ExpandContext) -> None:
        self._p = p
        self.attrs = p.attrs
        self.inputs, self.outputs = (
            tuple([TensorType(float32, t.shape) if t.dtype in HALVES else t for t in types]) for types in (p.inputs, p.outputs)
        )

    def cast(self, value: Any, dtype: DType) -> Any:
        return value if self._p.type(value).dtype is dtype else self._p.op("Cast", value, attrs=lookup("Cast").attrs(dtype))

    def type(self, value: Any) -> TensorType:
        return self._p.type(value)

    def op(self, name: str, *inputs: Any, attrs: Any = None, output: int = 0) -> Any:
        return self._p.op(name, *inputs, attrs=attrs, output=output)

    def const(self, value: Any, dtype: DType) -> Any:
        return self._p.const(value, dtype)

    def broadcast_to(self, value: Any, shape: Shape) -> Any:
        return self._p.broadcast_to(value, shape)

    def reshape(self, value: Any, shape: Shape) -> Any:
        return self._p.reshape(value, shape)
