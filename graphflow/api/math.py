"""`tf.math`: functions of numbers, element by element and over axes."""

from __future__ import annotations

from graphflow.namespace import namespace

__getattr__, __dir__, __all__ = namespace("math", globals())
