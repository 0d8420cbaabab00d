"""Attributes, dims and types as JSON values, and back again, checked against the field types of the attrs class.

Values by their types:

    int, bool, str, None     themselves
    float                    {"float": "0x1.8p+1"}    exact, with nan and inf
    DType                    {"dtype": "float32"}
    SymDim                   {"dim": "batch"}, or {"dim": [[coefficient, factor, ...], ...]} with "n" and [op, dim, dim]
    tuple                    a list
    TensorValue              {"tensor": "const/W"}, if small in place: {"tensor": ["float32", [2], "0000803f00000040"]}
"""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
import types
import typing
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from graphflow.framework.dims import DEEPEST, MOST_FACTORS, total
from graphflow.framework.dtypes import DType, as_dtype
from graphflow.framework.errors import CorruptFileError, FormatError
from graphflow.framework.registry import TensorValue
from graphflow.framework.shapes import Dim, Shape, SymDim, floordiv, fresh_dim, maximum, minimum, mod, size

_INLINE_BYTES = 64  # a tensor of its own costs about 150 bytes of header
_MAX_DEPTH = 16
_OPS: dict[str, Callable[[Dim, Dim], Dim]] = {"//": floordiv, "%": mod, "max": maximum, "min": minimum}


def fits(number: int) -> bool:
    """Whether a file can hold a number: it does into 64 bits, with a sign or without."""
    return -(2**63) <= number < 2**64


# ---------------------------------------------------------------------------------------------- writing


class Encoder:
    """Turns attribute values into JSON values. Large tensors go into `tensors`; sizes without a name are numbered from 0."""

    def __init__(self) -> None:
        self.tensors: dict[str, np.ndarray[Any, Any]] = {}
        self._numbers: dict[str, str] = {}

    def attrs(self, attrs: Any, node: str) -> dict[str, Any]:
        """The fields of an attrs dataclass. FormatError for what cannot be stored (Python functions)."""
        out: dict[str, Any] = {}
        for f in dataclasses.fields(attrs):
            try:
                out[f.name] = self.value(getattr(attrs, f.name), node)
            except TypeError as e:
                raise FormatError(f"operation '{node}' cannot be saved: its attribute '{f.name}' is {e}") from None
        return out

    def value(self, value: Any, node: str) -> Any:
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, (int, np.integer)):
            if not fits(int(value)):
                raise TypeError(f"{value}, which does not fit into 64 bits")
            return int(value)
        if isinstance(value, (float, np.floating)):
            # Hexadecimal is exact and has infinities and NaN, which JSON's numbers have not.
            return {"float": float(value).hex()}
        if isinstance(value, np.bool_):
            return bool(value)
        if isinstance(value, DType):
            return {"dtype": value.name}
        if isinstance(value, SymDim):
            return self.dim(value)
        if isinstance(value, TensorValue):
            return {"tensor": self._tensor(value.array, node)}
        if isinstance(value, tuple):
            return [self.value(v, node) for v in value]
        raise TypeError(f"a {type(value).__name__}, which no file can hold")

    def _tensor(self, array: np.ndarray[Any, Any], node: str) -> Any:
        if array.dtype != object and array.nbytes <= _INLINE_BYTES:
            return [as_dtype(array.dtype).name, list(array.shape), array.tobytes().hex()]
        name = f"const/{node}"
        # An op may hold several tensors, and op names may themselves end in such a number.
        for i in range(1, 1 << 20):
            if name not in self.tensors:
                break
            name = f"const/{node}#{i}"
        self.tensors[name] = array
        return name

    def shape(self, shape: Shape | None) -> Any:
        """Dims with a name appear as that name."""
        if shape is None:
            return None
        return [d["dim"] if isinstance(d, dict) and isinstance(d["dim"], str) else d for d in map(self.dim, shape)]

    def dim(self, d: Dim) -> Any:
        if isinstance(d, int):
            return int(d)
        terms = [[c, *(self._factor(a) for a in monomial)] for monomial, c in d.terms]
        if len(terms) == 1 and len(terms[0]) == 2 and terms[0][0] == 1 and isinstance(terms[0][1], str):
            return {"dim": terms[0][1]}
        return {"dim": terms}

    def _factor(self, atom: Any) -> Any:
        if isinstance(atom, str):
            # The number in ``?17`` depends on what the process made before. In a file numbers start at 0, so that equal graphs
            # give equal files.
            return self._numbers.setdefault(atom, f"?{len(self._numbers)}") if atom.startswith("?") else atom
        op, a, b = atom
        return [op, self.dim(a), self.dim(b)]


# ---------------------------------------------------------------------------------------------- reading


class Decoder:
    """Turns JSON values into attribute values. Whatever is unexpected raises CorruptFileError.

    Args:
        tensor: gives the array of a name.
        names: the names of the tensors in the file.
    """

    def __init__(self, tensor: Callable[[str], np.ndarray[Any, Any]], names: typing.Collection[str]) -> None:
        self._tensor_of = tensor
        self._names = names
        self._fresh: dict[str, SymDim] = {}
        self._known: set[SymDim] = set()
        self.used: set[str] = set()

    def attrs(self, cls: type, raw: Any) -> Any:
        """An instance of the attrs class. Fields that the file lacks take their defaults."""
        if not isinstance(raw, dict):
            raise CorruptFileError("the attributes must be a JSON object")
        fields = {f.name: f for f in dataclasses.fields(cls)}
        unknown = raw.keys() - fields.keys()
        if unknown:
            raise CorruptFileError(f"unknown attribute '{min(unknown)[:80]}'")
        hints = field_types(cls)
        values: dict[str, Any] = {}
        for name, value in raw.items():
            # Types are checked here because an op's code trusts its attributes.
            values[name] = self.value(value)
            if name in hints and not matches(values[name], hints[name]):
                raise CorruptFileError(f"attribute '{name}' is {str(values[name])[:80]!r}, not of the type {fields[name].type}")
        missing = [
            n
            for n, f in fields.items()
            if n not in raw and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        ]
        if missing:
            raise CorruptFileError(f"attribute '{missing[0]}' is missing")
        return cls(**values)

    def value(self, raw: Any, depth: int = 0) -> Any:
        if depth > _MAX_DEPTH:
            raise CorruptFileError("an attribute is nested too deeply")
        if raw is None or isinstance(raw, (bool, str)):
            return raw
        if isinstance(raw, int):
            # What fits neither int64 nor uint64 is no attribute of any op, and could make huge sizes.
            if not fits(raw):
                raise CorruptFileError(f"the integer {raw} is out of range")
            return raw
        if isinstance(raw, list):
            return tuple([self.value(v, depth + 1) for v in raw])
        if isinstance(raw, dict) and len(raw) == 1:
            ((tag, inner),) = raw.items()
            if tag == "float" and isinstance(inner, str):
                return _float(inner)
            if tag == "dtype" and isinstance(inner, str):
                return dtype_named(inner)
            if tag == "dim":
                return self.dim(raw, depth)
            if tag == "tensor":
                return TensorValue(self._tensor(inner))
        raise CorruptFileError(f"{str(raw)[:80]} is no attribute value")

    def _tensor(self, raw: Any) -> np.ndarray[Any, Any]:
        if isinstance(raw, str):
            if raw not in self._names:
                raise CorruptFileError(f"the file has no tensor '{raw[:200]}'")
            self.used.add(raw)
            return self._tensor_of(raw)
        if not (isinstance(raw, list) and len(raw) == 3 and isinstance(raw[0], str) and isinstance(raw[2], str)):
            raise CorruptFileError(f"{str(raw)[:80]} is no tensor")
        dtype, shape = dtype_named(raw[0]), self.shape(raw[1])
        if shape is None or not all(isinstance(d, int) for d in shape) or len(shape) > 32 or dtype.kind == "S":
            raise CorruptFileError(f"{str(raw)[:80]} is no tensor")
        sizes = [int(d) for d in shape if isinstance(d, int)]
        try:
            data = bytes.fromhex(raw[2])
        except ValueError:
            raise CorruptFileError("the bytes of a tensor are not hexadecimal") from None
        if len(data) > _INLINE_BYTES or math.prod(sizes) * dtype.size != len(data):
            raise CorruptFileError(f"{len(data)} bytes do not make a tensor {raw[0]}{sizes}")
        # Other bytes than 0 and 1 in a bool array would be undefined behaviour in the kernels.
        if dtype.is_bool and max(data, default=0) > 1:
            raise CorruptFileError("a bool tensor holds other bytes than 0 and 1")
        return np.frombuffer(data, dtype.numpy_dtype).reshape(sizes)

    def shape(self, raw: Any) -> Shape | None:
        if raw is None:
            return None
        if not isinstance(raw, list) or len(raw) > 32:
            raise CorruptFileError(f"{str(raw)[:80]} is no shape")
        return tuple([self._factor(d, 0) if isinstance(d, str) else self.dim(d) for d in raw])

    def dim(self, raw: Any, depth: int = 0) -> Dim:
        # A bound on recursion: the text of a hostile file must not overflow the stack.
        if depth > _MAX_DEPTH + DEEPEST:
            raise CorruptFileError("a dimension is nested too deeply")
        if type(raw) is int and abs(raw) < 2**63:
            return raw
        if isinstance(raw, dict) and raw.keys() == {"dim"} and isinstance(raw["dim"], str):
            return self._factor(raw["dim"], depth)
        if not isinstance(raw, dict) or raw.keys() != {"dim"} or not isinstance(raw["dim"], list):
            raise CorruptFileError(f"{str(raw)[:80]} is no dimension")
        monomials: list[Dim] = []
        for term in raw["dim"]:
            if not isinstance(term, list) or not term or type(term[0]) is not int or len(term) > MOST_FACTORS:
                raise CorruptFileError(f"{str(term)[:80]} is no term of a dimension")
            monomial: Dim = term[0]
            for factor in term[1:]:
                monomial = monomial * self._factor(factor, depth)
            monomials.append(monomial)
        found = total(monomials)
        # What is too long to be worked out becomes an unknown size. Nobody wrote a file from one that was.
        if isinstance(found, SymDim) and any(n.startswith("?") and size(n) not in self._known for n in found.names()):
            raise CorruptFileError("a dimension takes too many terms to work out")
        return found

    def _factor(self, raw: Any, depth: int) -> Dim:
        if isinstance(raw, str):
            if raw.startswith("?") and raw[1:].isdecimal():
                # The same number in a file is the same size.
                if raw not in self._fresh:
                    self._fresh[raw] = fresh_dim()
                    self._known.add(self._fresh[raw])
                return self._fresh[raw]
            if raw.isidentifier():
                return size(raw)
        elif isinstance(raw, list) and len(raw) == 3 and isinstance(raw[0], str) and raw[0] in _OPS:
            a, b = self.dim(raw[1], depth + 1), self.dim(raw[2], depth + 1)
            # Checked before the arithmetic, which would raise ZeroDivisionError.
            if b == 0 and raw[0] in ("//", "%"):
                raise CorruptFileError("a dimension is divided by zero")
            return _OPS[raw[0]](a, b)
        raise CorruptFileError(f"{str(raw)[:80]} is no size")


def _float(text: str) -> float:
    try:
        return float.fromhex(text)
    except (ValueError, OverflowError):
        raise CorruptFileError(f"{text[:80]!r} is no floating-point number") from None


def dtype_named(name: str) -> DType:
    try:
        found = as_dtype(name)
    except TypeError:
        found = None
    # Only canonical names: aliases and ref dtypes are never written.
    if found is None or found.name != name:
        raise CorruptFileError(f"{name[:80]!r} is no element type")
    return found


#: The aliases of shapes are forward references there (text), so they are given here as types.
_ALIASES = {"Dim": int | SymDim, "Shape": tuple[int | SymDim, ...]}


@functools.cache
def field_types(cls: type) -> dict[str, Any]:
    """The resolved annotations of an attrs class; of a user's own op whose annotations do not resolve, none."""
    module = sys.modules.get(cls.__module__)
    try:
        return typing.get_type_hints(cls, {**(vars(module) if module else {}), **_ALIASES})
    except (NameError, TypeError):
        return {}


def matches(value: Any, hint: Any) -> bool:
    """Whether an attribute value is of the annotated type."""
    if hint is Any:
        return True
    if hint is None or hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, (float, int)) and not isinstance(value, bool)
    # `isinstance` would let True pass for an int.
    if hint is int:
        return type(value) is int
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(matches(value, h) for h in typing.get_args(hint))
    if origin is Literal:
        return any(value == v and type(value) is type(v) for v in typing.get_args(hint))
    if origin is tuple:
        inner = typing.get_args(hint)
        if not isinstance(value, tuple):
            return False
        if len(inner) == 2 and inner[1] is Ellipsis:
            return all(matches(v, inner[0]) for v in value)
        return len(value) == len(inner) and all(map(matches, value, inner))
    return isinstance(value, hint) if isinstance(hint, type) else True
