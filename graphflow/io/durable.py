"""`write_durably`: replaces a file so that a crash at any moment leaves the old content or the new, never a mixture."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import threading
import time
from collections.abc import Iterable
from contextlib import suppress

_ABANDONED_AFTER = 3600.0  # seconds, where it cannot be asked whether the writing process lives
_LONGEST_STEM = 200  # of the 255 bytes that a name may have in most file systems
_NOT_POSSIBLE = (errno.EACCES, errno.EPERM, errno.EISDIR, errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS)
_live: set[str] = set()  # temporaries that threads of this process are writing
_lock = threading.Lock()


def write_durably(path: str | os.PathLike[str], chunks: Iterable[bytes | memoryview]) -> None:
    """Replaces the file at `path` by the concatenated chunks, atomically, and returns once the data is on the disk.

    A temporary file beside the old one takes the data until it is complete; its mode follows the umask. Temporary files that
    earlier writers of the same file left behind when they were killed are removed. Missing folders are made.

    Raises:
        OSError: as the system says (no space, no permission). The old file is untouched then; only if it is the folder that
            cannot be brought to the disk, the new one is in its place, though a power cut might bring the old one back.
    """
    # Also those that a path goes through and leaves again ("new/../m"): whoever reads it goes through them, too.
    _make_folders(os.path.dirname(os.path.join(os.getcwd(), os.fspath(path))))
    target = os.path.realpath(path)  # a link stays a link: what it points to is replaced
    folder, base = os.path.split(target)
    _make_folders(folder)
    stem = _stem(base)
    _remove_abandoned(folder, stem)
    # In the same folder: a rename is atomic only within one file system. The process id tells later
    # writers whether the file is abandoned, the random part tells threads apart.
    temporary = os.path.join(folder, f"{stem}{os.getpid()}-{secrets.token_hex(4)}.tmp")
    with _lock:
        _live.add(temporary)
    try:
        # Mode 0666: the kernel takes the umask off, as for any file a program creates.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with open(os.open(temporary, flags, 0o666), "wb", buffering=1 << 20) as f:
            for chunk in chunks:
                f.write(chunk)
            f.flush()
            # Before the rename: else a power cut may leave the new name with old or empty blocks.
            os.fsync(f.fileno())
        os.replace(temporary, target)
    # Also for KeyboardInterrupt: the temporary file must not stay.
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    finally:
        with _lock:
            _live.discard(temporary)
    _sync_folder(folder)


def _make_folders(folder: str) -> None:
    """Makes a folder and those above it that are missing, durably."""
    missing = []
    while not os.path.isdir(folder) and folder != os.path.dirname(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for new in reversed(missing):
        with suppress(FileExistsError):  # another process may be faster
            os.mkdir(new)
        _sync_folder(os.path.dirname(new))


def _sync_folder(folder: str) -> None:
    """Writes the folder to the disk, so that its new entries survive a power cut.

    Where a folder cannot be opened (Windows), or its file system cannot sync one, nothing is done.
    """
    try:
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as e:
        if e.errno not in _NOT_POSSIBLE:
            e.filename = e.filename or folder
            raise


def _stem(base: str) -> str:
    """How temporaries of a file are called at first: a name may be as long as the system allows, and theirs are longer."""
    name = base if len(os.fsencode(base)) <= _LONGEST_STEM else hashlib.sha256(os.fsencode(base)).hexdigest()
    return f".{name}."


def _remove_abandoned(folder: str, stem: str) -> None:
    pattern = re.compile(rf"{re.escape(stem)}(\d{{1,10}})-[0-9a-f]{{8}}\.tmp")
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        found = pattern.fullmatch(name)
        if found is None:
            continue
        path = os.path.join(folder, name)
        with suppress(OSError):
            if _abandoned(path, int(found[1])):
                os.unlink(path)


def _abandoned(path: str, pid: int) -> bool:
    # Of this process: abandoned unless a thread is writing it.
    if pid == os.getpid():
        with _lock:
            return path not in _live
    if os.name == "posix":  # elsewhere signal 0 is a real one
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            pass
    # The process exists (perhaps it is another one by now), or cannot be asked about: only old files count as abandoned.
    return time.time() - os.stat(path).st_mtime > _ABANDONED_AFTER
