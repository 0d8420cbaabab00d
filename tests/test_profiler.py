"""Profiles and step statistics: their structure, what they count, and that nothing of it happens when nobody asks."""

from __future__ import annotations

import ctypes
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow.framework import errors
from graphflow.framework.dtypes import float16, float32, float64, int8, int64
from graphflow_compiler.codegen.jit.engine import compile_module
from graphflow_compiler.codegen.llvm.llvm_text import Target, host_target
from graphflow_compiler.planning import profile_entry
from graphflow_runtime.executor import native
from graphflow_runtime.executor.tracing import widest
from graphflow_runtime.native_code import roofline_text
from graphflow_runtime.profiling.roofline import Peaks, cache_sizes, computing_dtype

FULL = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)


@pytest.fixture(autouse=True)
def _new_graph() -> None:
    tf.reset_default_graph()


@pytest.fixture(autouse=True)
def _known_peaks(monkeypatch: pytest.MonkeyPatch) -> Peaks:
    """Round numbers in place of measured ones: 1 GFLOP/s, 10 GB/s in the cache, 1 GB/s from memory."""
    flops = {computing_dtype(d): 1e9 for d in (float32, float64, int8, int64)}
    known = Peaks(caches=(1 << 20,), flops=flops, bandwidths={1 << 20: 1e10, 0: 1e9})
    monkeypatch.setattr("graphflow_runtime.profiling.profile.peaks", lambda: known)
    return known


@pytest.fixture(params=["native", "reference"])
def new(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return lambda: tf.Session(backend=request.param)


def model() -> tuple[Any, Any, Any]:
    """Input, loss, train op."""
    x = tf.placeholder(tf.float32, [None, 8], name="x")
    w = tf.get_variable("w", initializer=np.full((8, 4), 0.1, np.float32))
    loss = tf.reduce_mean(tf.square(tf.tanh(tf.matmul(x, w)) - 1.0), name="loss")
    return x, loss, tf.train.GradientDescentOptimizer(0.1).minimize(loss)


def feed(x: Any, rows: int = 16) -> dict[Any, Any]:
    return {x: np.linspace(0, 1, rows * 8, dtype=np.float32).reshape(rows, 8)}


def the_plan(session: Any) -> Any:
    """The plan of the executable that was made last."""
    return list(list(session._executables.values())[-1].plans.values())[-1]


# ------------------------------------------------------------------------------------------------------------ Session.profile


def test_rows_are_the_steps_of_the_plan() -> None:
    x, loss, train = model()
    with tf.Session() as s:
        s.run(tf.global_variables_initializer())
        profile = s.profile([loss, train], feed(x), runs=3)
        plan = the_plan(s).plan
    sizes = plan.sizes([(16, 8)])
    assert profile.native and profile.runs == 3
    assert [(r.kind, r.ops) for r in profile.rows] == [(step.pattern, step.origin) for step in plan.steps]
    assert [r.step for r in profile.rows] == list(range(len(plan.steps)))
    assert profile.flops == plan.flops(sizes) > 0
    assert profile.bytes == plan.bytes(sizes) > 0
    assert all(r.microseconds > 0 for r in profile.rows)
    assert profile.microseconds == sum(r.microseconds for r in profile.rows)
    assert profile.run_microseconds > 0


def test_lines_are_the_users(new: Callable[..., Any]) -> None:
    x, loss, _ = model()
    with new() as s:
        s.run(tf.global_variables_initializer())
        profile = s.profile(loss, feed(x), runs=1)
    found = {name: line for r in profile.rows for name, line in zip(r.ops, r.lines, strict=True)}
    assert found["MatMul"].startswith("test_profiler.py:")
    assert found["MatMul"] == loss.graph.get_operation_by_name("MatMul").created_at.short()
    assert f"({found['loss']})" in str(profile)


def test_profiling_runs_really_run(new: Callable[..., Any]) -> None:
    v = tf.Variable(0.0)
    count = v.assign_add(1.0)
    with new() as s:
        s.run(v.initializer)
        s.profile(count, runs=4)
        assert s.run(v) == 5.0
        metadata = tf.RunMetadata()
        assert s.run(count, options=FULL, run_metadata=metadata) == 6.0
        assert s.stats.runs == 8


def test_results_are_those_of_other_runs(new: Callable[..., Any]) -> None:
    x, loss, train = model()
    named = tf.placeholder(tf.float32, ["n"], name="named")
    noise = tf.random_uniform([5])
    half = tf.cast(x, tf.bfloat16)
    unused = tf.placeholder(tf.float32, [])
    structure = {"loss": loss, "rest": (train, noise, x, named * 2.0, half)}
    feeds = {**feed(x), named: [1.0, 2.0], unused: 3.0}
    with new() as s:
        s.run(tf.global_variables_initializer())
        first = s.run(structure, feeds, options=FULL, run_metadata=tf.RunMetadata())
        second = s.run(structure, feeds)
        third = s.run(structure, feeds, options=FULL, run_metadata=tf.RunMetadata())
    assert first["loss"] > second["loss"] > third["loss"]
    assert first["rest"][0] is None and isinstance(first["loss"], np.floating)
    draws = [r["rest"][1] for r in (first, second, third)]
    assert not any(np.array_equal(a, b) for a, b in itertools.pairwise(draws))
    for i in (2, 3, 4):
        np.testing.assert_array_equal(first["rest"][i], second["rest"][i])
        assert first["rest"][i].dtype == second["rest"][i].dtype


def test_share_of_peak(_known_peaks: Peaks) -> None:
    a = tf.placeholder(tf.float32, [64, 64])
    b = tf.placeholder(tf.float32, [1 << 19])
    with tf.Session() as s:
        compute = s.profile(tf.matmul(a, a), {a: np.ones((64, 64), np.float32)}, runs=1).rows
        memory = s.profile(-b, {b: np.ones(1 << 19, np.float32)}, runs=1).rows
    gemm = max(compute, key=lambda r: r.flops)
    assert gemm.flops == 2 * 64**3 and gemm.bound == "compute"
    assert gemm.share == pytest.approx(2 * 64**3 / 1e9 / (gemm.microseconds / 1e6))
    (negative,) = memory
    assert negative.bytes == 2 * 4 << 19 and negative.bound == "memory"
    assert negative.share == pytest.approx((2 * 4 << 19) / 1e9 / (negative.microseconds / 1e6))


def test_table() -> None:
    x, loss, train = model()
    with tf.Session() as s:
        s.run(tf.global_variables_initializer())
        profile = s.profile([loss, train], feed(x), runs=2)
    head, names, *rows, peaks = str(profile).splitlines()
    assert head.startswith(f"{len(profile.rows)} kernels, ") and head.endswith("medians of 2 runs")
    assert names.split() == ["us", "time", "flops", "bytes", "of", "peak", "bound", "by", "kernel", "operations"]
    times = [float(row.split()[0].replace(",", "")) for row in rows]
    assert len(times) == len(profile.rows) and times == sorted(times, reverse=True)
    at = names.index("operations")
    assert all(row[at - 1] == " " and row[at] != " " for row in rows)
    assert peaks.startswith("peaks of one thread: float32 1.0 GFLOP/s")


def test_explain_has_the_share_of_each_kernel(new: Callable[..., Any]) -> None:
    x, loss, train = model()
    with new() as s:
        s.run(tf.global_variables_initializer())
        plain = tf.explain([loss, train], feed(x), s)
        profile = s.profile([loss, train], feed(x), runs=2)
        after = tf.explain([loss, train], feed(x), s)
        other = tf.explain(loss, feed(x), s)
    text = profile.explain()
    assert after == text and text.splitlines()[-1].startswith("times: medians of 2 runs")
    assert "took " not in plain and "took " not in other
    assert text.count("of peak, bound by") == sum(1 for r in profile.rows if r.bound)
    assert text.count("took ") == len(profile.rows)
    if profile.native:
        assert [line for line in text.splitlines() if not line.startswith(("  took ", "times: "))] == plain.splitlines()


def test_explain_says_of_which_sizes_the_times_are() -> None:
    x = tf.placeholder(tf.float32, [None, 8])
    y = tf.reduce_sum(tf.tanh(x), 1)
    with tf.Session() as s:
        s.profile(y, {x: np.ones((64, 8), np.float32)}, runs=2)
        assert tf.explain(y, session=s, feed_shapes={x: [2, 8]}).splitlines()[-1] == "times: medians of 2 runs with n0_0 = 64"


def test_explain_keeps_why_it_was_numpy() -> None:
    x = tf.placeholder(tf.float32, [4])
    y = tf.boolean_mask(x, x > 0.0)
    with tf.Session() as s:
        s.profile(y, {x: [1.0, -1.0, 2.0, 3.0]}, runs=2)
        text = tf.explain(y, session=s, feed_shapes={x: [4]})
    assert "runs on the host" in text and "took " in text


def test_nothing_to_do(new: Callable[..., Any]) -> None:
    x = tf.placeholder(tf.float32, [])
    with new() as s:
        profile = s.profile(x, {x: 1.0}, runs=2)
    assert profile.microseconds == profile.run_microseconds == 0.0
    assert str(profile).startswith("0 ")


def test_a_host_op_is_timed_in_numpy() -> None:
    x = tf.placeholder(tf.float64, [3])
    y = tf.py_func(lambda a: a + 1.0, [x], tf.float64) * 2.0
    with tf.Session() as s:
        profile = s.profile(y, {x: [1.0, 2.0, 3.0]}, runs=2)
    assert not profile.native
    assert [r.kind for r in profile.rows] == ["PyFunc", "Const", "Mul"]
    by_kind = {r.kind: r for r in profile.rows}
    assert by_kind["PyFunc"].flops == 0 and by_kind["PyFunc"].bytes == 48
    assert by_kind["Mul"].flops == 3 and by_kind["Mul"].bytes == 24 + 8 + 24
    assert all(r.microseconds > 0 for r in profile.rows)


def test_numpy_counts_like_the_compiler() -> None:
    x, w = tf.placeholder(tf.float32, [16, 8]), tf.Variable(np.ones((8, 4), np.float32))
    y = tf.reduce_sum(tf.nn.relu(tf.matmul(x, w)))
    totals = []
    for backend in ("native", "reference"):
        with tf.Session(backend=backend) as s:
            s.run(w.initializer)
            totals.append(s.profile(y, feed(x), runs=1).flops)
    assert totals[0] == totals[1] == 2 * 16 * 8 * 4 + 16 * 4 + 16 * 4


def test_sizes_may_change_between_profiles() -> None:
    x, loss, _ = model()
    with tf.Session() as s:
        s.run(tf.global_variables_initializer())
        small, large = (s.profile(loss, feed(x, rows), runs=1) for rows in (16, 32))
        assert s.stats.plans_compiled == 2  # the initializer's and this one
    assert large.flops > small.flops and len(large.rows) == len(small.rows)


def test_a_variable_that_changes_its_shape(new: Callable[..., Any]) -> None:
    v = tf.Variable(np.zeros(2, np.float32), validate_shape=False)
    p = tf.placeholder(tf.float32, [None])
    with new() as s:
        s.run(v.initializer)
        assert s.profile(v + 1.0, runs=1).rows
        s.run(tf.assign(v, p, validate_shape=False), {p: np.ones(5, np.float32)})
        assert max(r.bytes for r in s.profile(v + 1.0, runs=1).rows) >= 40


# --------------------------------------------------------------------------------------------------------------------- errors


def test_errors(new: Callable[..., Any]) -> None:
    x, loss, _ = model()
    with new() as s:
        with pytest.raises(ValueError, match="runs must be at least 1, got 0"):
            s.profile(loss, feed(x), runs=0)
        with pytest.raises(errors.UninitializedVariableError, match="uninitialized value w"):
            s.profile(loss, feed(x))
        with pytest.raises(errors.InvalidArgumentError, match="You must feed"):
            s.profile(loss)
        with pytest.raises(errors.FeedError, match="Cannot feed value of shape"):
            s.profile(loss, {x: np.ones((2, 3))})
        s.run(tf.global_variables_initializer())
        with pytest.raises(TypeError, match="run_metadata must be a RunMetadata, got dict"):
            s.run(loss, feed(x), options=FULL, run_metadata={})
        with pytest.raises(TypeError, match="options must be RunOptions, got int"):
            s.run(loss, feed(x), options=3, run_metadata=tf.RunMetadata())
        call = s.make_callable(loss, [x], accept_options=True)
        with pytest.raises(errors.FeedError, match="takes 1 values"):
            call(options=FULL, run_metadata=tf.RunMetadata())
    with pytest.raises(errors.SessionClosedError, match="closed Session"):
        s.profile(loss, feed(x))
    with pytest.raises(errors.SessionClosedError, match="closed Session"):
        call(feed(x)[x], options=FULL, run_metadata=tf.RunMetadata())


def test_a_kernel_that_fails(new: Callable[..., Any]) -> None:
    v = tf.Variable(1.0)
    i = tf.placeholder(tf.int32, [], name="i")
    row = tf.gather(tf.constant([1.0, 2.0]), i, name="row")
    update = v.assign(row * 2.0)
    metadata = tf.RunMetadata()
    with new() as s:
        s.run(v.initializer)
        with pytest.raises(errors.InvalidArgumentError, match="row"):
            s.run(update, {i: 7}, options=FULL, run_metadata=metadata)
        assert not metadata.step_stats.dev_stats
        with pytest.raises(errors.InvalidArgumentError, match="row"):
            s.profile(update, {i: 7})
        assert s.run(v) == 1.0
        assert s.run(update, {i: 1}, options=FULL, run_metadata=metadata) == 4.0


# ---------------------------------------------------------------------------------------------------------------- RunMetadata


def test_step_stats(new: Callable[..., Any]) -> None:
    x, loss, train = model()
    metadata = tf.RunMetadata()
    with new() as s:
        s.run(tf.global_variables_initializer())
        s.run([loss, train], feed(x), options=FULL, run_metadata=metadata)
        kernels = s.profile([loss, train], feed(x), runs=1).rows
    (device,) = metadata.step_stats.dev_stats
    assert device.device == "/job:localhost/replica:0/task:0/device:CPU:0"
    nodes = device.node_stats
    assert [n.node_name for n in nodes] == [r.ops[-1] for r in kernels]
    assert [n.details["flops"] for n in nodes] == [r.flops for r in kernels]
    for n in nodes:
        assert n.timeline_label.startswith(f"{n.node_name} = ")
        assert n.op_start_rel_micros == 0 and n.op_end_rel_micros == n.all_end_rel_micros >= 1
        assert n.all_end_rel_nanos >= 0 and n.thread_id == 0
        assert n.all_start_micros == n.all_start_nanos // 1000
    assert sum(n.all_end_rel_nanos for n in nodes) > 0
    starts = [n.all_start_nanos for n in nodes]
    assert starts == sorted(starts)
    assert all(a.all_start_nanos + a.all_end_rel_nanos <= b for a, b in zip(nodes, starts[1:], strict=False))


def test_timeline(new: Callable[..., Any]) -> None:
    x, loss, _ = model()
    metadata = tf.RunMetadata()
    with new() as s:
        s.run(tf.global_variables_initializer())
        s.run(loss, feed(x), options=FULL, run_metadata=metadata)
    line = tf.timeline.Timeline(metadata.step_stats)
    trace = json.loads(line.generate_chrome_trace_format(show_dataflow=True, show_memory=True))
    check_trace(trace, events=len(metadata.step_stats.dev_stats[0].node_stats))
    assert json.loads(tf.timeline.Timeline(tf.RunMetadata().step_stats).generate_chrome_trace_format())["traceEvents"] == []
    with pytest.raises(TypeError, match="step_stats must be"):
        tf.timeline.Timeline(metadata)  # type: ignore[arg-type]


def test_chrome_trace_file(new: Callable[..., Any], tmp_path: Path) -> None:
    x, loss, train = model()
    with new() as s:
        s.run(tf.global_variables_initializer())
        profile = s.profile([loss, train], feed(x), runs=3)
    path = tmp_path / "trace.json"
    profile.chrome_trace(path)
    trace = json.loads(path.read_text(encoding="utf-8"))
    check_trace(trace, events=3 * len(profile.rows))
    last = trace["traceEvents"][-1]
    assert last["args"]["run"] == 2
    assert last["args"]["lines"] == list(profile.rows[-1].lines) and "share of peak" in last["args"]
    with pytest.raises(OSError):
        profile.chrome_trace(tmp_path / "no such folder" / "trace.json")


def check_trace(trace: dict[str, Any], events: int) -> None:
    """The keys that the trace event format asks for."""
    assert trace["displayTimeUnit"] == "ns"
    names = {(e["name"], e["pid"], e["tid"]) for e in trace["traceEvents"] if e["ph"] == "M"}
    assert names == {("process_name", 0, 0), ("thread_name", 0, 0)}
    found = [e for e in trace["traceEvents"] if e["ph"] != "M"]
    assert len(found) == events
    for e in found:
        assert e["ph"] == "X" and e["cat"] == "Op" and e["pid"] == 0 and e["tid"] == 0
        assert e["ts"] >= 0 and e["dur"] >= 0 and isinstance(e["name"], str)
        assert {"operations", "flops", "bytes", "kernel", "run"} <= e["args"].keys()
    assert found[0]["ts"] == 0 and sum(e["dur"] for e in found) > 0


# ------------------------------------------------------------------------------------------------------------------------ off


def test_nothing_is_compiled_when_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def counted(plan: Any) -> str:
        made.append(plan)
        return profile_entry.profile_entry_text(plan)

    monkeypatch.setattr(native, "profile_entry_text", counted)
    x, loss, train = model()
    off = tf.RunOptions(trace_level=tf.RunOptions.NO_TRACE)
    metadata = tf.RunMetadata()
    with tf.Session() as s:
        s.run(tf.global_variables_initializer())
        for _ in range(3):
            s.run([loss, train], feed(x))
            s.run([loss, train], feed(x), options=FULL)
            s.run([loss, train], feed(x), run_metadata=metadata)
            s.run([loss, train], feed(x), options=off, run_metadata=metadata)
        assert not made and not metadata.step_stats.dev_stats
        compiled = the_plan(s)
        entry, kernels = compiled.entry, s.stats.kernels_compiled
        for _ in range(2):
            s.profile([loss, train], feed(x), runs=2)
        assert made == [compiled.plan]
        assert compiled.profiled.compiled == 0, "the kernels are those that the plan has"
        assert compiled.entry == entry != compiled.profiled.entry
        assert s.stats.kernels_compiled == kernels
        s.run([loss, train], feed(x))
        assert made == [compiled.plan]


def test_only_the_second_entry_reads_the_clock() -> None:
    x, loss, _ = model()
    with tf.Session() as s:
        s.run(tf.global_variables_initializer())
        s.run(loss, feed(x))
        plan = the_plan(s).plan
    assert "clock" not in plan.entry_text
    text = profile_entry.profile_entry_text(plan)
    assert text.count("call i64 @graphflow_clock()") == profile_entry.stamps_count(plan) == 2 + 2 * len(plan.steps)


# ---------------------------------------------------------------------------------------------------------------------- peaks


def test_peaks_are_measured_once() -> None:
    found = Peaks(caches=(32 << 10,))
    assert found.flops_of(float32) > 0 and found.bandwidth_of(1000) > 0
    assert found.flops_of(float16) is found.flops_of(float32)
    assert found.bandwidth_of(32 << 10) is found.bandwidth_of(1)
    assert list(found.flops) == [float32] and list(found.bandwidths) == [32 << 10]
    assert "float32 " in str(found) and "within 32 KiB" in str(found)


def test_least_time(_known_peaks: Peaks) -> None:
    assert _known_peaks.seconds(float32, 1000, 1000) == (1e-6, "compute")
    assert _known_peaks.seconds(float32, 1, 1000) == (1e-7, "memory")
    assert _known_peaks.seconds(float32, 1, 10**9) == (1.0, "memory")
    assert _known_peaks.seconds(float32, 0, 0) == (0.0, "")


def test_cache_sizes() -> None:
    sizes = cache_sizes()
    assert sizes and list(sizes) == sorted(sizes) and sizes[0] >= 1024


def test_what_sets_the_speed_of_arithmetic() -> None:
    assert widest([int64, float32]) is float32 and widest([float32, float64]) is float64
    assert widest([int8, int64]) is int64 and widest([]) is float32
    assert computing_dtype(float16) is float32 and computing_dtype(int8).name == "int32"


@pytest.mark.parametrize("dtype", [float32, float64, computing_dtype(int8), int64])
@pytest.mark.parametrize("fma", [True, False])
def test_arithmetic_kernel(dtype: Any, fma: bool) -> None:
    host = host_target()
    target = host if fma else Target(host.cpu, "", 128, 16)
    engine = compile_module([roofline_text.arithmetic_text(dtype, target)], target)
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(engine.address("arithmetic"))
    factors = np.array([2, 1], dtype.numpy_dtype)
    out = np.zeros(roofline_text.lanes_of(dtype, target), dtype.numpy_dtype)
    call(factors.ctypes.data, out.ctypes.data, 3)
    once = ((2 * 2 + 1) * 2 + 1) * 2 + 1
    assert set(out.tolist()) == {roofline_text.chains(target) * once}


def test_traffic_kernel() -> None:
    target = host_target()
    count = 2 * roofline_text.TRAFFIC_UNROLL * target.vector_bits // 32
    engine = compile_module([roofline_text.traffic_text(target)])
    kinds = [ctypes.c_void_p] * 3 + [ctypes.c_int64] * 2
    call = ctypes.CFUNCTYPE(None, *kinds)(engine.address("traffic"))
    block = np.zeros(3 * count + 16, np.float32)
    start = (-block.ctypes.data % 64) // 4
    a, b, c = (block[start + k * count : start + (k + 1) * count] for k in range(3))
    b[:], c[:] = np.arange(count), 2.0
    call(a.ctypes.data, b.ctypes.data, c.ctypes.data, count, 2)
    np.testing.assert_array_equal(a, np.arange(count) + 6.0)
