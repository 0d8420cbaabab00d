"""The native format: what is saved comes back bit by bit."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.framework.errors import (
    CorruptFileError,
    FailedPreconditionError,
    FormatError,
)
from graphflow.framework.kinds import Host, Random, Source, StateUpdate
from graphflow.framework.registry import OpDef, TensorValue, all_ops
from graphflow.framework.shapes import Dim, evaluate, floordiv, fresh_dim, maximum, mod, size
from graphflow.io.attributes import Decoder, Encoder, field_types, matches
from graphflow.io.container import read_container, write_container
from graphflow.io.graph_json import graph_to_json
from tests.saved_models import edited, fails, small_model

ROOT = Path(__file__).resolve().parent.parent
ALL_OPS = list(all_ops())


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.safetensors"
    small_model(path)
    return path


# ---------------------------------------------------------------------------------------------- what comes back


def test_everything_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    graph = small_model(path)
    loaded = gf.load(path)
    assert [(op.name, op.type, op.attrs, op.device) for op in graph.get_operations() if op.type != "Placeholder"] == [
        (op.name, op.type, op.attrs, op.device) for op in loaded.graph.get_operations() if op.type != "Placeholder"
    ]
    assert graph_to_json(loaded.graph)[0] == graph_to_json(graph)[0]
    assert loaded.graph.seed == 5 and loaded.step == 3
    assert str(loaded.graph.get_tensor_by_name("layer/y:0").type) == "float32(batch, 2)"
    assert [v.name for v in loaded.graph.get_collection("trainable_variables")] == ["w:0"]
    w, n = loaded.graph.get_collection("variables")
    assert (w.trainable, n.trainable, n.initializer.name, w.value().name) == (True, False, "n/Assign", "w/read:0")
    assert loaded.graph.get_collection("losses") == [loaded.graph.get_tensor_by_name("layer/y:0")]
    assert loaded.graph.get_collection("things") == ["text", 0.1, loaded.graph.get_operation_by_name("step")]
    assert loaded.signature.inputs["x"].name == "x:0" and set(loaded.signature.outputs) == {"y", "words"}
    with loaded.graph.as_default(), gf.name_scope("layer") as scope:
        assert scope == "layer_1/"
    with loaded.session() as session:
        y, words = session.run([loaded.signature.outputs["y"], "words:0"], {"x:0": np.ones((2, 3), np.float32)})
        assert y.shape == (2, 2) and words.tolist() == [b"ab", b"", "c\xe9".encode()]
        assert session.run("step:0", {"x:0": np.ones((2, 3), np.float32)}) == 8


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    """Also of a loaded graph: sizes without a name are numbered in the file, not by what the process made before."""
    first, second, third = (tmp_path / n for n in "abc")
    small_model(first)
    small_model(second)
    assert first.read_bytes() == second.read_bytes()
    loaded = gf.load(first)
    with loaded.session() as session:
        gf.save(
            third,
            session,
            inputs=loaded.signature.inputs,
            outputs=loaded.signature.outputs,
            step=loaded.step,
        )
    assert third.read_bytes() == first.read_bytes()


def sample_graphs(op: OpDef) -> list[tuple[gf.Graph, Any, dict[str, Any]]]:
    """Each sample of an op as a graph, its inputs being variables; constants where they steer shapes."""
    found = []
    for sample in op.samples():
        with gf.Graph().as_default() as graph:
            inputs = []
            refs = op.kind.refs if isinstance(op.kind, StateUpdate) else ()
            for i, a in enumerate(sample.inputs):
                a = np.asarray(a)
                if i in op.shape_operands or a.dtype == object:
                    inputs.append(gf.constant(a))
                else:
                    v = gf.Variable(a, trainable=False)
                    inputs.append(v._ref() if i in refs else v.value())
            try:
                operation = graph.create_op(op, inputs, sample.attrs)
            except gf.errors.GraphFlowError:
                continue  # a sample of an error
            gf.global_variables_initializer()
        found.append((graph, operation, {}))
    return found


@pytest.mark.parametrize("op", [op for op in ALL_OPS if op.samples()], ids=lambda op: op.name)
def test_samples_of_every_op(op: OpDef, tmp_path: Path) -> None:
    """Every sample's graph with its variables gives the same bits after saving and loading."""
    if type(op.kind) is Host and op.kind.stateful:
        pytest.skip("holds a Python function, which no file can")
    for number, (graph, operation, feeds) in enumerate(sample_graphs(op)[:3]):
        path = tmp_path / f"{number}.safetensors"
        # The numpy backend: what is tested is the file, and nothing has to be compiled.
        with gf.Session(graph=graph, backend="reference") as session:
            session.run("init")
            gf.save(path, session)
            expected = session.run(operation.outputs, feeds)
        loaded = gf.load(path)
        assert graph_to_json(loaded.graph)[0] == graph_to_json(graph)[0]
        again = loaded.graph.get_operation_by_name(operation.name)
        assert again.attrs == operation.attrs or "nan" in repr(operation.attrs)
        with loaded.session(backend="reference") as session:
            assert [same_bits(a) for a in session.run(again.outputs, feeds)] == [same_bits(a) for a in expected]


def same_bits(a: Any) -> tuple[Any, ...]:
    a = np.asarray(a)
    return a.dtype, a.shape, a.tolist() if a.dtype == object else a.tobytes()


def everything(graph: gf.Graph) -> tuple[list[str], dict[str, Any]]:
    """The names of all tensors that no assignment makes, variables among them, and ones for all placeholders."""
    names, feeds = [], {}
    for op in graph.get_operations():
        if isinstance(op.op_def.kind, Source) and op.op_def.kind.what == "placeholder":
            shape = [d if isinstance(d, int) else 4 for d in op.outputs[0].type.shape or ()]
            feeds[f"{op.name}:0"] = np.ones(shape, op.outputs[0].dtype.numpy_dtype)
        if not isinstance(op.op_def.kind, StateUpdate):
            names += [t.name for t in op.outputs]
    return names, feeds


@pytest.mark.parametrize("name", ["linear_regression", "xor_by_hand", "inspect_compiler", "digits_mlp", "custom_op"])
def test_sample_programs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What every sample program has in its session when it closes it survives a save and a load."""
    if name == "digits_mlp":
        pytest.importorskip("sklearn")
    spec = importlib.util.spec_from_file_location(f"sample_{name}", ROOT / "samples" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    sample = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sample)
    close = gf.Session.close
    checked = []

    def check_and_close(session: Any) -> None:
        path = tmp_path / f"{len(checked)}.safetensors"
        monkeypatch.setattr(gf.Session, "close", close)
        gf.save(path, session)
        loaded = gf.load(path)
        assert graph_to_json(loaded.graph)[0] == graph_to_json(session.graph)[0]
        names, feeds = everything(session.graph)
        with loaded.session() as again:
            for op in session.graph.get_operations():
                if isinstance(op.op_def.kind, Random):  # goes on with the same numbers
                    again._store.random[op.name] = session._store.random[op.name]
            for a, b in zip(session.run(names, feeds), again.run(names, feeds), strict=True):
                assert same_bits(a) == same_bits(b)
        checked.append(path)
        close(session)
        monkeypatch.setattr(gf.Session, "close", check_and_close)

    monkeypatch.setattr(gf.Session, "close", check_and_close)
    monkeypatch.chdir(tmp_path)
    if name == "digits_mlp":
        monkeypatch.setattr(sample, "_pictures", lambda graph, folder: [])
        sample.main(epochs=1)
    else:
        sample.main()
    assert checked


def test_loaded_training_graph_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    """The optimizer's state, gradients and seeded random ops included."""
    path = tmp_path / "m.safetensors"
    feed = {"x:0": np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)}
    with gf.Graph().as_default() as graph, gf.Session() as session:
        graph.seed = 1
        x = gf.placeholder(gf.float32, [None, 3], name="x")
        w = gf.get_variable("w", [3, 2])
        loss = gf.reduce_mean(gf.square(gf.tanh(gf.matmul(x, w)) - 0.5), name="loss")
        train = gf.train.AdamOptimizer(0.1).minimize(loss, name="train")
        session.run(gf.global_variables_initializer())
        session.run(train, feed)
        gf.save(path, session)
        expected = [session.run([loss, train, w], feed) for _ in range(3)]
    loaded = gf.load(path)
    with loaded.session() as session:
        found = [session.run(["loss:0", "train", "w:0"], feed) for _ in range(3)]
    for a, b in zip(expected, found, strict=True):
        assert same_bits(a[0]) == same_bits(b[0]) and same_bits(a[2]) == same_bits(b[2])


def test_shapes_that_the_user_refined_stay_refined(tmp_path: Path) -> None:
    with gf.Graph().as_default() as graph:
        x = gf.placeholder(gf.float32, None, name="x")
        y = gf.sqrt(x, name="y")
        y.set_shape(["rows", 4])
    loaded = gf.load(gf.save(tmp_path / "m", graph=graph))
    assert str(loaded.graph.get_tensor_by_name("y:0").type) == "float32(rows, 4)"
    assert loaded.graph.get_tensor_by_name("x:0").type.shape is None


def test_graph_alone_and_uninitialised_variables(tmp_path: Path) -> None:
    with gf.Graph().as_default() as graph:
        v = gf.Variable(1.0, name="v")
        loaded = gf.load(gf.save(tmp_path / "m", graph=graph))
        assert loaded.variables == {} and loaded.step is None
        with gf.Session() as session:
            with pytest.raises(FailedPreconditionError, match="uninitialized"):
                gf.save(tmp_path / "n", session)
            assert not (tmp_path / "n").exists()
            session.run(v.initializer)
            gf.save(tmp_path / "n")  # the default session
        assert gf.load(tmp_path / "n").variables["v"] == 1.0
        with pytest.raises(ValueError, match="another graph"):
            gf.save(tmp_path / "n", gf.Session(graph=gf.Graph()), graph)


def test_devices_colocation_and_gradient_overrides(tmp_path: Path) -> None:
    with gf.Graph().as_default() as graph:
        a = gf.constant(1.0, name="a")
        with gf.device("/job:worker/gpu:1"), gf.colocate_with(a), graph.gradient_override_map({"Identity": "Mine"}):
            gf.identity(a, name="b")
    b = gf.load(gf.save(tmp_path / "m", graph=graph)).graph.get_operation_by_name("b")
    assert b.device == "/job:worker/device:GPU:1" and b.gradient_name == "Mine"
    assert b.colocation is not None and b.colocation.name == "a"


def test_a_chain_of_many_ops(tmp_path: Path) -> None:
    """No recursion over graphs."""
    with gf.Graph().as_default() as graph:
        t = gf.placeholder(gf.float32, [], name="x")
        for _ in range(5000):
            t = gf.negative(t)
    loaded = gf.load(gf.save(tmp_path / "m", graph=graph))
    assert loaded.graph.version == 5001


def test_python_functions_are_refused(model: Path, tmp_path: Path) -> None:
    """A Python function is code: no file holds it, and no file may have one of this process called."""
    with gf.Graph().as_default() as graph, gf.Session() as session:
        v = gf.Variable(1.0, name="v")
        gf.py_func(lambda a: a, [v], gf.float32, name="f")
        session.run(v.initializer)
        with pytest.raises(FormatError, match=r"'f' \(PyFunc, test_native_format.py:\d+\) cannot be saved"):
            gf.save(tmp_path / "f", graph=graph)
        assert not (tmp_path / "f").exists()
        prefix = gf.train.Saver().save(session, tmp_path / "only_values")
        assert gf.train.load_variable(prefix, "v") == 1.0
    call = {"name": "f", "op": "PyFunc", "attrs": {"token": 0, "output_types": []}, "outputs": []}
    edited(model, lambda h, g: g["nodes"].append(call))
    assert "would call a Python function" in str(fails(model))
    encoder = Encoder()
    for value in (print, [1], {"a": 1}, object()):
        with pytest.raises(TypeError, match="no file can hold"):
            encoder.value(value, "f")


# ---------------------------------------------------------------------------------------------- the container


def arrays() -> dict[str, np.ndarray[Any, Any]]:
    import ml_dtypes

    names = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"]
    found: dict[str, np.ndarray[Any, Any]] = {n: np.arange(-3, 3).astype(n).reshape(2, 3) for n in names}
    found["bfloat16"] = np.arange(3).astype(ml_dtypes.bfloat16)
    found["bool"] = np.array([True, False, True])
    found["scalar"] = np.float32(2.5).reshape(())
    found["empty"] = np.zeros((0, 3), np.float32)
    found["transposed"] = np.arange(6, dtype=np.int16).reshape(2, 3).T
    found["big endian"] = np.arange(3, dtype=">f4")
    found["nan"] = np.array([0x7FC00001, 0xFFFFFFFF], np.uint32).view(np.float32)
    return found


def test_container_is_valid_safetensors(tmp_path: Path) -> None:
    """The package itself is the judge."""
    from safetensors import safe_open

    path = tmp_path / "t.safetensors"
    write_container(path, arrays(), {"note": "caf\xe9"})
    ours = read_container(path)
    with safe_open(path, framework="np") as theirs:
        assert theirs.metadata()["note"] == "caf\xe9"
        assert set(theirs.keys()) == set(ours.entries) == set(arrays())
        for name, array in arrays().items():
            # The numpy side of the package has no bfloat16 of its own.
            if name != "bfloat16":
                assert same_bits(theirs.get_tensor(name)) == same_bits(array.astype(array.dtype.newbyteorder("=")))
            assert same_bits(ours.tensor(name)) == same_bits(array.astype(array.dtype.newbyteorder("=")))


def test_views_are_copy_on_write(tmp_path: Path) -> None:
    path = tmp_path / "t"
    write_container(path, {"a": np.arange(4)}, {})
    before = path.read_bytes()
    read_container(path).tensor("a")[:] = 9
    assert path.read_bytes() == before


def test_strings(tmp_path: Path) -> None:
    path = tmp_path / "t"
    words = np.array([[b"a", b""], [b"\x00\xff", b"long" * 100]], dtype=object)
    write_container(path, {"s": words, "none": np.zeros((0, 2), object)}, {})
    container = read_container(path)
    assert container.tensor("s").tolist() == words.tolist() and container.tensor("none").shape == (0, 2)


# ---------------------------------------------------------------------------------------------- attributes


def test_every_attrs_class_can_be_stored() -> None:
    """Field types resolve, and the samples' values have them."""
    for op in ALL_OPS:
        hints = field_types(op.attrs)
        assert hints.keys() == {f.name for f in dataclasses.fields(op.attrs)}, op.name
        for sample in op.samples():
            for name, hint in hints.items():
                assert matches(getattr(sample.attrs, name), hint), (op.name, name, getattr(sample.attrs, name), hint)


@pytest.mark.parametrize(
    "value",
    [
        0, -(2**63), 2**64 - 1, True, None, "", "t\xe9xt\n", 0.1, -0.0, float("inf"), (),
        (1, (2.5, "a", None), (True,)),
        gf.float32, gf.bfloat16, (gf.int8, gf.string), size("n"), (3, size("n") * 4 + 2),
    ],
)  # fmt: skip
def test_attribute_values(value: Any) -> None:
    text = json.dumps(Encoder().value(value, "f"))
    back = Decoder(lambda name: np.zeros(0), ()).value(json.loads(text))
    assert back == value and type(back) is type(value)


def test_symbolic_dims() -> None:
    n, unnamed = size("n"), fresh_dim()
    dims: list[Dim] = [floordiv(n + 3, 2), mod(n, 5), maximum(n * n - 4, 0), floordiv(unnamed, 3) * n]
    encoder = Encoder()
    decoder = Decoder(lambda name: np.zeros(0), ())
    back = [decoder.dim(json.loads(json.dumps(encoder.dim(d)))) for d in dims]
    assert back[:3] == dims[:3]
    (new,) = back[3].names() - {"n"}  # type: ignore[union-attr]
    (old,) = unnamed.names()
    assert evaluate(back[3], {"n": 4, new: 11}) == evaluate(dims[3], {"n": 4, old: 11})
    assert encoder.dim(unnamed) == {"dim": "?0"}


@pytest.mark.parametrize("array", [np.float32(1.5), np.zeros((0, 4)), np.array([True]), np.arange(500.0)])
def test_tensor_attributes(array: Any) -> None:
    encoder = Encoder()
    value = TensorValue(array)
    raw = json.loads(json.dumps(encoder.value(value, "f")))
    assert Decoder(encoder.tensors.__getitem__, encoder.tensors).value(raw) == value
    assert bool(encoder.tensors) == (value.array.nbytes > 64)


@pytest.mark.parametrize(
    "raw",
    [
        1.5, json.loads("[" * 18 + "]" * 18), 2**64, {"float": "nope"}, {"float": 1}, {"dtype": "float99"},
        {"dtype": "half"},
        {"what": 1}, {"float": "0x1p0", "dtype": "int8"}, {"dim": [[1.5]]}, {"dim": [["n"]]}, {"dim": [[1, "a b"]]},
        {"dim": [[1, ["//", 1, 0]]]}, {"dim": [[1, ["eval", 1, 2]]]}, {"tensor": "nope"},
        {"tensor": ["float32", [1], "00"]},
        {"tensor": ["float32", [-1], ""]}, {"tensor": ["string", [0], ""]}, {"tensor": ["bool", [1], "02"]},
        {"tensor": ["int8", [1], "zz"]}, {"tensor": ["int8", [10**6], "00"]}, {"float": "0x1p999999"},
    ],
)  # fmt: skip
def test_hostile_attribute_values(raw: Any) -> None:
    with pytest.raises(CorruptFileError):
        Decoder(lambda name: np.zeros(0), ()).value(raw)
