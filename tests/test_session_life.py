"""Sessions from opening to closing: defaults, caches, threads, garbage. On both back ends."""

from __future__ import annotations

import collections
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow.framework import errors
from graphflow_runtime.session import session as session_module

Pair = collections.namedtuple("Pair", "first second")


@pytest.fixture(autouse=True)
def fresh_graph() -> Iterator[None]:
    tf.reset_default_graph()
    yield
    assert tf.get_default_session() is None


@pytest.fixture(params=["native", "reference"])
def new(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Makes sessions on one of the back ends."""
    return lambda **kw: tf.Session(backend=request.param, **kw)


# ---------------------------------------------------------------------------------------------- life


def test_with_blocks(new: Callable[..., Any]) -> None:
    g = tf.Graph()
    with g.as_default():
        v = tf.Variable(2.0)
        init = tf.global_variables_initializer()
    with new(graph=g) as s:
        assert tf.get_default_session() is s and tf.get_default_graph() is g
        init.run()
        assert v.eval() == 2.0 and (v + 1.0).eval() == 3.0
    with pytest.raises(RuntimeError, match="Attempted to use a closed Session"):
        s.run(v)
    with pytest.raises(RuntimeError, match="Attempted to use a closed Session"):
        s.run([v])
    with pytest.raises(ValueError, match="No default session is registered"):
        v.eval()
    kept = new(graph=g)
    with kept.as_default():
        init.run()
    assert kept.run(v) == 2.0
    kept.close()
    kept.close()


def test_an_exception_closes_the_session(new: Callable[..., Any]) -> None:
    a = tf.constant(1.0)
    with pytest.raises(KeyError), new() as s:
        raise KeyError
    with pytest.raises(RuntimeError, match="closed"):
        s.run(a)


def test_empty_graph(new: Callable[..., Any]) -> None:
    s = new(graph=tf.Graph())
    with pytest.raises(RuntimeError, match="The Session graph is empty"):
        s.run([])
    s.close()


def test_interactive_session() -> None:
    g = tf.Graph()
    s = tf.InteractiveSession(graph=g)
    try:
        assert tf.get_default_graph() is g and tf.constant(3).eval() == 3
    finally:
        s.close()
    assert tf.get_default_session() is None and tf.get_default_graph() is not g
    s.close()


def test_arguments_are_checked() -> None:
    with pytest.raises(TypeError, match=r"graph must be a tf\.Graph"):
        tf.Session(graph="g")
    with pytest.raises(TypeError, match=r"config must be a tf\.ConfigProto"):
        tf.Session(config={"allow_soft_placement": True})
    with pytest.raises(ValueError, match="backend must be"):
        tf.Session(backend="tpu")
    with pytest.raises(errors.UnimplementedError, match="this process only"):
        tf.Session("grpc://localhost:2222")
    with pytest.raises(ValueError, match="has no 'alow_growth' field"):
        tf.GPUOptions(alow_growth=True)


def test_fields_of_a_config_are_checked() -> None:
    for wrong in ("2", 2.5):
        with pytest.raises(TypeError, match=r"Cannot set ConfigProto\.intra_op_parallelism_threads to .*a whole number"):
            tf.ConfigProto(intra_op_parallelism_threads=wrong)
    for field, value in {"gpu_options": 3, "device_count": 3, "device_filters": "x", "allow_soft_placement": "yes"}.items():
        with pytest.raises(TypeError, match=f"Cannot set ConfigProto.{field}"):
            tf.ConfigProto(**{field: value})
    with pytest.raises(AttributeError, match="has no 'allow_growth' field"):
        tf.ConfigProto().allow_growth = True
    config = tf.ConfigProto(intra_op_parallelism_threads=None, allow_soft_placement=np.True_, device_filters=("a",))
    assert config.intra_op_parallelism_threads == 0  # None is not set
    copy = tf.ConfigProto()
    copy.CopyFrom(config)
    copy.gpu_options.allow_growth = True
    assert not config.gpu_options.allow_growth


@pytest.mark.parametrize("threads", [-8, -1, 0, np.int64(1), 1 << 40])
def test_any_number_of_threads_may_be_asked_for(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a plan with scratch for each thread, in runs on all of them."""
    native = pytest.importorskip("graphflow_runtime.executor.native")
    pool = pytest.importorskip("graphflow_runtime.executor.threads").pool()
    monkeypatch.setattr(native, "_THREADS_NOW", 0)
    a = np.linspace(-1, 1, 300 * 300, dtype=np.float32).reshape(300, 300)
    x = tf.placeholder(tf.float32, [300, None])
    with tf.Session(config=tf.ConfigProto(intra_op_parallelism_threads=threads)) as s:
        for _ in range(3):
            np.testing.assert_allclose(s.run(tf.matmul(x, x), {x: a}), a @ a, rtol=1e-4, atol=1e-4)
        executables = list(s._executables.values())
    assert all((e.last.team is not None) == (pool is not None and threads != 1) for e in executables)


def test_a_session_that_is_closed_within_a_run_stays_closed() -> None:
    x = tf.placeholder(tf.float32, [2])
    with tf.Session() as s:
        f = s.make_callable(x * 2.0, [x])
        f([1.0, 2.0])
        store = s._store
        others = store.others(False)
        store.busy = others + 1
        s.close()
        store.busy = others + 1  # as where a handler has closed it just before
        store.end(others)
    assert store.busy > 1
    with pytest.raises(errors.SessionClosedError):
        f(np.ones(2, np.float32))


def test_an_interrupted_run_does_not_slow_the_next_ones() -> None:
    """A handler may raise just before a run says that it has ended: native calls would take the session's lock for good."""
    x = tf.placeholder(tf.float32, [2])
    with tf.Session() as s:
        f = s.make_callable(x * 2.0, [x])
        f([1.0, 2.0])
        s._store.busy = 1  # as such a run leaves it
        f([1.0, 2.0])
        assert s._store.busy == 0
        with s._lock:  # a run within a run of this thread
            s._store.busy = 1
            f([1.0, 2.0])
            assert s._store.busy == 1
        variable = tf.Variable(1.0)
        variable.load(2.0, s)
        assert s._store.busy == 0


def test_config_is_accepted(new: Callable[..., Any]) -> None:
    config = tf.ConfigProto(
        allow_soft_placement=True,
        device_count={"GPU": 0},
        gpu_options=tf.GPUOptions(per_process_gpu_memory_fraction=0.3),
        intra_op_parallelism_threads=1,
    )
    config.gpu_options.allow_growth = True
    config.graph_options.optimizer_options.global_jit_level = tf.OptimizerOptions.ON_1
    with tf.device("/gpu:0"):
        a = tf.constant(1.0) + 1.0
    with new(config=config) as s:
        assert s.run(a) == 2.0 and s.list_devices()[0].device_type == "CPU"


# ---------------------------------------------------------------------------------------------- caches


def test_spellings_share_one_executable(new: Callable[..., Any]) -> None:
    x = tf.placeholder(tf.float32, [None], name="x")
    a, b = x + 1.0, x * 2.0
    with new() as s:
        value = np.ones(2, np.float32)
        for fetches in ([a, b], (b, a), {"a": a, "b": [b]}, [b.name, a.name], Pair(b, (a, a))):
            s.run(fetches, {x: value})
            s.run(fetches, {"x:0": value})
        assert s.stats.executables == 1 and s.stats.runs == 10
        tf.constant(5.0)  # what is added to the graph changes nothing
        s.run([a, b], {x: value})
        assert s.stats.executables == 1 and s.stats.cache_hits >= 1


def test_other_sizes_compile_nothing() -> None:
    x = tf.placeholder(tf.float32, [None, 4])
    y = tf.reduce_sum(x * 2.0, 1)
    with tf.Session() as s:
        s.run(y, {x: np.ones((3, 4))})
        compiled = s.stats
        for n in range(2, 200):
            np.testing.assert_array_equal(s.run(y, {x: np.ones((n, 4), np.float32)}), np.full(n, 8.0))
        assert (s.stats.plans_compiled, s.stats.kernels_compiled) == (compiled.plans_compiled, compiled.kernels_compiled)


def test_caches_are_bounded(new: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "MAX_EXECUTABLES", 4)
    monkeypatch.setattr(session_module, "MAX_PREPARED", 6)
    hot = tf.constant(100.0) + 0.0
    others = [tf.constant(float(i)) for i in range(12)]
    with new() as s:
        for i, t in enumerate(others):
            assert s.run(hot) == 100.0 and s.run(t) == i and s.run([t]) == [i]
            assert len(s._executables) <= 4 and len(s._prepared) <= 6
        made = s.stats.executables
        assert s.run(hot) == 100.0 and s.stats.executables == made  # what is in use stays
        assert s.run(others[0]) == 0.0


def test_building_ops_in_the_loop_warns(new: Callable[..., Any]) -> None:
    v = tf.Variable(0.0)
    with new() as s:
        s.run(v.initializer)
        with pytest.warns(UserWarning, match=r"built in the loop that runs them[\s\S]*test_session_life\.py:\d+") as record:
            for i in range(40):
                s.run(v.assign(float(i)))
        assert len(record) == 1 and Path(record[0].filename).name == "test_session_life.py"
    with new() as s, warnings.catch_warnings():
        warnings.simplefilter("error")
        s.run(v.initializer)
        for _ in range(60):
            s.run(v)


# ---------------------------------------------------------------------------------------------- threads


def test_sixteen_threads(new: Callable[..., Any]) -> None:
    v = tf.Variable(0, dtype=tf.int64)
    x = tf.placeholder(tf.int64, [])
    add = v.assign_add(x)
    read = tf.stack([v.read_value(), v.read_value()])
    seen: list[int] = []
    torn: list[Any] = []
    failures: list[BaseException] = []
    with new() as s:
        s.run(v.initializer)

        def work(k: int) -> None:
            try:
                for _ in range(25):
                    seen.append(int(s.run(add, {x: 1})))
                    a, b = s.run(read)
                    if a != b:
                        torn.append((a, b))
            except BaseException as e:
                failures.append(e)

        threads = [threading.Thread(target=work, args=(k,)) for k in range(16)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not failures and not torn
        assert sorted(seen) == list(range(1, 401)) and s.run(v) == 400


def test_closing_while_others_run(new: Callable[..., Any]) -> None:
    x = tf.placeholder(tf.float32, [None])
    y = tf.reduce_sum(x)
    s = new()
    s.run(y, {x: np.ones(10)})
    ended: list[str] = []

    def work() -> None:
        try:
            while True:
                s.run(y, {x: np.ones(10)})
        except RuntimeError as e:
            ended.append(str(e))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    s.close()
    for t in threads:
        t.join(20)
    assert ended == ["Attempted to use a closed Session."] * 4


def test_threads_have_their_own_defaults(new: Callable[..., Any]) -> None:
    g = tf.Graph()
    seen: list[bool] = []
    with g.as_default():
        tf.constant(1.0)
        with new():
            t = threading.Thread(target=lambda: seen.extend([tf.get_default_graph() is g, tf.get_default_session() is None]))
            t.start()
            t.join()
    assert seen == [False, True]


# ---------------------------------------------------------------------------------------------- loading values


def test_load_variable(new: Callable[..., Any]) -> None:
    v = tf.Variable([0.0, 0.0])
    with new() as s:
        n = len(s.graph.get_operations())
        v.load([1.0, 2.0], s)
        assert s.run(v).tolist() == [1, 2] and len(s.graph.get_operations()) == n
        with pytest.raises(ValueError, match="Cannot feed value of shape"):
            v.load([1.0], s)


def test_explain() -> None:
    x = tf.placeholder(tf.float32, [None, 4])
    y = tf.nn.relu(x * 2.0 + 1.0)
    with tf.Session() as s:
        text = tf.explain(y, session=s, feed_shapes={x: [8, 4]})
        assert "fused" in text
        s.run(y, {x: np.ones((8, 4))})
        assert s.stats.plans_compiled == 1  # the run uses what was explained
    with tf.Session(backend="reference") as s:
        assert "reference backend" in s.explain(y, {x: np.ones((8, 4))})


def test_sessions_in_cycles_are_collected() -> None:
    """In a child process: freeing a module's LLVM context before its engine would end this one."""
    code = """
        import gc
        import graphflow as tf
        from graphflow_compiler.codegen.jit.engine import compile_module

        def in_a_cycle(item):
            cycle = [item]
            cycle.append(cycle)

        for i in range(40):
            text = "".join(f"define i32 @f{j}(i32 %x) {{\\n  ret i32 %x\\n}}\\n" for j in range(i + 1))
            in_a_cycle(compile_module([text]))
            gc.collect()
        for i in range(10):
            tf.reset_default_graph()
            session = tf.Session()
            session.run(tf.constant(float(i)) * tf.placeholder_with_default([2.0], [None]))
            in_a_cycle(session)
            del session
            gc.collect()
        print("done")
    """
    roots = [str(Path(tf.__file__).parent.parent / part) for part in ("", "compiler", "runtime")]
    code = f"import sys; sys.path[:0] = {roots!r}\n{textwrap.dedent(code)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr
