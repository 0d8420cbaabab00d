"""`tf.bitwise`: the bits of integers."""

from __future__ import annotations

from graphflow.namespace import namespace

__getattr__, __dir__, __all__ = namespace("bitwise", globals())
