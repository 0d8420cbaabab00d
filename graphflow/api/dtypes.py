"""`tf.dtypes`: element types."""

from __future__ import annotations

from graphflow.namespace import namespace

__getattr__, __dir__, __all__ = namespace("dtypes", globals())
