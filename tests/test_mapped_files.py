"""Files that somebody writes while they are mapped: an error at the next run, where reading would end the process."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow.framework import mapped_file
from graphflow.framework.errors import FormatError
from graphflow.framework.mapped_file import MappedArray

SIZE = 300_000


def saved(path: Path, value: float = 1.0) -> Path:
    with tf.Graph().as_default(), tf.Session() as session:
        v = tf.get_variable("v", [SIZE])
        tf.add(tf.placeholder(tf.float32, [None], name="x"), v, name="y")
        v.load(np.full(SIZE, value, np.float32), session)
        tf.train.Saver([v]).save(session, str(path) + "-checkpoint")
        tf.save(path, session)
    return path


#: Ways of using what lies in the file.
USES = {
    "a session of the model": "loaded.session()",
    "a feed": "session.run(y, {x: value})",
    "a feed of a callable": "call(value)",
    "a constant": "tf.constant(value)",
    "a variable's new value": "v.load(value, session)",
    "the file's own reader": "reader.get_tensor('v')",
    "a restore": "saver_of(reader).restore(session, path + '-checkpoint')",
}
_PROGRAM = """
import os, sys, time
import numpy as np
import graphflow as tf
from graphflow.framework.errors import FormatError
from graphflow.io import saver

path, change = sys.argv[1:3]
loaded = tf.load(path)
value = loaded.variables["v"]
session = loaded.session()
with loaded.graph.as_default():
    x, y = (loaded.graph.get_tensor_by_name(n + ":0") for n in "xy")
    v = loaded.graph.get_collection("variables")[0]
    reader = tf.train.load_checkpoint(path + "-checkpoint")
    call = session.make_callable(y, [x])

    def saver_of(reader):
        saver.CheckpointReader = lambda prefix: reader
        return tf.train.Saver([v])

    uses = [lambda use=use: eval(use) for use in sys.argv[3:]]
    for use in uses * 4:  # from the second time on, runs are native
        use()
    time.sleep(0.05)  # the clock of the file system is not that of the processor
    for name in (path, path + "-checkpoint.safetensors"):
        if change == "cut":
            os.truncate(name, 4096)
        elif change == "grown":
            with open(name, "ab") as f:
                f.write(b"more")
        else:
            with open(name, "r+b") as f:
                f.seek(5000)
                f.write(b"other")
    for use in uses * 2:
        try:
            use()
            print("read")
        except FormatError as e:
            print("refused" if "since it was loaded" in str(e) and path in str(e) else e)
    with loaded.graph.as_default():  # all else goes on
        print(session.run(y, {x: np.zeros(300_000)}).sum())
"""


@pytest.mark.skipif(os.name != "posix", reason="elsewhere nobody may write a mapped file")
@pytest.mark.parametrize("change", ["cut", "grown", "overwritten"])
def test_a_file_that_is_written_while_it_is_mapped(change: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "m")
    command = [sys.executable, "-c", textwrap.dedent(_PROGRAM), str(path), change, *USES.values()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    assert done.stdout.split("\n")[:-2] == ["refused"] * (2 * len(USES)), done.stdout
    assert done.stdout.split()[-1] == f"{SIZE}.0"


def test_files_that_are_replaced_stay_as_they_were(tmp_path: Path) -> None:
    """As every save of ours does it, and most programs."""
    path = saved(tmp_path / "m")
    loaded = tf.load(path)
    reader = tf.train.load_checkpoint(str(path) + "-checkpoint")
    saved(path, 5.0)
    for _ in range(2):
        with loaded.session() as session:
            assert session.run("v:0").sum() == SIZE
        assert reader.get_tensor("v").sum() == SIZE and loaded.variables["v"].sum() == SIZE
        for file in tmp_path.iterdir():
            file.unlink()


@pytest.mark.parametrize("how", ["asked for", "another user's"])
def test_files_that_are_not_mapped_may_change(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "m")
    if how == "another user's":
        monkeypatch.setattr(mapped_file.os, "geteuid", lambda: os.getuid() + 1, raising=False)
        loaded, reader = tf.load(path), tf.train.load_checkpoint(str(path) + "-checkpoint")
        assert type(reader.view("v")) is np.ndarray
    else:
        loaded = tf.load(path, memory_map=False)
    value = loaded.variables["v"]
    assert type(value) is np.ndarray and value.flags.writeable and value.flags.aligned
    os.truncate(path, 4096)
    with loaded.session() as session:
        assert session.run("v:0").sum() == SIZE == value.sum()
    with pytest.raises(FormatError):
        tf.load(path)
    assert type(tf.load(saved(path), memory_map=True).variables["v"]) is MappedArray


def test_what_is_computed_from_mapped_arrays_is_ordinary(tmp_path: Path) -> None:
    value = tf.load(saved(tmp_path / "m")).variables["v"]
    assert type(value) is MappedArray and type(value[3:]) is MappedArray
    for made in (value + 1, np.sqrt(value), value * value, np.array(value), np.ones(SIZE) + value):
        assert type(made) is np.ndarray
    assert type(value.sum()) is type(np.max(value)) is type(value[0]) is np.float32
    again = pickle.loads(pickle.dumps(value))
    np.testing.assert_array_equal(again, value)
    value[:] = 7.0  # a copy of the page, which the file does not see
    assert tf.load(tmp_path / "m").variables["v"].sum() == SIZE
    with tf.Graph().as_default(), tf.Session() as session:
        assert session.run(tf.reduce_sum(tf.constant(value))) == 7 * SIZE
        assert session.run(tf.reduce_sum(tf.constant(again))) == SIZE


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="the system does not list open files")
def test_files_are_closed_with_the_last_array(tmp_path: Path) -> None:
    path = str(saved(tmp_path / "m"))

    def opened() -> int:
        gc.collect()
        found = [
            os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")
        ]
        return sum(name == path for name in found)

    before = opened()
    values: list[Any] = [tf.load(path).variables["v"][5:10] for _ in range(3)]
    assert opened() > before and values[0].sum() == 5
    values.clear()
    assert opened() == before == 0
    with pytest.raises(FormatError):
        tf.load(__file__)
    assert opened() == 0


def test_runs_without_mapped_arrays_ask_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tf.load(saved(tmp_path / "m"))
    with loaded.session() as session:
        x, feed = loaded.graph.get_tensor_by_name("x:0"), np.zeros(SIZE, np.float32)
        session.run("y:0", {x: feed})
        monkeypatch.setattr(mapped_file.MappedFile, "_now", lambda self: pytest.fail("a question to the system"))
        for _ in range(3):
            session.run("y:0", {x: feed})
