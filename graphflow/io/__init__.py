"""Files: models and checkpoints in the native format."""

from __future__ import annotations

from graphflow.io.native import Loaded, Signature, load, save

__all__ = ["Loaded", "Signature", "load", "save"]
