"""`tf.gfile`: files, by TensorFlow's names."""

from __future__ import annotations

from graphflow.namespace import namespace

__getattr__, __dir__, __all__ = namespace("gfile", globals())
