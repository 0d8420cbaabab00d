"""Pictures: the DOT text is valid, says what it should, and is the same for the same graph."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pydot
import pytest

import graphflow as tf
from graphflow.framework.shapes import size
from graphflow.viz import KernelBox, kernels_to_dot, render, save_picture, save_svg, to_dot

try:
    import pygraphviz
except ImportError:
    pygraphviz = None
needs_graphviz = pytest.mark.skipif(pygraphviz is None and shutil.which("dot") is None, reason="needs Graphviz")


def small_network() -> tf.Graph:
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 8], name="x")
        labels = tf.placeholder(tf.float32, ["batch", 4], name="labels")
        h = x
        for i, units in enumerate((6, 4)):
            with tf.variable_scope(f"layer{i}"):
                w = tf.get_variable("w", [h.shape[1], units])
                b = tf.get_variable("b", [units], initializer=tf.zeros_initializer())
                h = tf.tanh(tf.matmul(h, w) + b)
        with tf.name_scope("loss"):
            loss = tf.reduce_mean(tf.square(h - labels))
        tf.train.GradientDescentOptimizer(0.1).minimize(loss)
        tf.global_variables_initializer()
    return graph


def parsed(dot: str) -> Any:
    (graph,) = pydot.graph_from_dot_data(dot)
    return graph


def plain(text: str | None) -> str:
    return (text or "").strip('"').strip()


def nodes(graph: Any) -> dict[str, dict[str, str]]:
    """All nodes of a parsed DOT text by id, those of clusters included."""
    found = {}
    todo = [graph]
    while todo:
        g = todo.pop()
        todo += g.get_subgraphs()
        for n in g.get_nodes():
            if plain(n.get_name()) not in ("graph", "node", "edge"):
                found[plain(n.get_name())] = {k: plain(v) for k, v in n.get_attributes().items()}
    return found


def edges(graph: Any) -> dict[tuple[str, str], dict[str, str]]:
    return {
        (plain(e.get_source()), plain(e.get_destination())): {k: plain(v) for k, v in e.get_attributes().items()}
        for e in graph.get_edges()
    }


def clusters(graph: Any) -> set[str]:
    found, todo = set(), [graph]
    while todo:
        g = todo.pop()
        todo += g.get_subgraphs()
        found |= {plain(s.get_name()) for s in g.get_subgraphs()}
    return found


def test_the_picture_of_a_network() -> None:
    graph = parsed(to_dot(small_network()))
    shown, lines = nodes(graph), edges(graph)
    assert {"cluster_layer0/", "cluster_layer1/", "cluster_loss/", "cluster_gradients/"} <= clusters(graph)
    assert shown["layer0/w"]["peripheries"] == "2" and shown["layer0/w"]["label"] == "w\\nfloat32 (8, 6)"
    assert not {"layer0/w/Assign", "layer0/w/read", "init"} & shown.keys()  # drawn as part of the variable
    assert not [n for n in shown if "Initializer" in n]
    assert lines["x", "layer0/MatMul"]["label"] == "float32 (?, 8)"
    assert lines["layer0/w", "layer0/MatMul"]["label"] == "float32 (8, 6)"
    assert lines["labels", "loss/sub"]["label"] == "float32 (batch, 4)"
    gradient = [n for n in shown if n.startswith("gradients/")]
    assert gradient and all("dashed" in shown[n]["style"] for n in gradient)
    assert not any("dashed" in shown[n]["style"] for n in shown if n not in gradient and "style" in shown[n])
    assert shown["x"]["fillcolor"] != shown["layer0/MatMul"]["fillcolor"] != shown["layer0/Tanh"]["fillcolor"]
    assert shown["GradientDescent"]["label"].endswith("updating\\nlayer0/b\\nlayer0/w\\nlayer1/b\\nlayer1/w")
    assert [style["label"] for (a, b), style in lines.items() if b == "GradientDescent"].count("float32 (8, 6)") == 1


def test_the_picture_of_an_optimizer() -> None:
    lines = edges(parsed(to_dot(small_network(), optimizers="full")))
    dotted = [pair for pair, style in lines.items() if style.get("style") == "dotted"]
    assert dotted and all(b.startswith("GradientDescent") for _, b in dotted)
    both = [a for (a, b), style in lines.items() if style.get("dir") == "both"]
    assert sorted(both) == ["layer0/b", "layer0/w", "layer1/b", "layer1/w"]


def test_options() -> None:
    graph = small_network()
    assert to_dot(graph) == to_dot(small_network())
    full = nodes(parsed(to_dot(graph, variables="full", optimizers="full")))
    assert set(full) == {op.name for op in graph.get_operations()}
    folded = nodes(parsed(to_dot(graph, gradients="folded")))
    assert [n for n in folded if n.startswith("gradients")] == ["gradients"]
    assert re.fullmatch(r"gradients\\n\d+ operations", folded["gradients"]["label"])
    assert "dashed" in folded["gradients"]["style"]
    assert not [n for n in nodes(parsed(to_dot(graph, gradients="hidden"))) if "gradients" in n]
    some = [op for op in graph.get_operations() if op.name.startswith("loss/")]
    assert set(nodes(parsed(to_dot(graph, some)))) == {op.name for op in some}
    collapsed = parsed(to_dot(graph, collapse=True))
    assert {"layer0", "layer1", "loss", "gradients"} <= nodes(collapsed).keys() and not clusters(collapsed)
    assert edges(collapsed)["x", "layer0"]["label"] == "float32 (?, 8)"
    assert "cluster_ legend" in clusters(parsed(to_dot(graph, legend=True)))
    with pytest.raises(ValueError, match="gradients must be"):
        to_dot(graph, gradients="maybe")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="optimizers must be"):
        to_dot(graph, optimizers="maybe")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="variables must be"):
        to_dot(graph, variables="maybe")  # type: ignore[arg-type]


def test_large_graphs_are_folded() -> None:
    with tf.Graph().as_default() as graph:
        t = tf.placeholder(tf.float32, [2])
        for i in range(40):
            with tf.name_scope(f"block{i}"), tf.name_scope("inner"):
                for _ in range(20):
                    t = tf.tanh(t)
    shown = nodes(parsed(to_dot(graph)))
    assert len(shown) == 41 and shown["block7/inner"]["label"].endswith("inner\\n20 operations")
    assert to_dot(graph, collapse=False).count("tooltip=") == 801


def test_a_deep_nest_of_scopes_and_a_long_chain() -> None:
    """No recursion over graphs or scopes."""
    with tf.Graph().as_default() as graph:
        t = tf.placeholder(tf.float32, [])
        name = "/".join(["s"] * 1500)
        a = tf.negative(t, name=name + "/a")
        tf.negative(a, name=name + "/b")
        for _ in range(2000):
            t = tf.negative(t)
    text = to_dot(graph, collapse=False)
    assert text.count("subgraph") == 1500 and text.count("{") == text.count("}")


def test_odd_names_and_values() -> None:
    with tf.Graph().as_default() as graph:
        a = tf.constant(['a "quoted" \\ <b>\n\x00'], name="A.b\\c-d>e")
        tf.identity(a, name="B")
        with tf.control_dependencies([a]):
            tf.constant(np.zeros((2, 2)), name="x" * 3000)
        tf.constant(3, name="alone")
    dot = to_dot(graph)
    graph = parsed(dot)
    assert len(nodes(graph)) == 4
    assert nodes(graph)["alone"]["label"] == "alone\\n3"
    assert all(len(n["label"]) < 200 for n in nodes(graph).values())
    if pygraphviz is not None:
        names = set(pygraphviz.AGraph(string=dot).nodes())
        assert "alone" in names and len(names) == 4


def test_empty_graph() -> None:
    assert nodes(parsed(to_dot(tf.Graph()))) == {}
    assert kernels_to_dot([]).startswith("digraph")


# ---------------------------------------------------------------------------------------------- kernels


KERNELS = [
    KernelBox(
        name="k0_gemm",
        kind="contraction",
        operations=("layer0/MatMul", "layer0/add", "layer0/Tanh"),
        reads=("x", "w0", "b0"),
        writes=("h0",),
        bytes=12345,
        flops=10**6,
        microseconds=8.5,
    ),
    KernelBox(
        name="k1_gemm",
        kind="contraction",
        operations=("layer1/MatMul <&>",),
        reads=("h0", "w1"),
        writes=("h1",),
        bytes=size("n") * 4,
        microseconds=2.5,
    ),
    KernelBox(
        name="k2",
        kind="elementwise",
        operations=tuple(f"update_{i}" for i in range(20)),
        reads=("h0", "h1"),
        writes=("loss",),
        updates=("w0", "w1"),
        bytes=10,
        flops=20,
        microseconds=0.1,
    ),
]


def test_kernels_view() -> None:
    text = kernels_to_dot(KERNELS, {"h0": "float32 (?, 6)"}, title="one step")
    graph = parsed(text)
    lines = edges(graph)
    assert lines["k0", "k1"]["label"] == "float32 (?, 6)" == lines["k0", "k2"]["label"]
    assert ("k1", "k2") in lines and sum(b == "k0" for _, b in lines) == 3
    assert [a for a, b in lines if b.startswith("out")] == ["k2"]
    box = nodes(graph)["k0"]["label"]
    for part in ("contraction", "k0_gemm", "layer0/Tanh", "12.1 kiB", "1 Mflop", "8.5 µs"):
        assert part in box
    assert "layer1/MatMul &lt;&amp;&gt;" in nodes(graph)["k1"]["label"] and "4*n B" in nodes(graph)["k1"]["label"]
    last = nodes(graph)["k2"]["label"]
    assert "and 8 more" in last and "updates w0, w1" in last
    assert text == kernels_to_dot(KERNELS, {"h0": "float32 (?, 6)"}, title="one step")


def test_a_buffer_that_is_written_twice() -> None:
    """The reader sees the last write before it."""
    boxes = [
        KernelBox("a", "copy", writes=("t",)),
        KernelBox("b", "copy", reads=("t",), writes=("t",)),
        KernelBox("c", "copy", reads=("t",)),
    ]
    assert [(a, b) for a, b in edges(parsed(kernels_to_dot(boxes)))] == [("k0", "k1"), ("k1", "k2")]


# ---------------------------------------------------------------------------------------------- drawing


@needs_graphviz
def test_drawing(tmp_path: Path) -> None:
    graph = small_network()
    svg = Path(save_svg(graph, tmp_path / "g.svg", gradients="folded")).read_text()
    assert "<svg" in svg and "layer0" in svg and "dasharray" in svg
    assert Path(save_picture(graph, tmp_path / "g.png")).read_bytes().startswith(b"\x89PNG")
    assert Path(save_picture(graph, tmp_path / "g.dot")).read_text() == to_dot(graph)
    assert b"<svg" in render(kernels_to_dot(KERNELS, title="a <title> & more"))
    with pytest.raises(ValueError, match="must end in its format"):
        save_picture(graph, tmp_path / "g")
    with pytest.raises(ValueError, match="no pictures can be drawn as"):
        render("digraph {}", "nonsense")


def test_without_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pygraphviz", None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ImportError, match=r"graphflow\[viz\]"):
        render("digraph {}")


def test_to_networkx() -> None:
    graph = small_network()
    g = graph.to_networkx()
    assert set(g) == {op.name for op in graph.get_operations()}
    assert g.nodes["layer0/MatMul"]["type"] == "MatMul"
    assert networkx.is_directed_acyclic_graph(g)
    assert networkx.has_path(g, "x", "GradientDescent")
    data = [(a, b, d["slot"]) for a, b, d in g.edges(data=True) if not d["control"]]
    assert ("x", "layer0/MatMul", 0) in data and ("layer0/w/read", "layer0/MatMul", 1) in data
    assert len(data) == sum(len(op.inputs) for op in graph.get_operations())
    order = {op.name: i for i, op in enumerate(graph.get_operations())}
    assert all(order[a] < order[b] for a, b in g.edges())


def test_the_kernels_of_a_plan() -> None:
    """Every kernel with its ops, variables told in the box, arrows only where data go from one to the next."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 3], name="x")
        w = tf.get_variable("w", [3, 2])
        y = tf.nn.relu(tf.matmul(x, w), name="y")
        train = tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(y * y))
    with tf.Session(graph=graph) as session:
        text = tf.plan_to_dot([y, train], session=session, feed_shapes={x: (5, 3)}, title="step")
        boxes = [line for line in text.splitlines() if line.startswith("  k") and " -> " not in line]
        assert len(boxes) == session.explain([y, train], feed_shapes={x: (5, 3)}).count("\nstep ")
        assert "reads w" in text and "updates w" in text and "MatMul" in boxes[0]
        assert "y:0 (fetched)" in text and "float32 (5, 3)" in text and "n0_" not in text
        arrows = [line.split()[0::2][:2] for line in text.splitlines() if " -> " in line]
        assert all(a != b for a, b in arrows) and ["in0", "k0"] in arrows
        with pytest.raises(tf.errors.UnimplementedError, match="no kernels to draw"):
            tf.plan_to_dot(tf.where(y > 0.0), session=session, feed_shapes={x: (5, 3)})


def test_the_kernels_drawn_are_those_of_the_shapes_given() -> None:
    """Sizes of 1, and sizes that go together only by chance, have plans of their own."""
    with tf.Graph().as_default(), tf.Session() as session:
        w = tf.placeholder(tf.float32, [None, None])
        total = tf.reduce_sum(tf.nn.softmax(w), 0)
        for shape in ((1, 4), (5, 4), (1, 4)):
            steps = len(session.profile(total, {w: np.ones(shape, np.float32)}, runs=2).rows)
            text = tf.plan_to_dot(total, session=session, feed_shapes={w: shape})
            assert len([n for n in text.splitlines() if n.startswith("  k") and " -> " not in n]) == steps
        a, b = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.float32, [None])
        product = tf.reshape(a, [-1, 2]) * tf.reshape(b, [-1, 2])
        for n, m in ((8, 2), (6, 6), (10, 2)):
            text = tf.plan_to_dot(product, session=session, feed_shapes={a: (n,), b: (m,)})
            assert f"float32 ({n},)" in text and f"float32 ({m},)" in text
        with pytest.raises(tf.errors.InvalidArgumentError, match="2"):
            tf.plan_to_dot(product, session=session, feed_shapes={a: (8,), b: (4,)})
