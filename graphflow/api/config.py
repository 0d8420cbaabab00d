"""`tf.config`: settings of sessions and runs, and what a run reports."""

from __future__ import annotations

from graphflow.namespace import namespace

__getattr__, __dir__, __all__ = namespace("config", globals())
