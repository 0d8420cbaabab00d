"""Settings from the environment. What is wrong with one is told once, and the default taken: no run fails for it."""

from __future__ import annotations

import logging
import os

_log = logging.getLogger("graphflow")
_told: set[tuple[str, str]] = set()


def text(name: str) -> str:
    """What the variable says; nothing if it is not set."""
    return os.environ.get(name, "")


def whole_number(name: str, least: int, default: int) -> int:
    """The number that the variable holds, of `least` or more; white space and a plus sign mean nothing."""
    value = text(name)
    found = as_number(value)
    if found is not None and found >= least:
        return found
    if value:
        ignored(name, value, f"a whole number from {least}")
    return default


def as_number(value: str) -> int | None:
    """The whole number that a text is, if it is one."""
    digits = value.strip().removeprefix("+")
    return int(digits) if digits.isdecimal() and len(digits) < 19 else None


def choice(name: str, allowed: tuple[str, ...]) -> str:
    """One of `allowed`, of which the first is the default."""
    value = text(name)
    if value in allowed:
        return value
    if value:
        ignored(name, value, " or ".join(map(repr, allowed)))
    return allowed[0]


def ignored(name: str, value: str, allowed: str, then: str = "the default is taken") -> None:
    """Says, once for each value, that it is not `allowed`, and what happens `then`."""
    if (name, value) not in _told:
        _told.add((name, value))
        _log.warning("the environment variable %s is %r, which is not %s: %s", name, value, allowed, then)
