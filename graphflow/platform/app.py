"""`tf.app`: runs a script's main with its flags parsed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from graphflow.platform import flags as flags

__all__ = ["flags", "run"]


def run(main: Callable[[list[str]], Any] | None = None, argv: Sequence[str] | None = None) -> NoReturn:
    """Parses the flags, calls ``main(argv)`` with the arguments that are no flags, and exits with its result as status.

    `main` is by default the function of that name in the running script.
    """
    rest = flags.FLAGS(list(sys.argv if argv is None else argv), known_only=True)
    if main is None:
        # As TensorFlow finds it: scripts call ``tf.app.run()`` without arguments.
        main = sys.modules["__main__"].main
    sys.exit(main(rest))
