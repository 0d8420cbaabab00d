"""Models that the tests of the native format save, and edits of their files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.framework.errors import FormatError
from graphflow.io.container import _NO_DIGEST, _START, canonical_json


def small_model(path: Path) -> gf.Graph:
    """A graph with every feature of the format, and values of its variables, in a file of a few kB."""
    with gf.Graph().as_default() as graph:
        graph.seed = 5
        x = gf.placeholder(gf.float32, ["batch", 3], name="x")
        big = gf.constant(np.arange(60, dtype=np.float32).reshape(3, 20), name="big")
        w = gf.Variable(np.ones([20, 2], np.float32), name="w")
        n = gf.Variable(7, trainable=False, name="n")
        with gf.name_scope("layer"), gf.device("/cpu:0"):
            y = gf.add(gf.matmul(gf.matmul(x, big), w), 0.1, name="y")
        words = gf.constant(["ab", "", "c\xe9"], name="words")
        with gf.control_dependencies([y]):
            step = gf.assign_add(n, 1, name="step")
        gf.add_to_collection("losses", y)
        gf.add_to_collection("things", "text")
        gf.add_to_collection("things", 0.1)
        gf.add_to_collection("things", step.op)
        with gf.Session() as session:
            session.run(gf.global_variables_initializer())
            gf.save(path, session, inputs={"x": x}, outputs={"y": y, "words": words}, step=3)
    return graph


def fails(path: Path) -> FormatError:
    with pytest.raises(FormatError) as caught:
        gf.load(path)
    return caught.value


def signed(header: str, data: bytes, length: int | None = None) -> bytes:
    """A file with the given header text, its checksum put right."""
    text = header.encode()
    assert text.startswith(_START)
    blank = _START + _NO_DIGEST + text[len(_START) + 64 :]
    count = (len(text) if length is None else length).to_bytes(8, "little")
    return count + _START + hashlib.sha256(count + blank).hexdigest().encode() + blank[len(_START) + 64 :] + data


def split(path: Path) -> tuple[str, bytes]:
    raw = path.read_bytes()
    n = int.from_bytes(raw[:8], "little")
    return raw[8 : 8 + n].decode(), raw[8 + n :]


def edited(path: Path, edit: Callable[[dict[str, Any], dict[str, Any]], Any]) -> Path:
    """The file with its header and graph changed by `edit(header, graph)` and all checksums of JSON put right."""
    text, data = split(path)
    header = json.loads(text)
    meta = header["__metadata__"]
    graph = json.loads(meta["graphflow.graph"])
    edit(header, graph)
    meta["graphflow.graph"] = canonical_json(graph)
    meta["graphflow.graph_sha256"] = hashlib.sha256(meta["graphflow.graph"].encode()).hexdigest()
    path.write_bytes(signed(json.dumps(header, separators=(",", ":")), data))
    return path


def node(graph: dict[str, Any], name: str) -> dict[str, Any]:
    return next(n for n in graph["nodes"] if n["name"] == name)


def entry(header: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = header[name]
    return found
