"""Files of the native format that are damaged, hostile or half written: each is a FormatError."""

from __future__ import annotations

import ast
import errno
import gc
import hashlib
import json
import os
import re
import subprocess
import sys
import textwrap
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.framework.errors import (
    CorruptFileError,
    FormatError,
    UnknownOpError,
    VersionError,
)
from graphflow.framework.registry import all_ops
from graphflow.io import durable
from graphflow.io.container import _START
from tests.saved_models import edited, entry, fails, node, signed, small_model, split

ROOT = Path(__file__).resolve().parent.parent
ALL_OPS = list(all_ops())


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.safetensors"
    small_model(path)
    return path


# ---------------------------------------------------------------------------------------------- damage


def tiny_model(path: Path) -> bytes:
    """As few bytes as a graph with a constant and the value of a variable take."""
    with gf.Graph().as_default(), gf.Session() as session:
        gf.constant(np.arange(17, dtype=np.float32), name="c")
        v = gf.Variable([1.0, 2.0], name="v")
        session.run(v.initializer)
        gf.save(path, session)
    return path.read_bytes()


def test_truncated_at_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "cut"
    data = tiny_model(path)
    for n in reversed(range(len(data))):
        os.truncate(path, n)
        with pytest.raises(FormatError):
            gf.load(path)
    path.write_bytes(data + b"\0")
    assert "after the last tensor" in str(fails(path))


@pytest.mark.parametrize("whole", [True, False])
def test_every_byte_flipped(tmp_path: Path, whole: bool) -> None:
    """All bits of each byte, then one bit of it."""
    path = tmp_path / "flipped"
    data = tiny_model(path)
    with open(path, "r+b", buffering=0) as f:
        for i, byte in enumerate(data):
            f.seek(i)
            f.write(bytes([byte ^ (0xFF if whole else 1 << i % 8)]))
            with pytest.raises(FormatError):
                gf.load(path)
            f.seek(i)
            f.write(bytes([byte]))
    assert gf.load(path).variables["v"].tolist() == [1, 2]


def test_edited_files_load_if_they_are_sound(model: Path) -> None:
    """The tests below fail for what they say, not for how they edit."""
    assert gf.load(edited(model, lambda h, g: None)).step == 3


HOSTILE: dict[str, tuple[Callable[[dict[str, Any], dict[str, Any]], Any], str]] = {
    "unknown op": (lambda h, g: node(g, "layer/y").update(op="AddV3"), "does not have; close matches: .*AddV2"),
    "newer op": (lambda h, g: node(g, "layer/y").update(version=99), "version 99 of AddV2"),
    "op version no int": (lambda h, g: node(g, "layer/y").update(version="1"), "version"),
    "newer reader": (lambda h, g: h["__metadata__"].update({"graphflow.min_reader": "2"}), "needs a reader"),
    "min_reader nonsense": (lambda h, g: h["__metadata__"].update({"graphflow.min_reader": "x"}), "version number"),
    "foreign format": (lambda h, g: h["__metadata__"].update(format="pt"), "not 'graphflow'"),
    "metadata no string": (lambda h, g: h["__metadata__"].update(a=1), "strings"),
    "no graph": (lambda h, g: g.clear(), "nodes"),
    "unknown part": (lambda h, g: g.update(code="import os"), "unknown part"),
    "duplicate node": (lambda h, g: g["nodes"].append(g["nodes"][0]), "two nodes"),
    "self cycle": (lambda h, g: node(g, "layer/y").update(inputs=["layer/y:0", "layer/y:0"]), "comes later: a cycle"),
    "cycle": (lambda h, g: node(g, "layer/MatMul").update(inputs=["layer/y:0", "big:0"]), "comes later: a cycle"),
    "control cycle": (lambda h, g: node(g, "x").update(control=["step"]), "comes later"),
    "dangling input": (lambda h, g: node(g, "layer/y").update(inputs=["nope:0", "x:0"]), "not in the file"),
    "no such output": (lambda h, g: node(g, "layer/y").update(inputs=["x:0", "x:1"]), "1 outputs"),
    "input no name": (lambda h, g: node(g, "layer/y").update(inputs=["x", "x:0"]), "no name of a tensor"),
    "input no string": (lambda h, g: node(g, "layer/y").update(inputs=[1, 2]), "expected"),
    "too few inputs": (lambda h, g: node(g, "layer/y").update(inputs=["x:0"]), "cannot be built"),
    "too many inputs": (lambda h, g: node(g, "layer/y").update(inputs=["x:0"] * 9), "cannot be built"),
    "shapes do not fit": (lambda h, g: node(g, "layer/y").update(inputs=["x:0", "w:0"]), "cannot be built"),
    "lying output": (lambda h, g: node(g, "layer/y").update(outputs=[["float32", [7, 7]]]), "inferred as"),
    "lying dtype": (lambda h, g: node(g, "layer/y").update(outputs=[["int32", None]]), "inferred as"),
    "outputs missing": (lambda h, g: node(g, "layer/y").update(outputs=[]), "0 outputs are recorded"),
    "attr unknown": (lambda h, g: node(g, "big").update(attrs={"nope": 1}), "unknown attribute"),
    "attr missing": (lambda h, g: node(g, "big").update(attrs={}), "missing"),
    "attr of wrong type": (
        lambda h, g: node(g, "x").update(attrs={"dtype": "float32", "shape": None}),
        "not of the type",
    ),
    "attr nested deeply": (lambda h, g: node(g, "x").update(attrs={"dtype": json.loads("[" * 99 + "]" * 99)}), "deep"),
    "tensor for a type": (lambda h, g: node(g, "big").update(attrs={"value": {"dtype": "int8"}}), "not of the type"),
    "huge shape": (lambda h, g: node(g, "x")["attrs"].update(shape=[2**65]), "out of range"),
    "negative dim": (lambda h, g: node(g, "x")["attrs"].update(shape=[-5]), "x"),
    "bad name": (lambda h, g: node(g, "x").update(name="a b"), "not a valid node name"),
    "name with slash": (lambda h, g: node(g, "x").update(name="x/"), "no name of a node"),
    "name is a path": (lambda h, g: node(g, "x").update(name="/etc/passwd"), "not a valid node name"),
    "device": (lambda h, g: node(g, "x").update(device=["a"]), "device"),
    "colocate": (lambda h, g: node(g, "x").update(colocate="nope"), "not in the file"),
    "assign to no variable": (lambda h, g: node(g, "step").update(inputs=["x:0", "x:0"]), "must be a variable"),
    "variable": (lambda h, g: g["variables"][0].update(variable="x:0"), "not those of a variable"),
    "variable fields": (lambda h, g: g["variables"][0].pop("trainable"), "no variable"),
    "snapshot": (lambda h, g: g["variables"][0].update(snapshot="x:0"), "does not read it"),
    "collection item": (lambda h, g: g["collections"].update(a=[{"variable": 99}]), "no item"),
    "collection no list": (lambda h, g: g["collections"].update(a=1), "expected"),
    "seed": (lambda h, g: g.update(seed="1"), "seed"),
    "signature": (
        lambda h, g: h["__metadata__"].update({"graphflow.signature": '{"inputs":{"x":"no:0"}}'}),
        "signature",
    ),
    "signature shape": (lambda h, g: h["__metadata__"].update({"graphflow.signature": '{"inputs":[]}'}), "signature"),
    "step": (lambda h, g: h["__metadata__"].update({"graphflow.step": "__import__('os')"}), "step"),
    "tensor overlap": (lambda h, g: entry(h, "var/n").update(data_offsets=[0, 4]), "overlap"),
    "tensor hole": (lambda h, g: entry(h, "const/words").update(data_offsets=[404, 431]), "const/words|hole|after"),
    "tensor beyond": (lambda h, g: entry(h, "var/w").update(data_offsets=[2**40, 2**40 + 160]), "claims bytes"),
    "tensor negative": (lambda h, g: entry(h, "var/w").update(data_offsets=[-8, 152]), "sizes is expected"),
    "tensor backwards": (lambda h, g: entry(h, "var/w").update(data_offsets=[160, 0]), "claims bytes"),
    "tensor too large": (lambda h, g: entry(h, "var/w").update(shape=[2**31, 2**31]), "does not take"),
    "tensor size overflow": (lambda h, g: entry(h, "var/w").update(shape=[2**62, 2**62, 0]), "does not take"),
    "tensor rank": (lambda h, g: entry(h, "var/w").update(shape=[1] * 99), "claims"),
    "tensor dtype": (lambda h, g: entry(h, "var/w").update(dtype="C64"), "unknown dtype"),
    "tensor other dtype": (lambda h, g: entry(h, "var/w").update(dtype="I32"), "its value is int32"),
    "tensor other shape": (lambda h, g: entry(h, "var/w").update(shape=[2, 20]), "its value is"),
    "tensor no object": (lambda h, g: h.update({"var/w": 3}), "exactly"),
    "tensor fields": (lambda h, g: entry(h, "var/w").update(file="../../etc/passwd"), "exactly"),
    "no checksums": (lambda h, g: h["__metadata__"].pop("graphflow.tensor_sha256"), "checksums"),
    "variable without value": (
        lambda h, g: h["__metadata__"].update({"graphflow.variables": '{"q":"w"}'}),
        "no value",
    ),
    "value without variable": (
        lambda h, g: h["__metadata__"].update({"graphflow.variables": '{"w":"x"}'}),
        "no variable",
    ),
    "value unused": (lambda h, g: h["__metadata__"].update({"graphflow.variables": "{}"}), "nothing refers"),
    "string shape": (lambda h, g: h["__metadata__"].update({"graphflow.string_shapes": '{"var/w":[2]}'}), "as bytes"),
    "string sizes": (
        lambda h, g: h["__metadata__"].update({"graphflow.string_shapes": '{"const/words":[9]}'}),
        "bytes",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files(case: str, model: Path) -> None:
    edit, text = HOSTILE[case]
    error = fails(edited(model, edit))
    assert re.search(text, str(error), re.DOTALL), str(error)
    if case == "unknown op":
        assert isinstance(error, UnknownOpError)
    if case.startswith("newer"):
        assert isinstance(error, VersionError)


def test_hostile_headers(model: Path) -> None:
    text, data = split(model)
    whole = model.read_bytes()
    cases = {
        "length 2**63": (2**63).to_bytes(8, "little") + whole[8:],
        "length past the end": (len(whole)).to_bytes(8, "little") + whole[8:],
        "duplicate keys": signed(text.replace('"var/n":', '"var/w":'), data),
        "duplicate metadata": signed(text.rstrip()[:-1] + ',"__metadata__":{}}', data),
        "deep": signed(text.rstrip()[:-1] + ',"a":' + "[" * 100_000 + "]" * 100_000 + "}", data),
        "no object": signed(_START.decode() + "0" * 64 + '"}', data),
        "nan": signed(text.replace('"shape":[20,2]', '"shape":[NaN,2]'), data),
        "float": signed(text.replace('"shape":[20,2]', '"shape":[20.0,2]'), data),
        "many digits": signed(text.replace('"shape":[20,2]', f'"shape":[{"9" * 100_000},2]'), data),
        "no utf-8": signed(text, data).replace(b'"graphflow.step":"3"', b'"graphflow.step":"\xff"'),
        "empty": b"",
        "zeros": bytes(1000),
        "zip": b"PK\x03\x04" * 100,
        "pickle": b"\x80\x04\x95" * 100,
        "plain safetensors": (2).to_bytes(8, "little") + b"{}",
    }
    for case, content in cases.items():
        model.write_bytes(content)
        assert fails(model), case


def test_graph_json_is_guarded_as_the_header_is(model: Path) -> None:
    text, data = split(model)
    for bad in (
        '{"nodes":[],"nodes":[]}',
        '{"nodes":[NaN]}',
        "[" * 50_000,
        '{"nodes":[' + "[" * 50_000 + "]" * 50_000 + "]}",
        "1",
    ):
        header = json.loads(text)
        header["__metadata__"]["graphflow.graph"] = bad
        header["__metadata__"]["graphflow.graph_sha256"] = hashlib.sha256(bad.encode()).hexdigest()
        model.write_bytes(signed(json.dumps(header, separators=(",", ":")), data))
        fails(model)
    header = json.loads(text)
    header["__metadata__"]["graphflow.graph_sha256"] = "0" * 64
    model.write_bytes(signed(json.dumps(header, separators=(",", ":")), data))
    assert "checksum" in str(fails(model))


def test_claims_cost_no_memory(model: Path) -> None:
    """A file that claims a terabyte is refused for its own size."""
    edited(model, lambda h, g: entry(h, "var/w").update(shape=[2**20, 2**20], data_offsets=[0, 2**42]))
    gc.collect()
    tracemalloc.start()
    try:
        fails(model)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_checksums_of_tensors_can_be_left_out(model: Path) -> None:
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    with pytest.raises(CorruptFileError, match="checksum"):
        gf.load(model)
    gf.load(model, verify=False)


def test_other_tools_rewriting_a_file_is_noticed(model: Path) -> None:
    from safetensors.numpy import load_file, save_file

    save_file(load_file(model), model)
    assert "not a file written by graphflow" in str(fails(model))


def test_nothing_is_evaluated() -> None:
    """No pickle, no eval, in anything that reads files."""
    for path in sorted((ROOT / "graphflow" / "io").glob("*.py")):
        tree = ast.parse(path.read_text())
        names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
        modules = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        assert not names & {"eval", "exec", "compile", "__import__"}, path
        assert not modules & {"pickle", "marshal", "shelve", "dill", "yaml"}, path


# ---------------------------------------------------------------------------------------------- durability


def test_a_failing_write_leaves_the_old_file(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = model.read_bytes()
    for step in ("fsync", "replace", "open"):
        for code in (errno.ENOSPC, errno.EIO):

            def broken(*args: Any, code: int = code, **kwargs: Any) -> Any:
                raise OSError(code, os.strerror(code))

            with monkeypatch.context() as patch:
                patch.setattr(durable.os, step, broken)
                with pytest.raises(OSError, match=os.strerror(code)):
                    durable.write_durably(model, [b"new"])
            assert model.read_bytes() == before
            assert os.listdir(model.parent) == [model.name]

    def failing() -> Any:
        yield b"first half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        durable.write_durably(model, failing())
    assert model.read_bytes() == before and os.listdir(model.parent) == [model.name]
    gf.load(model)


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_a_killed_save_leaves_the_old_file_and_its_rest_is_swept_up(model: Path) -> None:
    before = model.read_bytes()
    code = f"""
        import os, signal
        from graphflow.io.durable import write_durably
        def chunks():
            yield b"x" * 3_000_000
            os.kill(os.getpid(), signal.SIGKILL)
        write_durably({str(model)!r}, chunks())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT)
    assert done.returncode == -9
    assert model.read_bytes() == before
    assert len(os.listdir(model.parent)) == 2
    durable.write_durably(model, [b"new"])
    assert os.listdir(model.parent) == [model.name] and model.read_bytes() == b"new"


def test_temporaries_of_living_writers_stay(tmp_path: Path) -> None:
    path = tmp_path / "m"

    def chunks() -> Any:
        durable.write_durably(path, [b"inner"])
        yield b"outer"

    durable.write_durably(path, chunks())
    assert path.read_bytes() == b"outer" and os.listdir(tmp_path) == ["m"]
    theirs = tmp_path / f".m.{os.getppid()}-01234567.tmp"
    theirs.touch()
    durable.write_durably(path, [b"again"])
    assert theirs.exists()


@pytest.mark.skipif(os.name != "posix", reason="modes")
def test_umask_and_links(tmp_path: Path) -> None:
    path, link = tmp_path / "m", tmp_path / "link"
    link.symlink_to(path)
    old = os.umask(0o027)
    try:
        durable.write_durably(link, [b"a", memoryview(b"b")])
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o640 and path.read_bytes() == b"ab" and link.is_symlink()


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        gf.load(tmp_path / "no")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        gf.load(tmp_path / "folder")
