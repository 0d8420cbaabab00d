"""`train.Saver` and the functions around checkpoints, in TensorFlow's ways and words."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow.framework.errors import FormatError
from graphflow.io.checkpoint_state import CheckpointState, parse_state


def initialised() -> tf.Session:
    session = tf.Session()
    session.run(tf.global_variables_initializer())
    return session


@pytest.fixture(autouse=True)
def graph() -> Any:
    with tf.Graph().as_default() as g:
        yield g


def test_save_and_restore(tmp_path: Path) -> None:
    a = tf.Variable([1.0, 2.0], name="a")
    n = tf.Variable(3, name="n", trainable=False)
    saver = tf.train.Saver()
    prefix = str(tmp_path / "m.ckpt")
    with initialised() as session:
        session.run([a.assign([5.0, 6.0]), n.assign(4)])
        assert saver.save(session, prefix, global_step=3) == prefix + "-3"
        session.run([a.assign([0.0, 0.0]), n.assign(0)])
        saver.restore(session, prefix + "-3")
        assert session.run(a).tolist() == [5, 6] and session.run(n) == 4
    with tf.Session() as fresh:  # no initialiser is needed
        saver.restore(fresh, prefix + "-3")
        assert fresh.run(a).tolist() == [5, 6]
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", "m.ckpt-3.safetensors"]
    assert (tmp_path / "checkpoint").read_text() == (
        f'model_checkpoint_path: "{prefix}-3"\nall_model_checkpoint_paths: "{prefix}-3"\n'
    )
    assert tf.train.latest_checkpoint(tmp_path) == prefix + "-3"


def test_a_checkpoint_holds_the_graph(tmp_path: Path) -> None:
    v = tf.Variable(2.0, name="v")
    tf.multiply(v, 3.0, name="y")
    with initialised() as session:
        path = tf.train.Saver({"other": v}).save(session, tmp_path / "m", global_step=np.int64(7))
        bare = tf.train.Saver().save(session, tmp_path / "bare", write_meta_graph=False)
    loaded = tf.load(f"{path}.safetensors")
    assert loaded.step == 7 and loaded.variables["v"] == 2.0
    with loaded.session() as session:
        assert session.run("y:0") == 6.0
    with pytest.raises(FormatError, match="no graph"):
        tf.load(f"{bare}.safetensors")
    assert tf.train.load_variable(bare, "v") == 2.0


def test_global_step_may_be_a_variable(tmp_path: Path) -> None:
    step = tf.Variable(12, name="global_step", trainable=False)
    with initialised() as session:
        assert tf.train.Saver().save(session, str(tmp_path / "m"), step).endswith("m-12")
        assert tf.train.Saver(pad_step_number=True).save(session, str(tmp_path / "m"), step).endswith("m-00000012")


def test_max_to_keep(tmp_path: Path) -> None:
    tf.Variable(1.0)
    saver = tf.train.Saver(max_to_keep=2)
    with initialised() as session:
        for i in range(4):
            saver.save(session, str(tmp_path / "m"), global_step=i)
    assert [os.path.basename(p) for p in saver.last_checkpoints] == ["m-2", "m-3"]
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", "m-2.safetensors", "m-3.safetensors"]
    state = tf.train.get_checkpoint_state(tmp_path)
    assert state.model_checkpoint_path.endswith("m-3")
    assert [os.path.basename(p) for p in state.all_model_checkpoint_paths] == ["m-2", "m-3"]


@pytest.mark.parametrize("keep", [None, 0])
def test_keep_all(tmp_path: Path, keep: int | None) -> None:
    tf.Variable(1.0)
    saver = tf.train.Saver(max_to_keep=keep)
    with initialised() as session:
        for i in range(7):
            saver.save(session, str(tmp_path / "m"), global_step=i)
    assert saver.last_checkpoints == [] and len(os.listdir(tmp_path)) == 8


def test_keep_one_in_so_many_hours(tmp_path: Path) -> None:
    tf.Variable(1.0)
    saver = tf.train.Saver(max_to_keep=1, keep_checkpoint_every_n_hours=0)
    with initialised() as session:
        for i in range(3):
            saver.save(session, str(tmp_path / "m"), global_step=i)
    assert len([n for n in os.listdir(tmp_path) if n.endswith(".safetensors")]) == 3


def test_saving_under_one_name_again(tmp_path: Path) -> None:
    v = tf.Variable(1.0)
    saver = tf.train.Saver(max_to_keep=2)
    with initialised() as session:
        for value in (1.0, 2.0, 3.0):
            session.run(v.assign(value))
            path = saver.save(session, str(tmp_path / "m"))
        assert saver.last_checkpoints == [path]
        session.run(v.assign(0.0))
        saver.restore(session, path)
        assert session.run(v) == 3.0


def test_a_second_process_goes_on(tmp_path: Path) -> None:
    tf.Variable(1.0)
    first, second = tf.train.Saver(max_to_keep=2), tf.train.Saver(max_to_keep=2)
    with initialised() as session:
        for i in range(2):
            first.save(session, str(tmp_path / "m"), global_step=i)
        state = tf.train.get_checkpoint_state(tmp_path)
        second.recover_last_checkpoints([*state.all_model_checkpoint_paths, str(tmp_path / "gone")])
        second.save(session, str(tmp_path / "m"), global_step=2)
    assert [os.path.basename(p) for p in second.last_checkpoints] == ["m-1", "m-2"]
    assert not tf.train.checkpoint_exists(tmp_path / "m-0") and tf.train.checkpoint_exists(str(tmp_path / "m-1"))


def test_relative_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkdir("d")
    tf.Variable(1.0)
    with initialised() as session:
        assert tf.train.Saver().save(session, "d/m", global_step=1) == "d/m-1"
        assert Path("d/checkpoint").read_text().splitlines()[0] == 'model_checkpoint_path: "m-1"'
        assert tf.train.latest_checkpoint("d") == "d/m-1"
        assert tf.train.Saver().save(session, "here") == "here" and tf.train.latest_checkpoint(".") == "./here"
        path = tf.train.Saver(save_relative_paths=True).save(session, str(tmp_path / "d" / "m"), global_step=2)
        assert Path("d/checkpoint").read_text().splitlines()[0] == 'model_checkpoint_path: "m-2"'
        assert tf.train.latest_checkpoint(tmp_path / "d") == path
    os.rename("d", "moved")
    assert tf.train.latest_checkpoint("moved") == "moved/m-2"


def test_names_and_subsets(tmp_path: Path) -> None:
    a, b = tf.Variable([1.0, 2.0], name="a"), tf.Variable(3.0, name="b")
    with initialised() as session:
        everything = tf.train.Saver().save(session, str(tmp_path / "all"))
        tf.train.Saver([b]).save(session, str(tmp_path / "b"))
    assert tf.train.list_variables(str(tmp_path / "b")) == [("b", [])]
    with tf.Graph().as_default(), tf.Session() as session:
        v = tf.Variable([0.0, 0.0], name="zz")
        tf.train.Saver({"a": v}).restore(session, everything)
        assert session.run(v).tolist() == [1, 2]
    assert a.name == "a:0"


def test_what_does_not_fit(tmp_path: Path) -> None:
    tf.Variable([1.0, 2.0], name="a")
    with initialised() as session:
        path = tf.train.Saver().save(session, str(tmp_path / "m"))
    with tf.Graph().as_default(), tf.Session() as session:
        a = tf.Variable([0.0, 0.0], name="a")
        b = tf.Variable(1.0, name="b")
        c = tf.Variable([0.0] * 3, name="c")
        d = tf.Variable([0, 0], name="d")
        e = tf.Variable([[0.0, 0.0]], name="e")
        session.run(a.initializer)
        with pytest.raises(tf.errors.NotFoundError, match="Key b not found in checkpoint"):
            tf.train.Saver([a, b]).restore(session, path)
        assert session.run(a).tolist() == [0, 0]  # all or nothing
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"lhs shape= \[3\] rhs shape= \[2\]"):
            tf.train.Saver({"a": c}).restore(session, path)
        with pytest.raises(tf.errors.InvalidArgumentError, match="expected dtype int32 does not equal original dtype float32"):
            tf.train.Saver({"a": d}).restore(session, path)
        with pytest.raises(tf.errors.InvalidArgumentError, match="Assign requires shapes"):
            tf.train.Saver({"a": e}).restore(session, path)
        tf.train.Saver({"a": e}, reshape=True).restore(session, path)
        assert session.run(e).tolist() == [[1, 2]]
        with pytest.raises(ValueError, match=f"The passed save_path is not a valid checkpoint: {tmp_path}/nope"):
            tf.train.Saver([a]).restore(session, str(tmp_path / "nope"))
        with pytest.raises(ValueError, match="when it is None"):
            tf.train.Saver([a]).restore(session, None)


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No variables to save"):
        tf.train.Saver()
    empty = tf.train.Saver(allow_empty=True)
    v = tf.Variable(1.0)
    with tf.Session() as session:
        assert empty.save(session, str(tmp_path / "m")) is None
        with pytest.raises(tf.errors.FailedPreconditionError, match="uninitialized"):
            tf.train.Saver().save(session, str(tmp_path / "m"))
        session.run(v.initializer)
        with pytest.raises(ValueError, match="path components"):
            tf.train.Saver().save(session, str(tmp_path / "m"), latest_filename="a/b")
        with pytest.raises(ValueError, match="collides"):
            tf.train.Saver().save(session, str(tmp_path / "checkpoint"))
        assert os.listdir(tmp_path) == []
    with pytest.raises(TypeError, match="must be a Session"):
        tf.train.Saver().save("session", str(tmp_path / "m"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not a Variable"):
        tf.train.Saver([tf.constant(1.0)])
    with pytest.raises(TypeError, match="dict or a list"):
        tf.train.Saver(3)


def test_deferred_build(tmp_path: Path) -> None:
    saver = tf.train.Saver(defer_build=True)
    with tf.Session() as session:
        with pytest.raises(RuntimeError, match="build"):
            saver.save(session, str(tmp_path / "m"))
        v = tf.Variable(1.0)
        saver.build()
        session.run(v.initializer)
        assert saver.save(session, str(tmp_path / "m"))
    with pytest.raises(ValueError, match="deferred"):
        tf.train.Saver([v], defer_build=True)


def test_reading_without_a_graph(tmp_path: Path) -> None:
    tf.Variable([1.0, 2.0], name="a")
    tf.Variable(b"text", name="s")
    with initialised() as session:
        path = tf.train.Saver().save(session, str(tmp_path / "m"))
    assert tf.train.list_variables(path) == [("a", [2]), ("s", [])] == tf.train.list_variables(tmp_path)
    assert tf.train.load_variable(path, "a").tolist() == [1, 2] == tf.train.load_variable(tmp_path, "a:0").tolist()
    reader = tf.train.NewCheckpointReader(path)
    assert reader.get_variable_to_shape_map() == {"a": [2], "s": []}
    assert reader.get_variable_to_dtype_map() == {"a": tf.float32, "s": tf.string}
    assert reader.has_tensor("a") and not reader.has_tensor("b") and reader.get_tensor("s")[()] == b"text"
    reader.get_tensor("a")[:] = 0
    assert reader.get_tensor("a").tolist() == [1, 2] and "a (float32) [2]" in reader.debug_string()
    with pytest.raises(tf.errors.NotFoundError, match="Key b not found in checkpoint"):
        reader.get_tensor("b")
    with pytest.raises(tf.errors.NotFoundError, match="Failed to find any matching files"):
        tf.train.NewCheckpointReader(str(tmp_path / "no"))
    with pytest.raises(ValueError, match="Couldn't find 'checkpoint' file"):
        os.mkdir(tmp_path / "d")
        tf.train.load_checkpoint(tmp_path / "d")


def test_damaged_checkpoints(tmp_path: Path) -> None:
    v = tf.Variable(1.0)
    saver = tf.train.Saver()
    with initialised() as session:
        path = saver.save(session, str(tmp_path / "m"))
        file = Path(f"{path}.safetensors")
        file.write_bytes(file.read_bytes()[:-1])
        with pytest.raises(FormatError):
            saver.restore(session, path)
        assert session.run(v) == 1.0


def test_state_file(tmp_path: Path) -> None:
    odd = 'm "q" \\ \n \xe9'
    assert parse_state(str(CheckpointState(odd, ["a", odd], [1.5, 2.0], 3.0))) == CheckpointState(
        odd, ["a", odd], [1.5, 2.0], 3.0
    )
    tf.train.update_checkpoint_state(tmp_path, "m-2", ["m-1", "m-2"])
    state = tf.train.get_checkpoint_state(tmp_path)
    assert state.model_checkpoint_path == str(tmp_path / "m-2")
    assert state.all_model_checkpoint_paths == [str(tmp_path / "m-1"), str(tmp_path / "m-2")]
    assert tf.train.latest_checkpoint(tmp_path) is None  # there is no such file
    for text in ("", "nonsense", 'model_checkpoint_path: "a', "model_checkpoint_path: 3", "\x00\xff", 'x: "y"'):
        (tmp_path / "checkpoint").write_text(text)
        assert tf.train.get_checkpoint_state(tmp_path) is None
    assert tf.train.get_checkpoint_state(tmp_path / "no") is None and tf.train.latest_checkpoint(tmp_path / "no") is None
    with pytest.raises(RuntimeError, match="conflicts with path used for checkpoint state"):
        tf.train.update_checkpoint_state(tmp_path, str(tmp_path / "checkpoint"))


def test_many_threads_save(tmp_path: Path) -> None:
    """Of the same name at once: the file is always a whole one."""
    tf.Variable(np.arange(1000.0))
    saver = tf.train.Saver()
    with initialised() as session:

        def save() -> None:
            for _ in range(3):
                saver.save(session, str(tmp_path / "m"), write_state=False)

        threads = [threading.Thread(target=save) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert os.listdir(tmp_path) == ["m.safetensors"]
    assert tf.train.load_variable(str(tmp_path / "m"), "Variable").sum() == 499500
