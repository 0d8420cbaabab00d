"""`tf.layers`: functions and objects that make their variables themselves."""

from __future__ import annotations

from graphflow.namespace import namespace

__getattr__, __dir__, __all__ = namespace("layers", globals())
