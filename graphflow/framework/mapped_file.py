"""Arrays that lie in a mapped file. Somebody may cut or overwrite it: reading them ends the process then, or gives a mixture.

Who takes over such an array asks `check_unchanged` first, which costs one fstat. That cannot tell of what happens in between,
nor of what others read in the array meanwhile; so only files of this user are mapped, and others copied (`is_own`).
"""

from __future__ import annotations

import mmap
import os
from typing import Any

import numpy as np

from graphflow.framework.errors import FormatError


class MappedFile(mmap.mmap):
    """A file, mapped copy-on-write, that knows whether it is still what was mapped. The descriptor may be closed."""

    path: str
    _file: int
    _stamp: tuple[int, int]

    def __new__(cls, path: str, fd: int) -> MappedFile:
        self = super().__new__(cls, fd, 0, access=mmap.ACCESS_COPY)
        self.path = path
        self._file = os.dup(fd)
        self._stamp = self._now()
        return self

    def _now(self) -> tuple[int, int]:
        s = os.fstat(self._file)
        return s.st_size, s.st_mtime_ns

    def check(self) -> None:
        """FormatError if the file has been written since. One that has been replaced or deleted is still there for us."""
        now = self._now()
        if now != self._stamp:
            how = f"cut or grown from {self._stamp[0]:,} to {now[0]:,} bytes" if now[0] != self._stamp[0] else "written"
            raise FormatError(
                f"{self.path} has been {how} since it was loaded, and arrays that lie in it cannot be read any more: load it "
                "again. Replace files (as save does) instead of writing into them, or load with memory_map=False"
            )

    def __del__(self) -> None:
        file = getattr(self, "_file", None)
        if file is not None:
            os.close(file)


class MappedArray(np.ndarray[Any, Any]):
    """An array in a mapped file. What is computed from it is an ordinary array."""

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        plain = np.asarray(array)
        return plain[()] if return_scalar or not plain.shape else plain


def check_unchanged(value: Any) -> None:
    """FormatError if `value` is an array in a mapped file that has been written since."""
    if isinstance(value, MappedArray):
        base: Any = value
        while base is not None and not isinstance(base, MappedFile):
            base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
        if base is not None:
            base.check()


def is_own(fd: int) -> bool:
    """Whether an open file belongs to this user, so that nobody else (but the administrator) may write it by default."""
    return not hasattr(os, "geteuid") or os.fstat(fd).st_uid == os.geteuid()
