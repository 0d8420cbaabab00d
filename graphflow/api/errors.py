"""`tf.errors`: every error that graphflow raises."""

from __future__ import annotations

from graphflow.namespace import namespace

__getattr__, __dir__, __all__ = namespace("errors", globals())
