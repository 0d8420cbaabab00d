"""`tf.initializers`: initial values of variables."""

from __future__ import annotations

from graphflow.namespace import namespace

__getattr__, __dir__, __all__ = namespace("initializers", globals())
