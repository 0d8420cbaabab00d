"""`tf.train`: optimizers, learning rates, the global step, moving averages, checkpoints."""

from __future__ import annotations

from graphflow.namespace import namespace

__getattr__, __dir__, __all__ = namespace("train", globals())
