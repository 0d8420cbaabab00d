"""`tf.flags`, `tf.app`, `tf.gfile`, `tf.logging` and `tf.compat`: what scripts use around the graph."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import graphflow as tf
from graphflow.platform import flags as flags_module

ROOT = Path(__file__).resolve().parent.parent


def run_script(folder: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    roots = [str(ROOT), str(ROOT / "compiler"), str(ROOT / "runtime")]
    path = folder / "script.py"
    path.write_text(f"import sys; sys.path[:0] = {roots!r}\n{textwrap.dedent(code)}", encoding="utf-8")
    return subprocess.run([sys.executable, str(path), *arguments], capture_output=True, text=True, check=False)


# ---------------------------------------------------------------------------------------------- flags


@pytest.fixture
def flags(monkeypatch: pytest.MonkeyPatch) -> flags_module.FlagValues:
    """An empty set of flags in place of the script's."""
    fresh = flags_module.FlagValues()
    monkeypatch.setattr(flags_module, "FLAGS", fresh)
    tf.flags.DEFINE_string("name", "none", "a text")
    tf.flags.DEFINE_integer("steps", 3, "a number")
    tf.flags.DEFINE_float("rate", 1, "a number")
    tf.flags.DEFINE_boolean("fast", False, "yes or no")
    tf.flags.DEFINE_list("layers", "a,b", "some texts")
    tf.flags.DEFINE_multi_string("path", None, "given again and again")
    tf.flags.DEFINE_enum("mode", "train", ["train", "eval"], "one of these")
    return fresh


def test_defaults(flags: flags_module.FlagValues, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["script", "--unknown", "7", "-f", "kernel.json"])
    assert (flags.name, flags.steps, flags.rate, flags.fast) == ("none", 3, 1.0, False)
    assert flags.layers == ["a", "b"] and flags.path is None and flags.mode == "train"
    assert flags.flag_values_dict()["steps"] == 3 and len(flags) == 7 and "steps" in flags and next(iter(flags)) == "name"


def test_parsing(flags: flags_module.FlagValues) -> None:
    line = "script --name x -steps=0x10 in --rate=.5 --fast --layers= --path=a --path b --mode=eval -- --steps=9"
    rest = flags(line.split())
    assert rest == ["script", "in", "--steps=9"]
    assert (flags.name, flags.steps, flags.rate, flags.fast) == ("x", 16, 0.5, True)
    assert (flags.layers, flags.path, flags.mode) == ([], ["a", "b"], "eval")
    flags(["script", "--nofast"])
    assert flags.fast is False
    flags(["script", "--fast=True"])
    assert flags.fast is True
    flags.steps = 5
    assert flags.steps == 5 and str(flags.__dict__["__flags"]["steps"]) == "5"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--steps=x", r"flag --steps=x: invalid literal"),
        ("--fast=maybe", "true or false"),
        ("--mode=test", r"one of <train\|eval>"),
        ("--steps", "Missing value"),
        ("--step=1", r"Unknown command line flag 'step'. Did you mean: steps"),
    ],
)
def test_wrong_flags(flags: flags_module.FlagValues, argument: str, message: str) -> None:
    with pytest.raises(tf.flags.Error, match=message):
        flags(["script", argument])


def test_unknown_flags(flags: flags_module.FlagValues) -> None:
    assert flags(["script", "--other=1", "--steps=2"], known_only=True) == ["script", "--other=1"]
    with pytest.raises(AttributeError, match="Unknown command line flag 'nope'"):
        flags.nope  # noqa: B018
    with pytest.raises(AttributeError):
        flags.nope = 1
    assert not hasattr(flags, "nope")


def test_required_and_duplicate_flags(flags: flags_module.FlagValues) -> None:
    tf.flags.mark_flags_as_required(["path"], flags)
    with pytest.raises(tf.flags.IllegalFlagValueError, match="--path must have a value"):
        flags(["script"])
    tf.flags.DEFINE_integer("steps", 4, "defined again in the same file: a notebook cell that is run twice")
    with pytest.raises(tf.flags.DuplicateFlagError):
        exec(compile("tf.flags.DEFINE_integer('steps', 5, '')", "elsewhere.py", "exec"), {"tf": tf})


def test_app_run(tmp_path: Path) -> None:
    code = """
        '''What it does.'''
        import graphflow as tf
        tf.app.flags.DEFINE_integer("steps", 3, "how many")
        FLAGS = tf.app.flags.FLAGS
        def main(argv):
            print(FLAGS.steps, argv[1:], tf.get_default_graph() is not None)
            return 4
        if __name__ == "__main__":
            tf.app.run()
    """
    done = run_script(tmp_path, code, "--steps=5", "--strange", "file")
    assert done.stdout.split("\n")[0] == "5 ['--strange', 'file'] True" and done.returncode == 4, done.stderr
    done = run_script(tmp_path, code, "--help")
    assert done.returncode == 0 and "--steps: how many" in done.stdout


# ---------------------------------------------------------------------------------------------- files


def test_gfile(tmp_path: Path) -> None:
    folder = str(tmp_path / "a" / "b")
    tf.gfile.MakeDirs(folder)
    tf.gfile.MakeDirs(folder)
    assert tf.gfile.IsDirectory(folder) and tf.gfile.Exists(folder)
    path = folder + "/f.txt"
    with tf.gfile.GFile(path, "w") as f:
        f.write("one\ntwö\n")
        assert f.size() == 9
    with tf.gfile.Open(path) as f:
        assert f.readline() == "one\n" and f.tell() == 4 and f.read() == "twö\n"
        f.seek(0)
        assert list(f) == ["one\n", "twö\n"]
    assert tf.gfile.FastGFile(path, "rb").read(3) == b"one"
    assert tf.gfile.GFile(path).readlines() == ["one\n", "twö\n"]
    tf.gfile.Copy(path, folder + "/g.txt")
    assert tf.gfile.ListDirectory(folder) == ["f.txt", "g.txt"] and tf.gfile.Glob(folder + "/g*") == [folder + "/g.txt"]
    with pytest.raises(tf.errors.AlreadyExistsError):
        tf.gfile.Copy(path, folder + "/g.txt")
    tf.gfile.Rename(path, folder + "/g.txt", overwrite=True)
    assert [files for _, _, files in tf.gfile.Walk(str(tmp_path))] == [[], [], ["g.txt"]]
    assert tf.gfile.Stat(folder + "/g.txt").st_size == 9
    tf.gfile.Remove(folder + "/g.txt")
    tf.gfile.GFile(folder + "/empty", "w").close()
    assert tf.gfile.Exists(folder + "/empty")
    tf.gfile.DeleteRecursively(str(tmp_path / "a"))
    assert not tf.gfile.Exists(folder)


def test_gfile_errors(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    for action in (tf.gfile.Remove, tf.gfile.ListDirectory, tf.gfile.Stat, lambda p: tf.gfile.GFile(p).read()):
        with pytest.raises(tf.errors.NotFoundError, match=r"missing; No such file"):
            action(missing)
    with pytest.raises(tf.errors.FailedPreconditionError):
        tf.gfile.GFile(str(tmp_path)).read()
    with pytest.raises(tf.errors.InvalidArgumentError, match="mode"):
        tf.gfile.GFile(missing, "rw")


# ---------------------------------------------------------------------------------------------- logging, compat


@pytest.fixture
def quiet_logger() -> Iterator[logging.Logger]:
    logger = tf.logging.get_logger()
    level = logger.level
    yield logger
    logger.setLevel(level)


def test_logging(quiet_logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    tf.logging.set_verbosity(tf.logging.INFO)
    assert tf.logging.get_verbosity() == tf.logging.INFO
    tf.logging.info("loss %.1f", 0.5)
    tf.logging.debug("not shown")
    tf.logging.log_if(tf.logging.ERROR, "only if", False)
    for i in range(5):
        tf.logging.log_first_n(tf.logging.WARN, "first %d", 2, i)
        tf.logging.log_every_n(tf.logging.WARN, "every %d", 3, i)
    shown = [r.getMessage() for r in caplog.records]
    assert shown == ["loss 0.5", "first 0", "every 0", "first 1", "every 3"]


def test_logging_goes_to_stderr(tmp_path: Path) -> None:
    code = """
        import graphflow as tf
        tf.logging.info("hidden")
        tf.logging.warn("shown")
        tf.logging.set_verbosity(tf.logging.ERROR)
        tf.logging.warning("hidden")
        tf.logging.error("shown too")
    """
    assert run_script(tmp_path, code).stderr.split("\n")[:-1] == ["WARNING:graphflow:shown", "ERROR:graphflow:shown too"]


def test_compat() -> None:
    assert tf.compat.as_bytes("ä") == "ä".encode() and tf.compat.as_text(b"x") == tf.compat.as_str("x") == "x"
    assert tf.compat.as_str_any(5) == "5" and tf.compat.as_str_any(b"5") == "5"
    with pytest.raises(TypeError, match="binary or unicode"):
        tf.compat.as_bytes(5)
    shape = tf.TensorShape([None, 3])
    assert tf.compat.dimension_value(shape[1]) == 3 and tf.compat.dimension_value(4) == 4
    assert tf.compat.dimension_at_index(tf.TensorShape(None), 0).value is None
