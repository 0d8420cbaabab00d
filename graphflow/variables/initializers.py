"""Initializers: objects that make the initial value of a variable from a shape and a dtype."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphflow.framework.build import constant
from graphflow.framework.dtypes import DType, as_dtype, bool_, float32, string
from graphflow.framework.errors import ArgumentError
from graphflow.framework.shapes import TensorShape
from graphflow.framework.tensor import Tensor
from graphflow.ops.array import fill
from graphflow.ops.array.reshape import reshape
from graphflow.ops.array.source import CONST
from graphflow.ops.random import sampling

__all__ = [
    "Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Identity", "Initializer", "LecunNormal",
    "LecunUniform", "Ones", "Orthogonal", "RandomNormal", "RandomUniform", "TruncatedNormal", "UniformUnitScaling",
    "VarianceScaling", "Zeros", "constant_initializer", "contrib_variance_scaling_initializer",
    "glorot_normal_initializer", "glorot_uniform_initializer", "he_normal", "he_uniform", "identity_initializer",
    "lecun_normal", "lecun_uniform", "ones_initializer", "orthogonal_initializer", "random_normal_initializer",
    "random_uniform_initializer", "truncated_normal_initializer", "uniform_unit_scaling_initializer",
    "variance_scaling_initializer", "xavier_initializer", "xavier_initializer_conv2d", "zeros_initializer",
]  # fmt: skip


def _sizes(shape: Any) -> list[int]:
    return [int(d) for d in TensorShape(shape)]


class Initializer:
    """``initializer(shape, dtype)`` makes the initial value; every argument is also an attribute."""

    dtype: DType = float32

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Tensor:
        element = self.dtype if dtype is None else as_dtype(dtype).base_dtype
        if partition_info is not None:
            return self.make_part(_sizes(shape), element, partition_info)
        return self.make(_sizes(shape), element)

    def make(self, shape: list[int], dtype: DType) -> Tensor:
        raise NotImplementedError

    def make_part(self, shape: list[int], dtype: DType, info: Any) -> Tensor:
        """The value of a part of a partitioned variable: `info` has the shape of the whole, and where the part begins in it."""
        return self.make(shape, dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {k: v.name if isinstance(v, DType) else v for k, v in self.__dict__.items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Initializer:
        return cls(**config)


class Zeros(Initializer):
    def __init__(self, dtype: Any = float32) -> None:
        self.dtype = as_dtype(dtype)

    def make(self, shape: list[int], dtype: DType) -> Tensor:
        return fill.zeros(shape, dtype)


class Ones(Initializer):
    def __init__(self, dtype: Any = float32) -> None:
        self.dtype = as_dtype(dtype)

    def make(self, shape: list[int], dtype: DType) -> Tensor:
        return fill.ones(shape, dtype)


class Constant(Initializer):
    """A scalar for every element, or a list or array of values, the last of which is repeated if they are too few."""

    def __init__(self, value: Any = 0, dtype: Any = float32, verify_shape: bool = False) -> None:
        if not (np.isscalar(value) or isinstance(value, (list, tuple, np.ndarray))):
            raise TypeError(
                f"Invalid type for initial value: {type(value)} (expected Python scalar, list or tuple of values, "
                "or numpy.ndarray)."
            )
        self.value = value
        self.dtype = as_dtype(dtype)
        self.verify_shape = verify_shape

    def make(self, shape: list[int], dtype: DType) -> Tensor:
        # A Fill instead of a stored array: a large table of one number takes no memory in the
        # graph. Bools and strings are stored.
        if np.ndim(self.value) == 0 and dtype not in (string, bool_):
            return fill.fill(shape, constant(self.value, dtype), name=CONST.name)
        if self.verify_shape and list(np.shape(self.value)) != shape:
            raise TypeError(f"Expected Tensor's shape: {tuple(shape)}, got {np.shape(self.value)}.")
        return constant(self.value, dtype, shape)


class RandomUniform(Initializer):
    def __init__(self, minval: Any = 0, maxval: Any = None, seed: int | None = None, dtype: Any = float32) -> None:
        self.minval, self.maxval, self.seed = minval, maxval, seed
        self.dtype = as_dtype(dtype)

    def make(self, shape: list[int], dtype: DType) -> Tensor:
        # As `random_uniform`: floats are below 1 by default; integers need an upper bound.
        maxval = 1 if self.maxval is None and dtype.is_floating else self.maxval
        return sampling.random_uniform(shape, self.minval, maxval, dtype, seed=self.seed)


class RandomNormal(Initializer):
    def __init__(self, mean: Any = 0.0, stddev: Any = 1.0, seed: int | None = None, dtype: Any = float32) -> None:
        self.mean, self.stddev, self.seed = mean, stddev, seed
        self.dtype = as_dtype(dtype)

    def make(self, shape: list[int], dtype: DType) -> Tensor:
        return sampling.random_normal(shape, self.mean, self.stddev, dtype, seed=self.seed)


class TruncatedNormal(Initializer):
    """Normal, of values within two standard deviations of the mean only."""

    def __init__(self, mean: Any = 0.0, stddev: Any = 1.0, seed: int | None = None, dtype: Any = float32) -> None:
        self.mean, self.stddev, self.seed = mean, stddev, seed
        self.dtype = as_dtype(dtype)

    def make(self, shape: list[int], dtype: DType) -> Tensor:
        return sampling.truncated_normal(shape, self.mean, self.stddev, dtype, seed=self.seed)


class UniformUnitScaling(Initializer):
    """Uniform in ±factor * sqrt(3 / inputs), which keeps the scale of a linear layer's inputs."""

    def __init__(self, factor: float = 1.0, seed: int | None = None, dtype: Any = float32) -> None:
        self.factor, self.seed = factor, seed
        self.dtype = as_dtype(dtype)

    def make(self, shape: list[int], dtype: DType) -> Tensor:
        return self._make(shape, dtype, shape)

    def make_part(self, shape: list[int], dtype: DType, info: Any) -> Tensor:
        return self._make(shape, dtype, info.full_shape)

    def _make(self, shape: list[int], dtype: DType, whole: list[int]) -> Tensor:
        # A uniform distribution in ±a has the variance a^2 / 3: with this limit it is factor^2 / inputs.
        limit = math.sqrt(3 / max(1, math.prod(whole[:-1]))) * self.factor
        return sampling.random_uniform(shape, -limit, limit, dtype, seed=self.seed)


def _fans(shape: list[int]) -> tuple[float, float]:
    """(fan in, fan out): how many inputs and outputs a weight of this shape connects.

    The last two dimensions count; those before them are the window of a convolution, which both are multiplied with.
    """
    if len(shape) < 2:
        size = shape[0] if shape else 1
        return size, size
    window = math.prod(shape[:-2])
    return shape[-2] * window, shape[-1] * window


# The standard deviation of a standard normal distribution truncated at ±2. Dividing by it gives the variance asked for.
_TRUNCATED_STDDEV = 0.87962566103423978


class VarianceScaling(Initializer):
    """Variance scale / n, n being the fan in, the fan out or their mean. Glorot, He and LeCun are cases of it."""

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        dtype: Any = float32,
    ) -> None:
        if scale <= 0.0:
            raise ArgumentError("`scale` must be positive float.")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ArgumentError(f"Invalid `mode` argument: {mode}")
        if distribution.lower() not in ("normal", "uniform", "truncated_normal", "untruncated_normal"):
            raise ArgumentError(f"Invalid `distribution` argument: {distribution}")
        self.scale, self.mode, self.distribution, self.seed = scale, mode, distribution.lower(), seed
        self.dtype = as_dtype(dtype)

    def make(self, shape: list[int], dtype: DType) -> Tensor:
        return self._make(shape, dtype, shape)

    def make_part(self, shape: list[int], dtype: DType, info: Any) -> Tensor:
        return self._make(shape, dtype, info.full_shape)

    def _make(self, shape: list[int], dtype: DType, whole: list[int]) -> Tensor:
        fan_in, fan_out = _fans(whole)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, fan)
        if self.distribution == "uniform":
            # A uniform distribution in ±a has the variance a^2 / 3.
            limit = math.sqrt(3.0 * variance)
            return sampling.random_uniform(shape, -limit, limit, dtype, seed=self.seed)
        if self.distribution == "untruncated_normal":
            return sampling.random_normal(shape, 0.0, math.sqrt(variance), dtype, seed=self.seed)
        return sampling.truncated_normal(shape, 0.0, math.sqrt(variance) / _TRUNCATED_STDDEV, dtype, seed=self.seed)


class _Scaled(VarianceScaling):
    """A VarianceScaling whose scale, mode and distribution are fixed by the class (`_fixed`)."""

    _fixed: tuple[float, str, str] = (1.0, "fan_avg", "uniform")

    def __init__(self, seed: int | None = None, dtype: Any = float32) -> None:
        super().__init__(*self._fixed, seed=seed, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed, "dtype": self.dtype.name}


class GlorotUniform(_Scaled):
    """Uniform in ±sqrt(6 / (fan in + fan out)); also called Xavier."""


class GlorotNormal(_Scaled):
    _fixed = (1.0, "fan_avg", "truncated_normal")


class HeNormal(_Scaled):
    _fixed = (2.0, "fan_in", "truncated_normal")


class HeUniform(_Scaled):
    _fixed = (2.0, "fan_in", "uniform")


class LecunNormal(_Scaled):
    _fixed = (1.0, "fan_in", "truncated_normal")


class LecunUniform(_Scaled):
    _fixed = (1.0, "fan_in", "uniform")


class Orthogonal(Initializer):
    """`gain` times a random matrix with orthonormal rows or columns, after all but the last dimension are flattened."""

    def __init__(self, gain: float = 1.0, seed: int | None = None, dtype: Any = float32) -> None:
        self.gain, self.seed = gain, seed
        self.dtype = as_dtype(dtype)

    def make(self, shape: list[int], dtype: DType) -> Tensor:
        if len(shape) < 2:
            raise ArgumentError("The tensor to initialize must be at least two-dimensional")
        from graphflow.ops.array.movement import transpose
        from graphflow.ops.random.orthogonal import orthonormal

        rows, columns = math.prod(shape[:-1]), shape[-1]
        # Orthonormal columns need at least as many rows, so a wide matrix is the transpose of a tall one.
        q = orthonormal(sampling.random_normal([max(rows, columns), min(rows, columns)], dtype=dtype, seed=self.seed))
        if rows < columns:
            q = transpose(q)
        return reshape(q, shape) * self.gain


class Identity(Initializer):
    """`gain` times the identity matrix; two-dimensional shapes only."""

    def __init__(self, gain: float = 1.0, dtype: Any = float32) -> None:
        self.gain = gain
        self.dtype = as_dtype(dtype)

    def make(self, shape: list[int], dtype: DType) -> Tensor:
        if len(shape) != 2:
            raise ArgumentError("Identity matrix initializer can only be used for 2D matrices.")
        return constant(self.gain * np.eye(*shape, dtype=np.float32), dtype)

    def make_part(self, shape: list[int], dtype: DType, info: Any) -> Tensor:
        from graphflow.ops.array.slicing import slice_

        return slice_(self.make(info.full_shape, dtype), info.var_offset, shape)


zeros_initializer = Zeros
ones_initializer = Ones
constant_initializer = Constant
random_uniform_initializer = RandomUniform
random_normal_initializer = RandomNormal
truncated_normal_initializer = TruncatedNormal
uniform_unit_scaling_initializer = UniformUnitScaling
variance_scaling_initializer = VarianceScaling
glorot_uniform_initializer = GlorotUniform
glorot_normal_initializer = GlorotNormal
orthogonal_initializer = Orthogonal
identity_initializer = Identity


def he_normal(seed: int | None = None) -> HeNormal:
    return HeNormal(seed)


def he_uniform(seed: int | None = None) -> HeUniform:
    return HeUniform(seed)


def lecun_normal(seed: int | None = None) -> LecunNormal:
    return LecunNormal(seed)


def lecun_uniform(seed: int | None = None) -> LecunUniform:
    return LecunUniform(seed)


def contrib_variance_scaling_initializer(
    factor: float = 2.0, mode: str = "FAN_IN", uniform: bool = False, seed: int | None = None, dtype: Any = float32
) -> VarianceScaling:
    """tf.contrib.layers.variance_scaling_initializer: as VarianceScaling, with other defaults."""
    # Its truncated normal has the standard deviation sqrt(1.3 * factor / n): an approximate correction of what truncation
    # takes away. VarianceScaling corrects exactly, so the scale undoes the one and applies the other.
    scale = factor if uniform else 1.3 * factor * _TRUNCATED_STDDEV**2
    return VarianceScaling(scale, mode.lower(), "uniform" if uniform else "truncated_normal", seed, dtype)


def xavier_initializer(uniform: bool = True, seed: int | None = None, dtype: Any = float32) -> VarianceScaling:
    """tf.contrib.layers.xavier_initializer."""
    return contrib_variance_scaling_initializer(1.0, "FAN_AVG", uniform, seed, dtype)


xavier_initializer_conv2d = xavier_initializer
