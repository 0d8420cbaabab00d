"""`tf.shapes`: TensorShape, Dimension and what converts them."""

from __future__ import annotations

from graphflow.namespace import namespace

__getattr__, __dir__, __all__ = namespace("shapes", globals())
