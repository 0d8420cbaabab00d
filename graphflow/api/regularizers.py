"""`tf.regularizers`: functions of a weight that give a scalar loss."""

from __future__ import annotations

from graphflow.namespace import namespace

__getattr__, __dir__, __all__ = namespace("regularizers", globals())
