"""Checkpoints of partitioned variables: they hold the whole, which is restored in one part, the same parts or others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow.io.container import write_container
from graphflow.io.native import write_model
from graphflow.io.reader import CheckpointReader

VALUE = np.arange(21, dtype=np.float32).reshape(7, 3)


def parts(rows: int, columns: int = 1) -> Any:
    return lambda **_: [rows, columns]


def variables(partitioner: Any, fill: bool = False, shape: Any = (7, 3)) -> tuple[Any, Any]:
    initializer = tf.constant(VALUE) if fill else None
    v = tf.get_variable("s/v", None if fill else shape, initializer=initializer, partitioner=partitioner)
    return v, tf.get_variable("w", initializer=tf.constant([8.0 if fill else 0.0]))


@pytest.fixture
def saved(tmp_path: Path) -> str:
    with tf.Graph().as_default(), tf.Session() as s:
        variables(parts(3), fill=True)
        s.run(tf.global_variables_initializer())
        return str(tf.train.Saver().save(s, str(tmp_path / "model")))


@pytest.mark.parametrize("partitioner", [parts(3), parts(2), parts(7), parts(1), parts(1, 3), None])
def test_restored_in_parts_of_any_size(saved: str, partitioner: Any) -> None:
    with tf.Graph().as_default(), tf.Session() as s:
        v, w = variables(partitioner)
        tf.train.Saver().restore(s, saved)
        assert s.run([tf.identity(v), w])[0].tolist() == VALUE.tolist() and s.run(w) == [8.0]


def test_a_whole_is_restored_in_parts(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf.Session() as s:
        variables(None, fill=True)
        s.run(tf.global_variables_initializer())
        path = tf.train.Saver().save(s, str(tmp_path / "model"))
    with tf.Graph().as_default(), tf.Session() as s:
        v, _ = variables(parts(4))
        tf.train.Saver().restore(s, path)
        assert s.run(v.as_tensor()).tolist() == VALUE.tolist()


def test_what_readers_see(saved: str) -> None:
    reader = tf.train.NewCheckpointReader(saved)
    assert reader.get_variable_to_shape_map() == {"s/v": [7, 3], "w": [1]}
    assert reader.get_variable_to_dtype_map() == {"s/v": tf.float32, "w": tf.float32}
    assert reader.has_tensor("s/v") and not reader.has_tensor("s")
    assert reader.get_tensor("s/v").tolist() == VALUE.tolist()
    assert reader.debug_string() == "s/v (float32) [7, 3]\nw (float32) [1]"
    # The graph in the file has the parts.
    loaded = tf.load(saved + ".safetensors")
    assert sorted(loaded.variables) == ["s/v/part_0", "s/v/part_1", "s/v/part_2", "w"]
    with loaded.graph.as_default(), loaded.session() as s:
        tf.train.Saver().restore(s, saved)
        assert s.run("s/v/part_2:0").tolist() == VALUE[5:].tolist()


def test_names_of_choice_and_single_parts(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf.Session() as s:
        v, w = variables(parts(3), fill=True)
        s.run(tf.global_variables_initializer())
        path = tf.train.Saver({"table": v, "w": w}).save(s, str(tmp_path / "model"))
        assert tf.train.NewCheckpointReader(path).get_tensor("table").tolist() == VALUE.tolist()
        s.run(v.assign(VALUE * 0))
        tf.train.Saver({"table": list(v)}).restore(s, path)
        assert s.run(v.as_tensor()).tolist() == VALUE.tolist()
        # One part alone: nothing else can be restored from it.
        middle = tf.train.Saver([list(v)[1]])
        path = middle.save(s, str(tmp_path / "part"))
        s.run(v.assign(VALUE * 0))
        middle.restore(s, path)
        assert s.run(v.as_tensor()).tolist() == [[0.0] * 3] * 3 + VALUE[3:5].tolist() + [[0.0] * 3] * 2
        with pytest.raises(tf.errors.NotFoundError, match="Key s/v not found in checkpoint"):
            tf.train.Saver().restore(s, path)


def test_names_that_are_there_twice() -> None:
    v, w = variables(parts(3))
    for both in ({"s/v": w, 0: [*v, w]}, {"x": v, "x/part_0": w}, {"x": [w, tf.Variable(0.0)]}):
        with pytest.raises(ValueError, match="At least two variables have the same name"):
            tf.train.Saver(both)
    whole = tf.Variable(0.0, name="s/v")
    assert whole.op.name == "s/v"
    with pytest.raises(ValueError, match="At least two variables have the same name in the checkpoint: s/v"):
        tf.train.Saver([whole, *v])


def test_what_does_not_fit(saved: str) -> None:
    with tf.Graph().as_default(), tf.Session() as s:
        variables(parts(2), shape=(8, 3))
        with pytest.raises(
            tf.errors.InvalidArgumentError, match=r"\[8, 3\] does not match the shape stored in checkpoint: \[7, 3\]"
        ):
            tf.train.Saver().restore(s, saved)
    with tf.Graph().as_default(), tf.Session() as s:
        tf.get_variable("s/v", [7, 3], tf.float64, partitioner=parts(2))
        with pytest.raises(tf.errors.InvalidArgumentError, match="expected dtype float64"):
            tf.train.Saver().restore(s, saved)


PART = ["v", [4], [0]]


@pytest.mark.parametrize(
    "slices",
    [
        {"p": 1},
        {"p": ["v", [4]]},
        {"p": [1, [4], [0]]},
        {"p": ["v", [4, 1], [0, 0]]},
        {"p": ["v", [4], [3]]},
        {"p": ["v", [True], [0]]},
        {"p": ["v", [4], [-1]]},
        {"p": ["v", [2**63], [0]]},
        {"p": ["w", [4], [0]]},
        {"x": PART},
        [],
    ],
)
def test_hostile_files(tmp_path: Path, slices: Any) -> None:
    path = str(tmp_path / "model.safetensors")
    values = {"var/p": np.ones(2, np.float32), "var/w": np.ones(2, np.float32)}
    write_container(path, values, {"graphflow.variables": '{"p":"p","w":"w"}', "graphflow.slices": json.dumps(slices)})
    with pytest.raises(tf.errors.FormatError, match=r"part of a variable|graphflow.slices"):
        CheckpointReader(path.removesuffix(".safetensors"))


@pytest.mark.parametrize(
    "slices",
    [
        {"p": PART},  # the rest is missing
        {"p": PART, "w": PART},  # twice the same
        {"p": PART, "w": ["v", [5], [2]]},  # of different shapes
        {"p": PART, "w": ["v", [4], [1]]},  # overlapping
        {"p": ["v", [2], [0]], "w": ["v", [2], [0]]},
    ],
)
def test_parts_that_make_no_whole(tmp_path: Path, slices: Any) -> None:
    path = str(tmp_path / "model.safetensors")
    values = {"var/p": np.ones(2, np.float32), "var/w": np.ones(2, np.float32)}
    write_container(path, values, {"graphflow.variables": '{"p":"p","w":"w"}', "graphflow.slices": json.dumps(slices)})
    reader = CheckpointReader(path.removesuffix(".safetensors"))
    assert reader.get_variable_to_shape_map() == {"p": [2], "w": [2]} and not reader.has_tensor("v")


def test_files_without_parts_say_nothing_of_them(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_model(path, None, {}, None)
    assert b"slices" not in path.read_bytes()
