"""Object files kept on disk between processes.

Folder: `GRAPHFLOW_CACHE_DIR`, else ``graphflow`` in `XDG_CACHE_HOME` or ``~/.cache``; an empty `GRAPHFLOW_CACHE_DIR` turns
the cache off. A file is named by the hash of all that its content depends on: LLVM text, CPU and features, versions of
LLVM, of llvmlite and of our pipeline. Its first bytes hold that key again and the hash of the rest, so a file that is
truncated, changed or in the wrong place is not used. Machine code is run as it is, so only files and folders that belong to
this user, and that nobody else may write, are trusted. Files are written aside and renamed: processes that race write
the same bytes. The files used longest ago go before all of them would exceed `GRAPHFLOW_CACHE_SIZE` megabytes (256); processes
that write at the same time each count their own.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import stat
import tempfile
import time
from functools import lru_cache
from pathlib import Path

from graphflow.framework import environment
from graphflow.framework.records import record
from graphflow_compiler.codegen.jit.object_code import PIPELINE

_log = logging.getLogger("graphflow")

_MAGIC = b"graphflow object 1\n"
_SUFFIX = ".gfo"
_HEADER = len(_MAGIC) + 64
_LARGEST = 1 << 28
_DEFAULT_MEGABYTES = 256
#: A file still unfinished after this many seconds was left by a process that died.
_ABANDONED = 3600.0
#: Files written between two looks at the folder, where other processes write too.
_LOOK_EVERY = 50


@record
class Usage:
    """What the cache holds: its folder (None: it is off), number of files, bytes, and the most bytes it may hold."""

    folder: Path | None
    files: int
    size: int
    limit: int


class ObjectCache:
    """The files of one folder. No method raises OSError: a cache that fails is a cache that holds nothing."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self._written = 0
        self._room = 0  # bytes that may be written until the next look at the folder
        self._trusted: bool | None = None

    def get(self, key: bytes) -> bytes | None:
        """The object file kept under a key of 32 bytes."""
        if not self._is_trusted():
            return None
        path = self._path(key)
        try:
            data = _read_own_file(path)
        except OSError:
            return None
        if data is None or not _is_sound(data, key):
            _log.info("%s is damaged or not ours: compiled anew", path)
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # it was used: others go first
        return data[_HEADER:]

    def has(self, key: bytes) -> bool:
        """Whether there is a file for the key, sound or not."""
        return self._is_trusted() and os.path.exists(self._path(key))  # Path.exists lets some errors through

    def put(self, key: bytes, code: bytes) -> None:
        """Keeps an object file, if the folder can be written."""
        size = _HEADER + len(code)
        if size > self.limit or not self._is_trusted(create=True):
            return
        if size > self._room or self._written % _LOOK_EVERY == 0:
            self.prune(size)
        # Written aside and renamed, which is atomic: no process ever reads half a file.
        temporary = ""
        try:
            handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".new-")
            with os.fdopen(handle, "wb") as f:
                f.write(_MAGIC + key + hashlib.sha256(code).digest() + code)
            os.replace(temporary, self._path(key))
        except OSError as e:
            _log.info("the cache of compiled code in %s cannot be written: %s", self.folder, e)
            if temporary:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
            return
        self._written += 1
        self._room -= size

    def prune(self, more: int = 0) -> None:
        """Removes what dead processes left and, if `more` bytes would be too much, the files used longest ago until, with
        them, four fifths of the limit are left."""
        found = self._files()
        total = sum(size for _, size, _ in found)
        if total + more > self.limit:
            for _, size, path in sorted(found):
                with contextlib.suppress(OSError):
                    path.unlink()
                    total -= size
                if total + more <= self.limit * 4 // 5:
                    break
        self._room = self.limit - total
        now = time.time()
        with contextlib.suppress(OSError):
            for path in self.folder.glob(".new-*"):
                with contextlib.suppress(OSError):
                    if now - path.lstat().st_mtime > _ABANDONED:
                        path.unlink()

    def clear(self) -> int:
        """Removes all files; how many there were."""
        removed = 0
        for _, _, path in self._files():
            with contextlib.suppress(OSError):
                path.unlink()
                removed += 1
        self._room = self.limit
        return removed

    def usage(self) -> Usage:
        found = self._files()
        return Usage(self.folder, len(found), sum(size for _, size, _ in found), self.limit)

    def _files(self) -> list[tuple[float, int, Path]]:
        """Time of last use, bytes and path of each file."""
        found = []
        try:
            paths = list(self.folder.glob(f"*{_SUFFIX}"))
        except OSError:
            return []
        for path in paths:
            with contextlib.suppress(OSError):
                s = path.lstat()
                found.append((s.st_mtime, s.st_size, path))
        return found

    def _path(self, key: bytes) -> Path:
        return self.folder / f"{key.hex()}{_SUFFIX}"

    def _is_trusted(self, create: bool = False) -> bool:
        """Whether the folder is there and nobody else can put files into it."""
        if self._trusted is None:
            try:
                if create:
                    self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                s = os.stat(self.folder)
            except OSError as e:
                if create:
                    _log.info("no cache of compiled code in %s: %s", self.folder, e)
                    asked = environment.text("GRAPHFLOW_CACHE_DIR")
                    if asked and os.path.abspath(asked) == str(self.folder):
                        environment.ignored("GRAPHFLOW_CACHE_DIR", asked, f"a folder that can be made ({e})", "nothing is kept")
                    self._trusted = False
                return False
            self._trusted = stat.S_ISDIR(s.st_mode) and _is_private(s)
            if not self._trusted:
                _log.warning(
                    "%s is not used as a cache of compiled code: %s. Set GRAPHFLOW_CACHE_DIR to a folder of your own, or to "
                    "nothing.",
                    self.folder,
                    "it belongs to another user, or others may write to it" if stat.S_ISDIR(s.st_mode) else "it is no folder",
                )
        return self._trusted


def _is_private(s: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or (s.st_uid == os.geteuid() and not s.st_mode & 0o022)


def _read_own_file(path: Path) -> bytes | None:
    """The content of a plain file (no link) of this user that nobody else may write; None if it is something else."""
    # Not blocking, because opening a FIFO that somebody put there would wait for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)
    with os.fdopen(handle, "rb") as f:
        s = os.fstat(handle)
        if not stat.S_ISREG(s.st_mode) or not _is_private(s) or s.st_size > _LARGEST:
            return None
        return f.read(_LARGEST)


def _is_sound(data: bytes, key: bytes) -> bool:
    start = len(_MAGIC)
    return (
        data[:start] == _MAGIC
        and data[start : start + 32] == key
        and data[start + 32 : _HEADER] == hashlib.sha256(data[_HEADER:]).digest()
    )


def key_of(text: str, cpu: str, features: str) -> bytes:
    """The key, of 32 bytes, of the object file that this LLVM makes of a text for a CPU."""
    h = hashlib.sha256()
    for part in (*_versions(), cpu, features, text):
        # With its length, so that no two lists of parts run together to the same bytes.
        data = part.encode()
        h.update(len(data).to_bytes(8, "little") + data)
    return h.digest()


@lru_cache(maxsize=1)
def _versions() -> tuple[str, ...]:
    import llvmlite
    import llvmlite.binding as llvm

    return str(PIPELINE), llvmlite.__version__, str(llvm.llvm_version_info), llvm.get_default_triple()


def object_cache() -> ObjectCache | None:
    """The cache that the environment asks for; None where it is turned off or there is no home."""
    folder = os.environ.get("GRAPHFLOW_CACHE_DIR")
    if folder == "":
        return None
    if folder is None:
        base = os.environ.get("XDG_CACHE_HOME", "")
        try:
            # A relative XDG_CACHE_HOME is to be ignored (XDG Base Directory Specification).
            folder = str((Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "graphflow")
        except RuntimeError:  # nobody's home
            return None
    limit = environment.whole_number("GRAPHFLOW_CACHE_SIZE", 0, _DEFAULT_MEGABYTES) * 1_000_000
    return _cache_at(os.path.abspath(folder), limit)


@lru_cache(maxsize=8)
def _cache_at(folder: str, limit: int) -> ObjectCache:
    return ObjectCache(Path(folder), limit)
