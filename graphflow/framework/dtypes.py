"""Element types: the TensorFlow names over numpy storage."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "DType",
    "as_dtype",
    "bfloat16",
    "bool_",
    "float16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "string",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
]


class DType:
    """One element type.

    ``name`` is the canonical name (``float32``), ``enum`` its number in TensorFlow's ``types.proto``, ``size`` its bytes.
    A *ref* dtype (``float32_ref``) is what a Variable reports, as TensorFlow 1 does; its ``base_dtype`` is the plain one.
    DTypes compare equal to anything ``as_dtype`` maps to the same type, so ``t.dtype == np.float32`` works.
    """

    __slots__ = ("_base", "_numpy", "enum", "kind", "name", "size")

    def __init__(self, name: str, enum: int, kind: str, size: int, base: DType | None = None) -> None:
        self.name = name
        self.enum = enum
        self.kind = kind  # "f" float, "i" signed, "u" unsigned, "b" bool, "S" string
        self.size = size
        self._base = base
        self._numpy: np.dtype[Any] | None = None

    @property
    def base_dtype(self) -> DType:
        return self if self._base is None else self._base

    @property
    def is_ref(self) -> bool:
        return self._base is not None

    @property
    def _is_ref_dtype(self) -> bool:
        return self.is_ref

    @property
    def is_floating(self) -> bool:
        return self.kind == "f"

    @property
    def is_integer(self) -> bool:
        return self.kind in "iu"

    @property
    def is_unsigned(self) -> bool:
        return self.kind == "u"

    @property
    def is_bool(self) -> bool:
        return self.kind == "b"

    @property
    def is_complex(self) -> bool:
        # TensorFlow's attribute; there are no complex types here.
        return False

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The numpy dtype that stores it (``object`` for strings; bfloat16 needs the package ml_dtypes)."""
        # Made when first asked for, so that only programs with bfloat16 arrays need ml_dtypes.
        if self._numpy is None:
            base = self.base_dtype
            if base.name == "bfloat16":
                try:
                    import ml_dtypes
                except ImportError as e:
                    raise TypeError("bfloat16 arrays need the package ml_dtypes: pip install graphflow[bfloat16]") from e
                self._numpy = np.dtype(ml_dtypes.bfloat16)
            else:
                self._numpy = np.dtype(object if base.kind == "S" else base.name)
        return self._numpy

    @property
    def as_numpy_dtype(self) -> type:
        return self.numpy_dtype.type

    @property
    def as_datatype_enum(self) -> int:
        return self.enum

    @property
    def real_dtype(self) -> DType:
        return self.base_dtype

    @property
    def min(self) -> Any:
        """Smallest representable finite value."""
        return self._limit("min")

    @property
    def max(self) -> Any:
        """Largest representable finite value."""
        return self._limit("max")

    def _limit(self, which: str) -> Any:
        if self.is_bool:
            return which == "max"
        if self.is_integer:
            return getattr(np.iinfo(self.numpy_dtype), which)
        if self.base_dtype.name == "bfloat16":
            # numpy's finfo does not know bfloat16.
            import ml_dtypes

            return getattr(ml_dtypes.finfo(ml_dtypes.bfloat16), which)  # type: ignore[no-untyped-call]
        if self.is_floating:
            return getattr(np.finfo(self.numpy_dtype), which)
        raise TypeError(f"dtype {self.name} has no {which}")

    def is_compatible_with(self, other: Any) -> bool:
        """True if a value of dtype `other` can be used where this one is expected."""
        return self.base_dtype is as_dtype(other).base_dtype

    def __eq__(self, other: object) -> bool:
        # There is one object for each type, also after unpickling, so identity is equality.
        if isinstance(other, DType):
            return self is other
        # Of Python's types only float and bool are types of elements in TensorFlow, too: int may be of any size.
        if other is None or other is int or other is str or other is bytes:
            return False
        try:
            return self is as_dtype(other)
        except TypeError:
            return False

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"tf.{self.name}"

    def __str__(self) -> str:
        return f"<dtype: '{self.name}'>"

    def __int__(self) -> int:
        return self.enum

    def __reduce__(self) -> tuple[Any, ...]:
        return as_dtype, (self.name,)


float16 = DType("float16", 19, "f", 2)
bfloat16 = DType("bfloat16", 14, "f", 2)
float32 = DType("float32", 1, "f", 4)
float64 = DType("float64", 2, "f", 8)
int8 = DType("int8", 6, "i", 1)
int16 = DType("int16", 5, "i", 2)
int32 = DType("int32", 3, "i", 4)
int64 = DType("int64", 9, "i", 8)
uint8 = DType("uint8", 4, "u", 1)
uint16 = DType("uint16", 17, "u", 2)
uint32 = DType("uint32", 22, "u", 4)
uint64 = DType("uint64", 23, "u", 8)
bool_ = DType("bool", 10, "b", 1)
string = DType("string", 7, "S", 8)

HALVES = (float16, bfloat16)  # kernels compute them in float32 and round to 16 bits when they store
FLOATS = (*HALVES, float32, float64)
SIGNED = (int8, int16, int32, int64)
UNSIGNED = (uint8, uint16, uint32, uint64)
INTEGERS = SIGNED + UNSIGNED
NUMERIC = FLOATS + INTEGERS
ALL = (*NUMERIC, bool_, string)

_BY_NAME: dict[str, DType] = {d.name: d for d in ALL}
_BY_NAME |= {"half": float16, "float": float32, "double": float64}
_BY_ENUM: dict[int, DType] = {d.enum: d for d in ALL}
for _d in ALL:
    # TensorFlow numbers its ref types 100 above the plain ones.
    _ref = DType(_d.name + "_ref", _d.enum + 100, _d.kind, _d.size, _d)
    _BY_NAME[_ref.name] = _ref
    _BY_ENUM[_ref.enum] = _ref
# Without bfloat16, whose numpy dtype lies in a package that is loaded on demand, and without
# string, whose dtype `object` may hold anything.
_BY_NUMPY: dict[Any, DType] = {np.dtype(d.name): d for d in ALL if d not in (bfloat16, string)}


def ref_of(dtype: DType) -> DType:
    """The ref dtype of `dtype` (``float32`` -> ``float32_ref``)."""
    return dtype if dtype.is_ref else _BY_NAME[dtype.name + "_ref"]


def as_dtype(value: Any) -> DType:
    """The DType of a name, TensorFlow enum number, numpy dtype or scalar type, or Python type.

    Raises:
        TypeError: there is no such element type here.
    """
    if isinstance(value, DType):
        return value
    if isinstance(value, np.dtype):
        found = _BY_NUMPY.get(value)
        if found is not None:
            return found
    elif isinstance(value, str):
        found = _BY_NAME.get(value)
        if found is not None:
            return found
    elif isinstance(value, int) and not isinstance(value, bool):
        found = _BY_ENUM.get(value)
        if found is not None:
            return found
        raise TypeError(f"Cannot convert value {value!r} to a TensorFlow DType.")
    # Python's own types follow TensorFlow, not numpy: float is float32, int is int32.
    if value is float:
        return float32
    if value is int:
        return int32
    if value is bool:
        return bool_
    if value in (str, bytes):
        return string
    try:
        numpy_dtype = np.dtype(value)
    except TypeError:
        raise TypeError(f"Cannot convert value {value!r} to a TensorFlow DType.") from None
    if numpy_dtype.kind in "SUO":
        return string
    # Byte order belongs to the storage, not to the type.
    found = _BY_NUMPY.get(numpy_dtype.newbyteorder("="))
    if found is None and numpy_dtype.name == "bfloat16":
        found = bfloat16
    if found is None:
        raise TypeError(f"Cannot convert value {value!r} to a TensorFlow DType.")
    return found
