"""Every name that can be saved can be loaded: of operations, scopes, variables, collections, signatures, files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphflow as tf
from graphflow.framework.errors import GraphFlowError

#: Names that a part of the format, of JSON or of Python could take for something else.
ODD = [
    "", "a", "A", "a.b", "a-b", "a/b", "a//b", "/a", "a/", "a b", "é", "日本", "a\u0301", "ſ", "İ", "\ud800", "\udcff", "\x7f",
    "a\0b", "__metadata__", "var", "var/x", "var/v", "const", "const/x", "const/a#1", "a:0", "a:1", "^a", "a#1", ".", "..",
    "../x", "-a", "_a", "\\", "a\\b", ">a", "a>b", "x" * 4096, "x" * 5000, "a" * 300 + "/" + "b" * 300, "a\n", "\na", "a\tb",
    "0", "0a", "None", "true", "nodes", "?1", "n%", "a,b", "a=b", "'", '"', "١", "ⅷ", "graphflow.header_sha256",
    "data_offsets", "/job:w/task:1/cpu:0",
]  # fmt: skip
DATA = np.arange(50.0)  # more than fits into the graph's text


def op_name(name: Any) -> None:
    tf.constant(DATA, name=name)
    tf.placeholder(tf.float32, [2], name=name)


def scope_name(name: Any) -> None:
    with tf.name_scope(name):
        tf.constant(DATA)
        with tf.name_scope(name):
            tf.constant(DATA, name="x")


def variable_name(name: Any) -> None:
    tf.get_variable(name, [3])
    tf.Variable(DATA, name=name)


def variable_scope_name(name: Any) -> None:
    with tf.variable_scope(name):
        tf.get_variable("v", [3])


def collection_name(name: Any) -> None:
    tf.add_to_collection(name, tf.constant(DATA))
    tf.add_to_collection("c", name)


def device_name(name: Any) -> None:
    with tf.device(name):
        tf.constant(DATA)


def size_name(name: Any) -> None:
    tf.placeholder(tf.float32, [name, 2])


def gradient_name(name: Any) -> None:
    with tf.get_default_graph().gradient_override_map({"Tanh": name}):
        tf.tanh(tf.constant(1.0))


def seed(number: Any) -> None:
    tf.set_random_seed(number)
    tf.random_normal([2], seed=number)


PARTS: list[Callable[[Any], None]] = [
    op_name, scope_name, variable_name, variable_scope_name, collection_name, device_name, size_name, gradient_name,
]  # fmt: skip
NUMBERS = [0, -1, 2**31, 2**63 - 1, -(2**63), 2**64 - 1, 2**64, -(2**64), 10**25, -(10**25), True]


def is_saved(path: Path, build: Callable[[Any], None], name: Any) -> bool:
    """Whether a graph with the name can be made and saved; if so, it can be loaded, and is the same."""
    with tf.Graph().as_default() as graph, tf.Session() as session:
        try:
            build(name)
            session.run(tf.global_variables_initializer())
            tf.save(path, session)
        except (GraphFlowError, ValueError):
            return False
        loaded = tf.load(path)
        again = loaded.graph
        assert [(op.name, op.device, op.gradient_name or None) for op in again.get_operations()] == [
            (op.name, op.device, op.gradient_name or None) for op in graph.get_operations()
        ]
        kept = {k for k in graph.get_all_collection_keys() if graph.get_collection(k)}
        assert set(again.get_all_collection_keys()) == kept and again.get_collection("c") == graph.get_collection("c")
        with loaded.session() as other:
            for op_name, value in loaded.variables.items():
                np.testing.assert_array_equal(other.run(f"{op_name}:0"), value)
    return True


@pytest.mark.parametrize("build", PARTS, ids=lambda f: f.__name__)
def test_odd_names_of_parts_of_a_graph(build: Callable[[Any], None], tmp_path: Path) -> None:
    saved = [name for name in ODD if is_saved(tmp_path / "m", build, name)]
    assert "a" in saved and len(saved) >= 2 and ("a\n" in saved) == (build in (collection_name, device_name, gradient_name))


def test_numbers(tmp_path: Path) -> None:
    """What does not fit into 64 bits is refused when it is saved, or left out as other items of collections are."""
    assert [n for n in NUMBERS if is_saved(tmp_path / "m", seed, n)] == [n for n in NUMBERS if -(2**63) <= n < 2**64]
    with tf.Graph().as_default() as graph:
        tf.constant(1.0)
        for number in NUMBERS:
            tf.add_to_collection("numbers", number)
            if -(2**63) <= number < 2**64:
                tf.save(tmp_path / "m", graph=graph, step=number)
                assert tf.load(tmp_path / "m").step == number
            else:
                with pytest.raises(ValueError, match="does not fit into 64 bits"):
                    tf.save(tmp_path / "m", graph=graph, step=number)
        tf.save(tmp_path / "m", graph=graph)
    assert tf.load(tmp_path / "m").graph.get_collection("numbers") == [n for n in NUMBERS if -(2**63) <= n < 2**64]


TEXT = st.one_of(st.sampled_from(ODD), st.text(st.characters(), max_size=20))


@settings(max_examples=60)
@given(st.lists(TEXT, min_size=1, max_size=5, unique=True), st.lists(TEXT, max_size=4, unique=True))
def test_names_of_the_users_choice(names: list[str], others: list[str]) -> None:
    """In a checkpoint, in a signature, of collections: any text."""
    with tf.Graph().as_default() as graph, tf.Session() as session, tempfile.TemporaryDirectory() as folder:
        variables = {name: tf.Variable(float(i), name="v") for i, name in enumerate(names)}
        session.run(tf.global_variables_initializer())
        for other in others:
            tf.add_to_collection(other, session.graph.get_operations()[0])
        saver = tf.train.Saver(variables)
        path = saver.save(session, os.path.join(folder, "m"))
        with tf.Session(graph=graph) as second:
            saver.restore(second, path)
            assert second.run(list(variables.values())) == list(range(len(names)))
        reader = tf.train.load_checkpoint(path)
        assert set(reader.get_variable_to_shape_map()) == set(names) and len(tf.train.list_variables(path)) == len(names)
        reader.debug_string()
        for i, name in enumerate(names):
            assert reader.has_tensor(name) and reader.get_tensor(name) == i == tf.train.load_variable(path, name)
        loaded = tf.load(path + ".safetensors")
        assert set(loaded.graph.get_all_collection_keys()) == set(graph.get_all_collection_keys())
        tensors = {name: v.value() for name, v in variables.items()}
        tf.save(path, session, inputs=tensors, outputs=tensors)
        signature = tf.load(path).signature
        assert {k: t.name for k, t in signature.inputs.items()} == {k: t.name for k, t in tensors.items()}
        assert signature.outputs.keys() == tensors.keys()


def test_names_that_would_be_one(tmp_path: Path) -> None:
    with tf.Graph().as_default() as graph:
        v, w = tf.Variable(1.0), tf.Variable(2.0)
        with pytest.raises(ValueError, match="At least two variables have the same name in the checkpoint: 1"):
            tf.train.Saver({1: v, "1": w})
        with pytest.raises(TypeError, match="the name of an input or output is a text, not 1"):
            tf.save(tmp_path / "m", graph=graph, inputs={1: v.value()})  # type: ignore[dict-item]


FILES = [
    "m", "m.safetensors", "m-3", "a b", " lead", "trail ", "new\nline", "tab\t", 'quote"', "apos'", "back\\slash", "é", "日本",
    "\udcff", "#", "%s", "{x}", "*", "[a]", "?", "~", "-x", "..m", ".m", "m.", "checkpoint.safetensors", "\x85", "\u2028",
    "m.safetensors.safetensors", "x" * 240, "é" * 119, "\x0b", "\x1c", "a:b", "\\n", "\\101", "./y", "z/../y",
    'model_checkpoint_path: "x"',
]  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="files of any name")
@pytest.mark.parametrize("relative", [True, False])
def test_names_of_files(relative: bool, tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        v = tf.get_variable("v", [2])
        for number, name in enumerate(FILES):
            folder = tmp_path / str(number)
            saver = tf.train.Saver([v], max_to_keep=2, save_relative_paths=relative)
            for step in (None, 3, 4, 5):
                v.load([number, step or 0], session)
                path = saver.save(session, f"{folder}/{name}", global_step=step)
                found = tf.train.latest_checkpoint(os.path.dirname(path))
                v.load([0, 0], session)
                saver.restore(session, found)
                assert session.run(v).tolist() == [number, step or 0]
            assert len([f for f in os.listdir(os.path.dirname(path)) if f.endswith(".safetensors")]) == 2
            state = tf.train.get_checkpoint_state(os.path.dirname(path))
            again = tf.train.Saver([v])
            again.recover_last_checkpoints(state.all_model_checkpoint_paths)
            assert len(again.last_checkpoints) == 2
