"""The version of graphflow, and when this process loaded it."""

from __future__ import annotations

import time

__version__ = "0.1.0"
VERSION = __version__
#: Seconds since the epoch: source files that have changed since are not what this process runs.
LOADED_AT = time.time()
