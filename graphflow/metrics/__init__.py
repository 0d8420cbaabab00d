"""`tf.metrics`: (value, update_op) over counters that are local variables."""

from __future__ import annotations

from graphflow.namespace import namespace

__getattr__, __dir__, __all__ = namespace("metrics", globals())
