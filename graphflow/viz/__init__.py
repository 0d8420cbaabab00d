"""`tf.viz`: pictures of graphs and of compiled kernels, as DOT text, SVG or PNG."""

from __future__ import annotations

from graphflow.namespace import namespace

__getattr__, __dir__, __all__ = namespace("viz", globals())
