"""`tf.flags`: command-line flags of a script."""

from __future__ import annotations

from graphflow.namespace import namespace

__getattr__, __dir__, __all__ = namespace("flags", globals())
