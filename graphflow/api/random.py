"""`tf.random`: random numbers and their seeds."""

from __future__ import annotations

from graphflow.namespace import namespace

__getattr__, __dir__, __all__ = namespace("random", globals())
