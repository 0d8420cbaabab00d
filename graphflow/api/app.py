"""`tf.app`: runs a script's main with its flags parsed."""

from __future__ import annotations

from graphflow.namespace import namespace

__getattr__, __dir__, __all__ = namespace("app", globals())
