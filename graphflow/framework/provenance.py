"""The user's lines that ops came from: captured cheaply when an op is made, formatted only when they are shown."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Iterable
from types import CodeType
from typing import NamedTuple, TypeAlias


class CodeName(NamedTuple):
    """What is kept of a code object in another process."""

    co_filename: str
    co_name: str


#: Raw frames, innermost first. They become text when they are shown: capturing takes about 2.5 us, traceback.extract_stack 45.
RawFrames: TypeAlias = "tuple[tuple[CodeType | CodeName, int], ...]"

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_PARENT = os.path.dirname(_PACKAGE)
#: The folders of the three packages, as installed and as they stand in a checkout.
_ROOTS = tuple(
    folder + os.sep
    for folder in (
        _PACKAGE,
        os.path.join(_PARENT, "graphflow_compiler"),
        os.path.join(_PARENT, "graphflow_runtime"),
        os.path.join(_PARENT, "compiler", "graphflow_compiler"),
        os.path.join(_PARENT, "runtime", "graphflow_runtime"),
    )
)
_MAX_FRAMES = 8
_last: RawFrames = ()
_ours: dict[str, bool] = {}  # by file name: strings keep their hash, code objects compute it anew


def _is_ours(filename: str) -> bool:
    # `with` blocks of ours put frames of contextlib between the user's line and our functions.
    known = os.path.abspath(filename).startswith(_ROOTS) or filename.endswith("contextlib.py")
    _ours[filename] = known
    return known


def capture() -> RawFrames:
    """The frames of user code on the stack, innermost first; graphflow's own frames are left out."""
    global _last
    frames: list[tuple[CodeType, int]] = []
    frame = sys._getframe(1)
    ours = _ours
    while frame is not None:
        code = frame.f_code
        filename = code.co_filename
        known = ours.get(filename)
        if not (_is_ours(filename) if known is None else known):
            frames.append((code, frame.f_lineno))
            if len(frames) == _MAX_FRAMES:
                break
        frame = frame.f_back  # type: ignore[assignment]
    # Most ops come from the same line as the op before (a constant and its user, a loop), and then share one tuple.
    made = tuple(frames)
    last = _last  # read once: another thread may put its own there
    if made == last:
        return last
    _last = made
    return made


class Location:
    """One user line: ``train.py:41 in build_model: logits = gf.matmul(x, w)``."""

    __slots__ = ("frames",)

    def __init__(self, frames: RawFrames) -> None:
        self.frames = frames

    @property
    def filename(self) -> str:
        return self.frames[0][0].co_filename if self.frames else "<unknown>"

    @property
    def lineno(self) -> int:
        return self.frames[0][1] if self.frames else 0

    @property
    def function(self) -> str:
        return self.frames[0][0].co_name if self.frames else "<unknown>"

    @property
    def source(self) -> str:
        return linecache.getline(self.filename, self.lineno).strip()

    @property
    def traceback(self) -> list[tuple[str, int, str]]:
        """(file, line, function) of the frames, outermost first."""
        return [(c.co_filename, n, c.co_name) for c, n in reversed(self.frames)]

    def __reduce__(self) -> tuple[type[Location], tuple[RawFrames]]:
        return Location, (tuple([(CodeName(c.co_filename, c.co_name), n) for c, n in self.frames]),)

    def short(self) -> str:
        """``train.py:41``"""
        return f"{os.path.basename(self.filename)}:{self.lineno}"

    def __str__(self) -> str:
        if not self.frames:
            return "<unknown place>"
        where = self.short() if self.function == "<module>" else f"{self.short()} in {self.function}"
        source = self.source
        return f"{where}:  {source}" if source else where

    def __repr__(self) -> str:
        return f"Location({self})"

    def format_stack(self) -> str:
        """All captured frames, innermost first, one a line."""
        return "\n".join(
            f"{c.co_filename}:{n} in {c.co_name}:  {linecache.getline(c.co_filename, n).strip()}" for c, n in self.frames
        )


def merge(parts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """The union of op names that several nodes came from, in first-seen order."""
    return tuple(dict.fromkeys(name for part in parts for name in part))
