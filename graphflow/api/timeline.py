"""`tf.timeline`: a run as a trace to look at."""

from __future__ import annotations

from graphflow.namespace import namespace

__getattr__, __dir__, __all__ = namespace("timeline", globals())
