"""``python -m graphflow``."""

from __future__ import annotations

import sys

from graphflow.tools.cli import main

if __name__ == "__main__":
    sys.exit(main())
