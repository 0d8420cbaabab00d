"""The compiler's public names: from a graph and a signature to a Plan. See docs/architecture.md."""

from __future__ import annotations

from graphflow.namespace import namespace

__getattr__, __dir__, __all__ = namespace("compiler", globals())
