"""`write_durably`: replaces a file so that a crash at any moment leaves the old content or the new, never a mixture."""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from collections.abc import Iterable
from contextlib import suppress

_ABANDONED_AFTER = 3600.0  # seconds, where it cannot be asked whether the writing process lives
_live: set[str] = set()  # temporaries that threads of this process are writing
_lock = threading.Lock()


def write_durably(path: str | os.PathLike[str], chunks: Iterable[bytes | memoryview]) -> None:
    """Replaces the file at `path` by the concatenated chunks, atomically, and returns once the data is on the disk.

    A temporary file beside the old one takes the data until it is complete; its mode follows the umask. Temporary files that
    earlier writers of the same file left behind when they were killed are removed.

    Raises:
        OSError: as the system says (no space, no permission, no such folder). The old file is untouched then.
    """
    target = os.path.realpath(path)  # a link stays a link: what it points to is replaced
    folder, base = os.path.split(target)
    _remove_abandoned(folder, base)
    # In the same folder: a rename is atomic only within one file system. The process id tells later
    # writers whether the file is abandoned, the random part tells threads apart.
    temporary = os.path.join(folder, f".{base}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
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


def _sync_folder(folder: str) -> None:
    """Writes the folder to the disk, so that the new directory entry survives a power cut.

    Where a folder cannot be opened (Windows) nothing is done.
    """
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _remove_abandoned(folder: str, base: str) -> None:
    pattern = re.compile(rf"\.{re.escape(base)}\.(\d{{1,10}})-[0-9a-f]{{8}}\.tmp")
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
