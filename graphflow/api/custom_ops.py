"""`tf.custom_ops`: what people need who write their own ops. See docs/add-an-op.md and samples/custom_op.py."""

from __future__ import annotations

from graphflow.namespace import namespace

__getattr__, __dir__, __all__ = namespace("custom_ops", globals())
