"""`tf.nn`: activations, losses, normalisations and other parts of networks."""

from __future__ import annotations

from graphflow.namespace import namespace

__getattr__, __dir__, __all__ = namespace("nn", globals())
