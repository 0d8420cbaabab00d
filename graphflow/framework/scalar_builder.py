"""The scalar language in which an op says what one element of its result is.

A rule such as ``lambda b, x: b.div(1.0, b.add(1.0, b.call("exp", b.neg(x))))`` is written once and run by several builders:
the compiler's makes loop IR of it, for LLVM and PTX, and numpy's evaluates it on arrays. So op files never import the compiler.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

from graphflow.framework.dtypes import DType, bool_

S = TypeVar("S")

#: x -> same dtype (``not`` on bool, ``invert`` on integers, the rest on numbers). ``round`` is half to even.
UNARY = ("neg", "abs", "floor", "ceil", "round", "trunc", "sqrt", "not", "invert")
#: a, b -> same dtype. ``div`` is float division; ``floordiv``/``mod`` are Python's (sign of the divisor), ``truncdiv``/
#: ``truncmod`` C's; integer division needs a divisor that is not 0 (guard with select); ``max``/``min`` propagate NaN;
#: ``and``/``or``/``xor`` work on bool and integers; shifts need 0 <= b < bits; ``shr`` is arithmetic for signed.
ARITHMETIC = (
    "add", "sub", "mul", "div", "floordiv", "mod", "truncdiv", "truncmod", "max", "min", "and", "or", "xor", "shl", "shr",
)  # fmt: skip
#: a, b -> bool. Float comparisons are ordered (false with NaN) except ``ne``.
COMPARE = ("eq", "ne", "lt", "le", "gt", "ge")
#: float functions: name -> number of arguments. ``fma`` is a*b+c in one rounding. ``exp_nonpositive`` is exp for x <= 0, and 0
#: where that is below 1e-37: beside the 1 that every softmax adds up it does not count, and there are no slow subnormals.
CALLS = {
    "exp": 1, "exp_nonpositive": 1, "expm1": 1, "log": 1, "log1p": 1, "sin": 1, "cos": 1, "tan": 1, "asin": 1, "acos": 1,
    "atan": 1, "sinh": 1, "cosh": 1, "tanh": 1, "asinh": 1, "acosh": 1, "atanh": 1, "erf": 1, "erfc": 1, "lgamma": 1,
    "sigmoid": 1, "pow": 2, "atan2": 2, "fma": 3,
}  # fmt: skip


class ScalarBuilder(ABC, Generic[S]):
    """Builds the expression of one element. Operands of a binary op share one dtype; a Python number takes the other's."""

    @abstractmethod
    def const(self, value: float | int | bool, dtype: DType) -> S: ...

    @abstractmethod
    def dtype(self, x: S) -> DType: ...

    @abstractmethod
    def unary(self, op: str, x: S) -> S: ...

    @abstractmethod
    def binary(self, op: str, a: S, b: S) -> S:
        """`op` from ARITHMETIC or COMPARE."""

    @abstractmethod
    def select(self, condition: S, a: S | float, b: S | float) -> S:
        """a where the bool `condition` holds, else b; both are evaluated."""

    @abstractmethod
    def cast(self, x: S, dtype: DType) -> S:
        """Value conversion. float -> int truncates towards zero and saturates, NaN gives 0; to bool is ``x != 0``."""

    @abstractmethod
    def bitcast(self, x: S, dtype: DType) -> S:
        """The same bits as another dtype of the same size."""

    @abstractmethod
    def call(self, fn: str, *args: S) -> S: ...

    # ------------------------------------------------------------------ conveniences, shared by every builder
    def is_scalar(self, x: Any) -> bool:
        return isinstance(x, (int, float, bool))

    def _pair(self, a: Any, b: Any) -> tuple[S, S]:
        if self.is_scalar(a):
            return self.const(a, self.dtype(b)), b
        if self.is_scalar(b):
            return a, self.const(b, self.dtype(a))
        return a, b

    def add(self, a: S | float, b: S | float) -> S:
        return self.binary("add", *self._pair(a, b))

    def sub(self, a: S | float, b: S | float) -> S:
        return self.binary("sub", *self._pair(a, b))

    def mul(self, a: S | float, b: S | float) -> S:
        return self.binary("mul", *self._pair(a, b))

    def div(self, a: S | float, b: S | float) -> S:
        return self.binary("div", *self._pair(a, b))

    def maximum(self, a: S | float, b: S | float) -> S:
        return self.binary("max", *self._pair(a, b))

    def minimum(self, a: S | float, b: S | float) -> S:
        return self.binary("min", *self._pair(a, b))

    def eq(self, a: S | float, b: S | float) -> S:
        return self.binary("eq", *self._pair(a, b))

    def ne(self, a: S | float, b: S | float) -> S:
        return self.binary("ne", *self._pair(a, b))

    def lt(self, a: S | float, b: S | float) -> S:
        return self.binary("lt", *self._pair(a, b))

    def le(self, a: S | float, b: S | float) -> S:
        return self.binary("le", *self._pair(a, b))

    def gt(self, a: S | float, b: S | float) -> S:
        return self.binary("gt", *self._pair(a, b))

    def ge(self, a: S | float, b: S | float) -> S:
        return self.binary("ge", *self._pair(a, b))

    def and_(self, a: S | float, b: S | float) -> S:
        return self.binary("and", *self._pair(a, b))

    def or_(self, a: S | float, b: S | float) -> S:
        return self.binary("or", *self._pair(a, b))

    def xor(self, a: S | float, b: S | float) -> S:
        return self.binary("xor", *self._pair(a, b))

    def neg(self, x: S) -> S:
        return self.unary("neg", x)

    def abs(self, x: S) -> S:
        return self.unary("abs", x)

    def sqrt(self, x: S) -> S:
        return self.unary("sqrt", x)

    def not_(self, x: S) -> S:
        return self.unary("not", x)

    def is_nan(self, x: S) -> S:
        # NaN is the one number that differs from itself.
        return self.binary("ne", x, x)

    def true(self) -> S:
        return self.const(True, bool_)
