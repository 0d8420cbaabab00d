"""`tf.losses`: losses that are weighted, reduced to a scalar and put into a collection."""

from __future__ import annotations

from graphflow.namespace import namespace

__getattr__, __dir__, __all__ = namespace("losses", globals())
