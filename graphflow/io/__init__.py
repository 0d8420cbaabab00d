"""`tf.io`: models and checkpoints as files."""

from __future__ import annotations

from graphflow.namespace import namespace

__getattr__, __dir__, __all__ = namespace("io", globals())
