"""`tf.gfile`: file operations under TensorFlow's names, on the local file system."""

from __future__ import annotations

import glob as _glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from graphflow.framework import errors

__all__ = [
    "Copy", "DeleteRecursively", "Exists", "FastGFile", "GFile", "Glob", "IsDirectory", "ListDirectory", "MakeDirs",
    "MkDir", "Open", "Remove", "Rename", "Stat", "Walk",
    "copy", "exists", "glob", "isdir", "listdir", "makedirs", "mkdir", "remove", "rename", "rmtree", "stat", "walk",
]  # fmt: skip

_ERRORS: tuple[tuple[type[OSError], type[errors.OpError]], ...] = (
    (FileNotFoundError, errors.NotFoundError),
    (FileExistsError, errors.AlreadyExistsError),
    (PermissionError, errors.PermissionDeniedError),
    (IsADirectoryError, errors.FailedPreconditionError),
    (NotADirectoryError, errors.FailedPreconditionError),
)


@contextmanager
def _tensorflow_errors(path: Any) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        error = next((ours for theirs, ours in _ERRORS if isinstance(e, theirs)), errors.UnknownError)
        raise error(message=f"{os.fspath(path)!s}; {e.strerror or e}") from e


class GFile:
    """A file, opened when it is first used. Modes r, w, a, r+, w+, a+, each with or without b.

    Raises:
        NotFoundError, PermissionDeniedError: where Python's open would raise OSError.
    """

    def __init__(self, name: Any, mode: str = "r") -> None:
        if mode.replace("b", "") not in ("r", "w", "a", "r+", "w+", "a+"):
            raise errors.InvalidArgumentError(message=f"{mode!r} is not a mode that a file can be opened in")
        self._name = os.fspath(name)
        self._mode = mode
        self._file: IO[Any] | None = None

    @property
    def name(self) -> str:
        return str(self._name)

    @property
    def mode(self) -> str:
        return self._mode

    def _open(self) -> IO[Any]:
        if self._file is None:
            with _tensorflow_errors(self._name):
                text = "b" not in self._mode
                # Line ends stay as they are in the file, as in TensorFlow.
                self._file = open(  # noqa: SIM115  (close() closes it)
                    self._name, self._mode, encoding="utf-8" if text else None, newline="" if text else None
                )
        return self._file

    def read(self, n: int = -1) -> Any:
        """The next n characters (bytes in mode b), or all the rest."""
        file = self._open()
        with _tensorflow_errors(self._name):
            return file.read(n)

    def readline(self) -> Any:
        return self._open().readline()

    def readlines(self) -> list[Any]:
        return self._open().readlines()

    def write(self, file_content: Any) -> None:
        self._open().write(file_content)

    def seek(self, offset: int | None = None, whence: int = 0, position: int | None = None) -> None:
        self._open().seek(position if offset is None and position is not None else offset or 0, whence)

    def tell(self) -> int:
        return self._open().tell()

    def size(self) -> int:
        """Bytes in the file."""
        # What has been written but not yet handed to the system counts, too.
        self.flush()
        with _tensorflow_errors(self._name):
            return os.path.getsize(self._name)

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        if self._file is None and self._mode[0] in "wa":
            self._open()  # a file opened for writing exists afterwards, also if nothing was written
        if self._file is not None:
            self._file.close()
            self._file = None

    def __iter__(self) -> Iterator[Any]:
        return iter(self._open())

    def __next__(self) -> Any:
        return next(self._open())

    def __enter__(self) -> GFile:
        return self

    def __exit__(self, exception: Any, value: Any, traceback: Any) -> None:
        self.close()


Open = FastGFile = GFile


def Exists(filename: Any) -> bool:
    return os.path.exists(filename)


def IsDirectory(dirname: Any) -> bool:
    return os.path.isdir(dirname)


def ListDirectory(dirname: Any) -> list[str]:
    """The names in a folder, sorted."""
    with _tensorflow_errors(dirname):
        return sorted(os.listdir(dirname))


def Glob(filename: Any) -> list[str]:
    """The paths that match a pattern (or one of several), sorted."""
    patterns = filename if isinstance(filename, (list, tuple)) else [filename]
    return sorted(path for pattern in patterns for path in _glob.glob(os.fspath(pattern)))


def MkDir(dirname: Any) -> None:
    """Makes one folder, whose parent exists."""
    with _tensorflow_errors(dirname):
        os.mkdir(dirname)


def MakeDirs(dirname: Any) -> None:
    """Makes a folder and those above it; there may be one already."""
    with _tensorflow_errors(dirname):
        os.makedirs(dirname, exist_ok=True)


def Remove(filename: Any) -> None:
    with _tensorflow_errors(filename):
        os.remove(filename)


def DeleteRecursively(dirname: Any) -> None:
    """Removes a folder and all in it, or a file."""
    with _tensorflow_errors(dirname):
        if os.path.isdir(dirname) and not os.path.islink(dirname):
            shutil.rmtree(dirname)
        else:
            os.remove(dirname)


def Rename(oldname: Any, newname: Any, overwrite: bool = False) -> None:
    _check_free(newname, overwrite)
    with _tensorflow_errors(oldname):
        os.replace(oldname, newname)


def Copy(oldpath: Any, newpath: Any, overwrite: bool = False) -> None:
    _check_free(newpath, overwrite)
    with _tensorflow_errors(oldpath):
        shutil.copyfile(oldpath, newpath)


def _check_free(path: Any, overwrite: bool) -> None:
    if not overwrite and os.path.exists(path):
        raise errors.AlreadyExistsError(message=f"{os.fspath(path)!s}; file already exists")


def Stat(filename: Any) -> os.stat_result:
    with _tensorflow_errors(filename):
        return os.stat(filename)


def Walk(top: Any, in_order: bool = True) -> Iterator[tuple[str, list[str], list[str]]]:
    """(folder, folders in it, files in it), parents first unless `in_order` is False."""
    return os.walk(top, topdown=in_order)


copy, exists, glob, isdir, listdir, makedirs, mkdir = Copy, Exists, Glob, IsDirectory, ListDirectory, MakeDirs, MkDir
remove, rename, rmtree, stat, walk = Remove, Rename, DeleteRecursively, Stat, Walk
