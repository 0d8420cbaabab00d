"""The runtime's public names: sessions, their back ends and what they keep. See docs/architecture.md."""

from __future__ import annotations

from graphflow.namespace import namespace

__getattr__, __dir__, __all__ = namespace("runtime", globals())
