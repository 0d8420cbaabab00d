"""The version of graphflow."""

from __future__ import annotations

__version__ = "0.1.0"
VERSION = __version__
