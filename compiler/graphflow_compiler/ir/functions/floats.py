"""What the expansions of math functions share: the layout of float32 and float64, and arithmetic on either."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from graphflow.framework.dtypes import DType, float32, float64, int32, int64, uint32, uint64
from graphflow.framework.records import record
from graphflow.framework.scalar_builder import ScalarBuilder

A = TypeVar("A")


@record(frozen=True, slots=True)
class Format:
    """A binary floating-point format. All constants are exact in it."""

    dtype: DType
    signed: DType
    unsigned: DType
    mantissa: int  # bits stored
    bias: int  # of the exponent
    magic: float  # 1.5 * 2^mantissa: adding it rounds to an integer, which then sits in the low bits
    log2_e: float
    ln2_high: float  # ln 2 rounded to this format
    ln2_low: float  # what that leaves out: without it, n ln 2 would be off in the last bits for large n
    sqrt_half: int  # bits of sqrt(1/2)
    smallest_normal: float


FLOAT32 = Format(
    float32, int32, uint32, 23, 127, 12582912.0, 1.4426950216293335, 0.6931471824645996, -1.904654323148236e-09, 0x3F3504F3,
    1.1754943508222875e-38,
)  # fmt: skip
FLOAT64 = Format(
    float64, int64, uint64, 52, 1023, 6755399441055744.0, 1.4426950408889634, 0.6931471805599453, 2.3190468138462996e-17,
    0x3FE6A09E667F3BCD, 2.2250738585072014e-308,
)  # fmt: skip
FORMATS = {float32: FLOAT32, float64: FLOAT64}


class FunctionBuilder(ScalarBuilder[A]):
    """A builder that can also leave a function to the target's library."""

    @abstractmethod
    def library_call(self, fn: str, *args: A) -> A: ...


class Arithmetic(Generic[A]):
    """A builder with the operations that the expansions are written in, on values of one format."""

    def __init__(self, builder: FunctionBuilder[A], form: Format) -> None:
        self.b = builder
        self.form = form

    def const(self, value: float) -> A:
        return self.b.const(value, self.form.dtype)

    def fma(self, a: A | float, x: A | float, c: A | float) -> A:
        values = (self.const(v) if isinstance(v, (int, float)) else v for v in (a, x, c))
        return self.b.call("fma", *values)

    def polynomial(self, x: A, coefficients: Sequence[float]) -> A:
        """Horner's rule, highest power first."""
        result = self.const(coefficients[0])
        for c in coefficients[1:]:
            result = self.fma(result, x, c)
        return result

    # NaN passes through both, as the comparison is false.
    def at_most(self, x: A, bound: float) -> A:
        return self.b.select(self.b.gt(x, bound), bound, x)

    def at_least(self, x: A, bound: float) -> A:
        return self.b.select(self.b.lt(x, bound), bound, x)

    def bits(self, x: A) -> A:
        return self.b.bitcast(x, self.form.unsigned)

    def from_bits(self, x: A) -> A:
        return self.b.bitcast(x, self.form.dtype)

    def bit_op(self, op: str, x: A, value: int) -> A:
        return self.b.binary(op, x, self.b.const(value, self.form.unsigned))

    def with_sign_of(self, magnitude: A, x: A) -> A:
        """`magnitude`, which is not negative, with the sign of x."""
        sign = self.bit_op("and", self.bits(x), 1 << (self.form.dtype.size * 8 - 1))
        return self.from_bits(self.b.or_(self.bits(magnitude), sign))

    def keep_tiny(self, x: A, result: A) -> A:
        """`result`, but x itself where |x| is so small that f(x) rounds to x.

        Expansions lose the sign of zero and the last bits of denormals there.
        """
        return self.b.select(self.b.lt(self.b.abs(x), 2.0 ** -(self.form.mantissa + 1)), x, result)

    def round_magic(self, x: A | float, factor: A | float) -> tuple[A, A]:
        """x * factor rounded to an integer n: (n in the low bits of a float, n as a float). |n| < 2^(mantissa - 1)."""
        shifted = self.fma(x, factor, self.form.magic)
        return shifted, self.b.sub(shifted, self.form.magic)

    def exponent_magic(self, offset: int = 0) -> float:
        """`magic` plus the bias: adding it rounds to an integer n and puts the exponent of 2^(n + offset) into the low bits."""
        return self.form.magic + self.form.bias + offset

    def round_exponent(self, x: A, factor: float, offset: int = 0) -> tuple[A, A]:
        """x * factor rounded to an integer n: (what `power_of_two` makes 2^(n + offset) of, n as a float)."""
        magic = self.exponent_magic(offset)
        shifted = self.fma(x, factor, magic)
        return shifted, self.b.sub(shifted, magic)

    def power_of_two(self, shifted: A) -> A:
        """The power of two whose exponent bits are the low bits of `shifted`. The exponent must lie in the normal range, or
        just above it, which gives inf."""
        return self.from_bits(self.bit_op("shl", self.bits(shifted), self.form.mantissa))
