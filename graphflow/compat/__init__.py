"""TensorFlow's compatibility helpers; `compat.v1` is this package under the name that newer scripts import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphflow.framework.shapes import TensorShape

if TYPE_CHECKING:
    from graphflow.compat import v1 as v1

__all__ = ["as_bytes", "as_str", "as_str_any", "as_text", "dimension_at_index", "dimension_value", "v1"]


def as_bytes(bytes_or_text: Any, encoding: str = "utf-8") -> bytes:
    """bytes as they are, text encoded."""
    if isinstance(bytes_or_text, str):
        return bytes_or_text.encode(encoding)
    if isinstance(bytes_or_text, (bytes, bytearray)):
        return bytes(bytes_or_text)
    raise TypeError(f"Expected binary or unicode string, got {bytes_or_text!r}")


def as_text(bytes_or_text: Any, encoding: str = "utf-8") -> str:
    """Text as it is, bytes decoded."""
    if isinstance(bytes_or_text, str):
        return bytes_or_text
    if isinstance(bytes_or_text, bytes):
        return bytes_or_text.decode(encoding)
    raise TypeError(f"Expected binary or unicode string, got {bytes_or_text!r}")


as_str = as_text


def as_str_any(value: Any) -> str:
    """`value` as text: bytes decoded, everything else through str."""
    return as_text(value) if isinstance(value, bytes) else str(value)


def dimension_value(dimension: Any) -> int | None:
    """The size of a Dimension as an int or None; an int or None is returned as it is."""
    size: int | None = getattr(dimension, "value", dimension)
    return size


def dimension_at_index(shape: TensorShape, index: int) -> Any:
    """shape[index]; an unknown Dimension where the rank is unknown."""
    from graphflow.framework.shapes import Dimension

    return Dimension(None) if shape.ndims is None else shape[index]


def __getattr__(name: str) -> Any:
    if name == "v1":
        import importlib

        return importlib.import_module("graphflow.compat.v1")
    raise AttributeError(f"module 'graphflow.compat' has no attribute {name!r}")
