"""A save that fails at any step: the checkpoint of before is intact, the failure told, and the next save sweeps up."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow.io import durable

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals, limits and modes of files")

#: Everything a save asks of the system goes through these, and through writing.
CALLS = ("open", "fsync", "replace", "close", "listdir", "mkdir", "unlink", "kill", "stat")
VALUE = [1.0, 2.0]


def saver_and_session(value: Any) -> tuple[tf.train.Saver, tf.Session]:
    with tf.Graph().as_default() as graph:
        v = tf.get_variable("v", [2])
        saver = tf.train.Saver([v])
    session = tf.Session(graph=graph)
    v.load(value, session)
    return saver, session


def saved(folder: Path) -> str:
    saver, session = saver_and_session(VALUE)
    return str(saver.save(session, str(folder / "m")))


def check_intact(folder: Path, *allowed: list[float]) -> None:
    """The newest checkpoint can be read, and has one of the values."""
    path = tf.train.latest_checkpoint(folder)
    assert path is not None
    assert tf.train.load_variable(path, "v").tolist() in ([VALUE, *allowed])


class Counted:
    """Does something before the n-th call of the system that a save makes."""

    def __init__(self, at: int, fail: Any) -> None:
        self.at, self.fail, self.name = at, fail, ""

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in CALLS:
                patch.setattr(durable.os, name, self._counting(name, getattr(os, name)))
            yield

    def _counting(self, name: str, real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.at -= 1
            if self.at == -1:
                self.name = name
                self.fail()
            return real(*args, **kwargs)

        return call


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS], ids=errno.errorcode.get)
def test_each_call_of_the_system_fails(code: int, tmp_path: Path) -> None:
    failed = set()
    for at in range(1000):
        folder = tmp_path / str(at)
        folder.mkdir()
        saved(folder)
        saver, session = saver_and_session([3.0, 4.0])

        def fail() -> None:
            raise OSError(code, os.strerror(code))

        counted = Counted(at, fail)
        try:
            with counted():
                saver.save(session, str(folder / "m"))
        except OSError as e:
            assert e.errno == code
            failed.add(counted.name)
        check_intact(folder, [3.0, 4.0])
        if not counted.name:
            break
        saver.save(session, str(folder / "m"))
        assert sorted(os.listdir(folder)) == ["checkpoint", "m.safetensors"]
        check_intact(folder, [3.0, 4.0])
    assert failed >= {"open", "fsync", "replace"} and at > 10


def test_killed_at_each_call_of_the_system(tmp_path: Path) -> None:
    for at in range(1000):
        folder = tmp_path / str(at)
        folder.mkdir()
        saved(folder)
        saver, session = saver_and_session([3.0, 4.0])
        child = os.fork()
        if child == 0:
            try:
                with Counted(at, lambda: os.kill(os.getpid(), signal.SIGKILL))():
                    saver.save(session, str(folder / "m"))
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        check_intact(folder, [3.0, 4.0])
        if os.WIFEXITED(status):
            break
        saver.save(session, str(folder / "m"))
        assert sorted(os.listdir(folder)) == ["checkpoint", "m.safetensors"]
    assert at > 10


def test_no_room_for_the_rest(tmp_path: Path) -> None:
    """The system takes the first bytes of the file, and no more."""
    path = Path(saved(tmp_path) + ".safetensors")
    before = path.read_bytes()
    saver, session = saver_and_session([3.0, 4.0])
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 1, 100, len(before) - 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
        try:
            with pytest.raises(OSError, match="too large"):
                saver.save(session, str(tmp_path / "m"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
        assert path.read_bytes() == before and sorted(os.listdir(tmp_path)) == ["checkpoint", "m.safetensors"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """As a user who may not: the administrator may do everything."""
    path = saved(tmp_path)
    program = f"""
        import os
        import graphflow as tf
        with tf.Graph().as_default(), tf.Session() as session:
            v = tf.get_variable("v", [2])
            v.load([3.0, 4.0], session)
            saver = tf.train.Saver([v])
            saver.save(session, {str(tmp_path / "elsewhere" / "m")!r})
            if os.geteuid() == 0:
                os.seteuid(65534)
            try:
                saver.save(session, {path!r})
            except OSError as e:
                print(type(e).__name__)
    """
    (tmp_path / "elsewhere").mkdir()
    tmp_path.chmod(0o555)
    for folder in (tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    try:
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=120)
    finally:
        tmp_path.chmod(0o755)
    assert done.stdout == "PermissionError\n", done.stderr
    check_intact(tmp_path)


# ---------------------------------------------------------------------------------------------- folders


def test_a_folder_that_cannot_be_synced_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new file is there, but a power cut might bring the old one back."""
    real = os.fsync

    def sync(fd: int, code: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            raise OSError(code, os.strerror(code))
        real(fd)

    path = tmp_path / "m"
    for code in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
        monkeypatch.setattr(durable.os, "fsync", lambda fd, code=code: sync(fd, code))
        with pytest.raises(OSError, match=os.strerror(code)) as caught:
            durable.write_durably(path, [str(code).encode()])
        assert caught.value.filename == str(tmp_path)
        assert path.read_bytes() == str(code).encode() and os.listdir(tmp_path) == ["m"]
    for code in (errno.EINVAL, errno.ENOTSUP):  # a file system that knows no such thing
        monkeypatch.setattr(durable.os, "fsync", lambda fd, code=code: sync(fd, code))
        durable.write_durably(path, [b"done"])
        assert path.read_bytes() == b"done"


def test_missing_folders_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saver, session = saver_and_session(VALUE)
    for path in ("new/m", str(tmp_path / "a" / "b" / "c" / "m"), "new/below/m", "new/../other/m"):
        assert saver.save(session, path) == path
        assert tf.train.latest_checkpoint(os.path.dirname(path)) == path
        saver.restore(session, path)
    assert tf.save(tmp_path / "x" / "y" / "model", session) == str(tmp_path / "x" / "y" / "model")
    assert tf.load(tmp_path / "x" / "y" / "model").variables["v"].tolist() == VALUE
    (tmp_path / "file").touch()
    for path in ("file/m", "file/below/m"):
        with pytest.raises(OSError):
            saver.save(session, path)
    assert (tmp_path / "file").read_bytes() == b""
    os.symlink(tmp_path / "far" / "away", tmp_path / "link")
    saver.save(session, "link/m")
    assert (tmp_path / "far" / "away" / "m.safetensors").exists()


def test_new_folders_survive_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def sync(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        real(fd)

    monkeypatch.setattr(durable.os, "fsync", sync)
    durable.write_durably(tmp_path / "a" / "b" / "m", [b"x"])
    folders = [f for f in synced if os.path.isdir(f)]
    assert folders == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")]


@pytest.mark.parametrize("length", [1, 200, 201, 255])
def test_names_as_long_as_the_system_allows(length: int, tmp_path: Path) -> None:
    for name in ("n" * length, "é" * (length // 2)):
        if name:
            durable.write_durably(tmp_path / name, [b"old"])
            durable.write_durably(tmp_path / name, [b"new"])
            left = tmp_path / f"{durable._stem(name)}{2**22 + 1}-01234567.tmp"  # of a process that is no more
            left.touch()
            durable.write_durably(tmp_path / name, [b"newer"])
            assert (tmp_path / name).read_bytes() == b"newer" and not left.exists()


def test_values_are_those_that_were_saved(tmp_path: Path) -> None:
    np.testing.assert_array_equal(tf.train.load_variable(saved(tmp_path / "new"), "v"), VALUE)
