"""Plans on disk: found again for the same program and no other, the same in all they say, and never trusted blindly."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import version
from graphflow.framework import registry
from graphflow.framework.build import build as build_op
from graphflow.framework.registry import OpDef, lookup, register
from graphflow.framework.shapes import size
from graphflow_compiler import compilation
from graphflow_compiler.codegen.jit.object_cache import ObjectCache
from graphflow_compiler.codegen.llvm.llvm_text import host_target
from graphflow_compiler.compilation import Options, compile
from graphflow_compiler.frontend import Signature, build_program
from graphflow_compiler.planning import plan_cache, planner
from graphflow_compiler.planning.plan import Plan
from tests import random_programs

KEEP = Options(keep=True)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAPHFLOW_CACHE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Plan]]:
    """The plans that the passes make."""
    found: list[Plan] = []
    real = planner.make_plan

    def make_plan(*arguments: Any) -> Plan:
        found.append(real(*arguments))
        return found[-1]

    monkeypatch.setattr(planner, "make_plan", make_plan)
    yield found


def signature(build: Callable[[gf.Tensor], Any] = lambda x: gf.tanh(x * 2.0), shape: Any = (None, 5)) -> Signature:
    with gf.Graph().as_default():
        x = gf.placeholder(gf.float32, list(shape), name="x")
        fetches = build(x)
    dims = tuple(size("n") if d is None else d for d in shape)
    return Signature(tuple(fetches) if isinstance(fetches, list) else (fetches,), (x,), (dims,), {})


def key(s: Signature) -> bytes | None:
    return plan_cache.key_of(build_program(s), s, host_target())


def content(plan: Plan) -> list[Any]:
    """All of a plan but where its explanation comes from, arrays as bytes."""
    buffers = [
        (replace(b, array=None), None if b.array is None else (b.array.dtype.str, b.array.shape, b.array.tobytes()))
        for b in plan.buffers
    ]
    return [buffers, *(getattr(plan, f.name) for f in fields(plan) if f.name not in ("buffers", "explain")), plan.explanation]


def build_much(x: gf.Tensor) -> list[gf.Tensor]:
    weights = gf.constant(np.arange(15, dtype=np.float32).reshape(5, 3))
    h = gf.nn.softmax(gf.matmul(x, weights))
    h = gf.check_numerics(h, "h is not finite")
    picked = gf.gather(h, gf.constant([0, 2]), axis=1)
    return [gf.reduce_mean(picked), gf.gradients(h, x)[0], gf.shape(x), gf.cast(x, gf.bfloat16), gf.random_uniform([3], seed=1)]


@pytest.mark.parametrize("shape", [(None, 5), (4, 5)], ids=str)
def test_a_kept_plan_says_the_same(shape: Any, made: list[Plan]) -> None:
    first = compile(gf.Graph(), signature(build_much, shape), KEEP)
    second = compile(gf.Graph(), signature(build_much, shape), KEEP)
    assert len(made) == 1 and first is made[0] and second is not first
    assert content(second) == content(first)
    assert second.peak_bytes({"n": 7}) == first.peak_bytes({"n": 7}) and second.flops({"n": 7}) == first.flops({"n": 7})
    assert all(not b.array.flags.writeable for b in second.buffers if b.array is not None)


def test_sessions_find_their_plans(made: list[Plan]) -> None:
    def run() -> list[Any]:
        with gf.Graph().as_default(), gf.Session() as session:
            x = gf.placeholder(gf.float32, [None, 3])
            v = gf.Variable(np.ones(3, np.float32))
            loss = gf.reduce_sum(gf.square(x * v))
            step = gf.train.AdamOptimizer(0.1).minimize(loss)
            session.run(gf.global_variables_initializer())
            feeds = {x: np.arange(6, dtype=np.float32).reshape(2, 3)}
            found = [session.run([loss, step], feeds)[0] for _ in range(3)] + [session.run(v)]
            profile = session.profile([loss, step], feeds)
            return [*found, [s.split(",")[0] for s in profile.explain().splitlines() if s.startswith("step")]]

    first = run()
    count = len(made)
    second = run()
    assert count >= 3 and len(made) == count + 1  # to explain a profile, the plan is made again
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_failure_is_told_alike() -> None:
    def run() -> str:
        with gf.Graph().as_default(), gf.Session() as session:
            x = gf.placeholder(gf.float32, [None], name="x")
            y = gf.check_numerics(gf.log(x), "bad", name="checked")
            with pytest.raises(gf.errors.InvalidArgumentError) as e:
                session.run(y * 2.0, {x: [-1.0]})
            return str(e.value)

    assert run() == run()


def test_random_programs_run_alike_from_kept_plans(made: list[Plan]) -> None:
    """Against numpy, both times."""
    for seed in range(12):
        random_programs.run(7000 + seed)
    count = len(made)
    for seed in range(12):
        random_programs.run(7000 + seed)
    assert count >= 12 and len(made) == count


DIFFERENT: dict[str, Callable[[gf.Tensor], Any]] = {
    "base": lambda x: gf.tanh(x * 2.0),
    "number": lambda x: gf.tanh(x * 2.5),
    "zero": lambda x: gf.tanh(x * 0.0),
    "minus zero": lambda x: gf.tanh(x * -0.0),
    "op": lambda x: gf.sigmoid(x * 2.0),
    "order": lambda x: gf.tanh(x) * 2.0,
    "name": lambda x: gf.tanh(x * 2.0, name="other"),
    "axis": lambda x: gf.reduce_sum(x, 0),
    "other axis": lambda x: gf.reduce_sum(x, 1),
    "dtype": lambda x: gf.tanh(gf.cast(x, gf.float64)),
    "seed": lambda x: gf.random_uniform([2], seed=1),
    "other seed": lambda x: gf.random_uniform([2], seed=2),
    "weights": lambda x: gf.matmul(x, gf.constant(np.eye(5, dtype=np.float32))),
    "other weights": lambda x: gf.matmul(x, gf.constant(np.ones((5, 5), np.float32))),
    "two": lambda x: [gf.tanh(x), x * 2.0],
    "two the other way": lambda x: [x * 2.0, gf.tanh(x)],
}


def test_the_key_is_the_program() -> None:
    found = {name: key(signature(build)) for name, build in DIFFERENT.items()}
    found["fixed size"] = key(signature(shape=(4, 5)))
    found["other size"] = key(signature(shape=(6, 5)))
    found["rank"] = key(signature(shape=(None, 5, 1)))
    assert None not in found.values() and len(set(found.values())) == len(found)
    assert found["base"] == key(signature(DIFFERENT["base"]))
    other = replace(host_target(), vector_bits=128)
    s = signature(DIFFERENT["base"])
    assert plan_cache.key_of(build_program(s), s, other) != found["base"]


def of_variable(shape: tuple[int, ...], dtype: gf.DType) -> Signature:
    with gf.Graph().as_default():
        v = gf.Variable(np.ones(shape), dtype=dtype, name="v")
        return Signature((gf.identity(v) + gf.cast(1, dtype),), (), (), {})


def of_open_variable(shape: tuple[int, ...]) -> Signature:
    with gf.Graph().as_default():
        v = gf.Variable(np.ones(3, np.float32), validate_shape=False, name="v")
        return Signature((v + 1.0,), (), (), {"v": shape})


def of_assignment(first: str) -> Signature:
    """What is read before an assignment, and after it."""
    with gf.Graph().as_default():
        v = gf.Variable(1.0, name="v")
        if first == "read":
            read = gf.identity(v) * 1.0
            with gf.control_dependencies([read]):
                assigned = gf.assign(v, 3.0)
        else:
            assigned = gf.assign(v, 3.0)
            with gf.control_dependencies([assigned]):
                read = gf.identity(v) * 1.0
        return Signature((read, assigned.op), (), (), {})


def of_sizes(a: Any, b: Any) -> Signature:
    with gf.Graph().as_default():
        x, y = (gf.placeholder(gf.float32, [None, None], name=n) for n in "xy")
        return Signature((gf.reduce_sum(x), gf.reduce_sum(y)), (x, y), (a, b), {})


def of_constant(value: Any, dtype: gf.DType) -> Signature:
    with gf.Graph().as_default():
        return Signature((gf.constant(value, dtype, name="c"),), (), (), {})


def test_variables_sizes_and_types_are_in_the_key() -> None:
    n, m = size("n"), size("m")
    types = [gf.float32, gf.float64, gf.float16, gf.bfloat16, gf.int32, gf.int64, gf.uint8]
    signatures = [
        *(of_variable(shape, dtype) for shape in ((3,), (4,)) for dtype in types[:4]),
        *(of_open_variable(shape) for shape in ((3,), (5,), ())),
        *(of_assignment(first) for first in ("read", "write")),
        *(of_sizes(*s) for s in (((n, m), (n, m)), ((n, m), (m, n)), ((n, n), (m, m)), ((n, m), (1, m)))),
        *(of_constant(value, dtype) for value in (1, [1]) for dtype in types),
    ]
    found = [key(s) for s in signatures]
    assert None not in found and len(set(found)) == len(found)


def test_changed_source_files_make_other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key(signature())
    stamps = plan_cache._stamps()
    assert stamps is not None and any("plan_cache.py" in s for s in stamps) and any("dims.py" in s for s in stamps)
    monkeypatch.setattr(plan_cache, "_stamps", lambda: (*stamps[:-1], stamps[-1] + "1"))
    assert key(signature()) != before
    monkeypatch.setattr(plan_cache, "_stamps", lambda: None)
    assert key(signature()) is None


def test_files_that_changed_since_they_were_loaded_keep_no_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade, or somebody at work on a pass, while an older process makes plans with what it has loaded."""
    stamps = plan_cache._stamps.__wrapped__
    assert stamps() is not None
    newest = max(os.stat(s.rsplit(" ", 2)[0]).st_ctime for s in stamps()[3:])
    monkeypatch.setattr(version, "LOADED_AT", newest - 1.0)
    assert stamps() is None


def test_a_users_op_is_not_kept(made: list[Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rule may change without any file of ours changing."""
    monkeypatch.setattr(registry, "_OPS", {op.name: op for op in registry.all_ops()})
    op = register(replace(lookup("Tanh"), name="MyTanh"))
    assert isinstance(op, OpDef)
    s = signature(lambda x: build_op(op, [x]))
    assert key(s) is None
    for _ in range(2):
        compile(gf.Graph(), s, KEEP)
    assert len(made) == 2
    impostor = replace(lookup("Tanh"), doc="not the one that is registered")
    assert key(signature(lambda x: build_op(impostor, [x]))) is None


def test_large_constants_are_not_kept(folder: Path) -> None:
    big = np.ones((5, 60_000), np.float32)
    compile(gf.Graph(), signature(lambda x: gf.matmul(x, gf.constant(big))), KEEP)
    assert not list(folder.iterdir())
    compile(gf.Graph(), signature(), KEEP)
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("variable", ["GRAPHFLOW_DUMP", "GRAPHFLOW_FUEL"])
def test_whoever_watches_the_passes_sees_them(
    variable: str, made: list[Plan], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compile(gf.Graph(), signature(), KEEP)
    monkeypatch.setenv(variable, str(tmp_path) if variable == "GRAPHFLOW_DUMP" else "0")
    compile(gf.Graph(), signature(), KEEP)
    assert len(made) == 2


def test_only_who_asks_gets_a_kept_plan(made: list[Plan], folder: Path) -> None:
    compile(gf.Graph(), signature())
    assert not list(folder.iterdir())
    compile(gf.Graph(), signature(), KEEP)
    compile(gf.Graph(), signature())
    assert len(made) == 3


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(Path(os.environ["GRAPHFLOW_CACHE_DIR"]) / "evil"),)


def _plan_with(x: Any) -> bytes:
    return pickle.dumps([x] * len(plan_cache._FIELDS))


NO_PLANS = [b"", b"no pickle", pickle.dumps([1]), pickle.dumps(None), _plan_with(_Evil()), _plan_with(int), b"\x80\x05\x8c\xff"]


@pytest.mark.parametrize("data", NO_PLANS, ids=range(len(NO_PLANS)))
def test_what_is_no_plan_is_passed_over(data: bytes, made: list[Plan], folder: Path) -> None:
    s = signature()
    found = key(s)
    assert found is not None
    ObjectCache(folder, 1 << 20).put(found, data)
    plan = compile(gf.Graph(), s, KEEP)
    assert len(made) == 1 and plan.steps and not (folder / "evil").exists()


def test_every_cut_file_is_compiled_anew(made: list[Plan]) -> None:
    s = signature()
    plan = compile(gf.Graph(), s, KEEP)
    data = io.BytesIO()
    plan_cache._Pickler(data, protocol=5).dump([getattr(plan, name) for name in plan_cache._FIELDS])
    whole = data.getvalue()
    found = key(s)
    assert found is not None
    for n in range(0, len(whole), 97):
        cache = plan_cache.object_cache()
        assert cache is not None
        cache.put(found, whole[:n])
        assert plan_cache.get(found, lambda: "") is None
    cache.put(found, whole)
    assert content(replace(compilation.compile(gf.Graph(), s, KEEP), explain=plan.explain)) == content(plan)


PROGRAM = """
import sys, numpy as np, graphflow as gf
x = gf.placeholder(gf.float32, [None, None])
y = gf.reduce_sum(gf.concat([x, gf.tanh(x)], 0)[: gf.shape(x)[0] // 2 + 1], axis=1)
with gf.Session() as s:
    print(s.run(y, {x: np.ones((4, 3), np.float32)}).tolist(), s.run(y, {x: np.ones((3, 2), np.float32)}).tolist())
    print("graphflow_compiler.planning.planner" in sys.modules)
"""


def test_other_processes_find_it(folder: Path) -> None:
    """Whatever the seed of their hashes; a process that finds its plans does not even load the passes."""
    found = []
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.splitlines())
    assert found[0][0] == found[1][0] == "[3.0, 3.0, 3.0] [2.0, 2.0]"
    assert [lines[1] for lines in found] == ["True", "False"]
