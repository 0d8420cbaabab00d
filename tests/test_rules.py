"""Rewrite rules: each fires where it should and not elsewhere, keeps the names of what it removes, and floats as it says."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow.framework.kinds import Elementwise, View
from graphflow_compiler.frontend import Signature, build_program
from graphflow_compiler.ir import program as program_ir
from graphflow_compiler.ir.program import Program, Value, constant_array, is_constant
from graphflow_compiler.passes import pipeline
from graphflow_compiler.passes.patterns import Anything, Constant, Either, Input, P, Some
from graphflow_compiler.passes.pipeline import Dump, run_passes
from graphflow_compiler.passes.rewrite import Match, PassContext, Replacement, Rule, apply_rules, rule
from graphflow_compiler.planning import planner
from tests.rule_cases import CASES, SHAPE, RuleCase

ROOT = Path(__file__).resolve().parent.parent
PASSES = ROOT / "compiler" / "graphflow_compiler" / "passes"
RULES = {r.name: r for p in pipeline.CPU for r in p.rules}
NAMES = sorted(RULES)


def program_of(build: Any) -> Program:
    """The program of what `build` makes of x, before any pass."""
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, SHAPE, name="x")
        made = build(x)
        return build_program(Signature(tuple(made) if isinstance(made, list) else (made,), (x,), (SHAPE,), {}))


def case(name: str) -> RuleCase:
    assert name in CASES, f"the rule {name} needs an entry in tests/rule_cases.py"
    return CASES[name]


def expression(v: Value) -> str:
    """A value of a small program as ``Mul(x, 2.0)``; attributes that are True are told."""
    node = v.node
    if is_constant(v):
        array = constant_array(v)
        return str(array[()]) if array.ndim == 0 else f"constant{array.shape}"
    if not node.inputs:
        return node.origin[-1]
    flags = [f for f in getattr(type(node.attrs), "__dataclass_fields__", ()) if getattr(node.attrs, f) is True]
    return f"{node.op.name}({', '.join([*map(expression, node.data_inputs), *flags])})"


# ---------------------------------------------------------------------------------------------- each rule of the pipeline


def test_every_case_is_of_a_rule() -> None:
    assert sorted(CASES) == NAMES
    passes: dict[str, set[int]] = {}
    for p in pipeline.CPU:
        for r in p.rules:
            passes.setdefault(r.name, set()).add(id(r))
    assert all(len(found) == 1 for found in passes.values()), "two rules have one name"


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_fires_where_it_should(name: str) -> None:
    before, ctx = program_of(case(name).fires), PassContext(fuel=-1)
    after = apply_rules(before, (RULES[name],), ctx)
    program_ir.verify(after)
    assert [expression(v) for v in after.outputs] == [case(name).after]
    assert ctx.fired[name] >= 1
    assert expression(before.outputs[0]) != case(name).after


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_stays_away_where_it_must(name: str) -> None:
    before, ctx = program_of(case(name).stays), PassContext(fuel=-1)
    after = apply_rules(before, (RULES[name],), ctx)
    assert not ctx.fired and program_ir.to_text(after) == program_ir.to_text(before)
    assert {m.reason for m in ctx.near_misses[name]} == ({case(name).reason} if case(name).reason else set())


@pytest.mark.parametrize("name", NAMES)
def test_fuel_is_the_number_of_firings(name: str) -> None:
    before = program_of(case(name).fires)
    ctx = PassContext(fuel=-1)
    apply_rules(before, (RULES[name],), ctx)
    for fuel in range(ctx.fired[name] + 1):
        limited = PassContext(fuel=fuel)
        after = apply_rules(before, (RULES[name],), limited)
        assert limited.fired.total() == fuel and limited.fuel == 0
        assert (program_ir.to_text(after) == program_ir.to_text(before)) == (fuel == 0)


@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_removed_op_is_lost(name: str) -> None:
    before = program_of(case(name).fires)
    after = apply_rules(before, (RULES[name],), PassContext(fuel=-1))
    kept = {name for n in after.nodes for name in n.origin} | {name for names in after.aliases.values() for name in names}
    assert kept == {name for n in before.nodes for name in n.origin}


# ---------------------------------------------------------------------------------------------- floats

PAGE = ROOT / "docs" / "float-rewrites.md"
ROWS = {
    m[1]: (m[2], m[3])
    for m in re.finditer(r"^\| `(\w+)` \| (.*?) \| (no(?:, but .*?)?|yes: .*?) \| .* \|$", PAGE.read_text(), re.MULTILINE)
}


def test_every_rule_is_on_the_page_of_float_rewrites() -> None:
    """With its rewrite as the rule itself tells it."""
    assert {name: row[0] for name, row in ROWS.items()} == {name: r.rewrite for name, r in RULES.items()}


def numbers() -> np.ndarray[Any, Any]:
    """Many arrays of the shape of x, with zeros, infinities, NaN and numbers near the ends of the range among them."""
    tiny, large = np.float32(1e-45), np.finfo(np.float32).max
    some = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, tiny, -tiny, large, -large, 1.0, -0.5, 2.5, 3.5], np.float32)
    rng = np.random.default_rng(0)
    return np.where(rng.random((40, *SHAPE)) < 0.4, rng.choice(some, (40, *SHAPE)), rng.normal(size=(40, *SHAPE))).astype(
        np.float32
    )


@pytest.mark.parametrize("name", [name for name in NAMES if ROWS.get(name, ("", ""))[1].startswith("no")])
def test_rules_that_leave_floats_alone_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rest = tuple(
        replace(p, run=partial(apply, tuple(r for r in p.rules if r.name != name))) if p.rules else p for p in pipeline.CPU
    )
    monkeypatch.setenv("GRAPHFLOW_CACHE_DIR", "")
    results = []
    for passes in (pipeline.CPU, rest):
        monkeypatch.setattr(planner, "run_passes", partial(run_passes, passes=passes))
        with tf.Graph().as_default(), tf.Session() as session:
            x = tf.placeholder(tf.float32, SHAPE, name="x")
            y = case(name).fires(x)
            results.append([session.run(y, {x: a}) for a in numbers()])
            assert session.stats.plans_compiled == 1
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        np.testing.assert_array_equal(np.where(np.isnan(a), 0, a).view(np.uint8), np.where(np.isnan(b), 0, b).view(np.uint8))


def apply(rules: tuple[Rule, ...], program: Program, ctx: PassContext) -> Program:
    return apply_rules(program, rules, ctx)


# ---------------------------------------------------------------------------------------------- names


def simplified(build: Any) -> Program:
    return run_passes(program_of(build), PassContext(fuel=-1), Dump(None))


def origin_of(program: Program, op: str) -> tuple[str, ...]:
    (node,) = [n for n in program.nodes if n.op.name == op]
    return node.origin


def test_what_stands_in_the_place_of_ops_has_their_names() -> None:
    twice = simplified(lambda x: tf.nn.relu(tf.nn.relu(x, name="inner"), name="outer"))
    assert set(origin_of(twice, "Relu")) == {"inner", "outer"}
    turned = simplified(lambda x: tf.matmul(tf.transpose(tf.identity(x, name="same"), name="turned"), x, name="product"))
    assert origin_of(turned, "MatMul") == ("same", "turned", "product")  # the last is the op that runs
    folded = simplified(lambda x: tf.exp(x + tf.multiply(tf.constant(2.0, name="c"), 3.0, name="folded"), name="e"))
    assert origin_of(folded, "AddV2") == ("c", "folded/y", "folded", "add") and origin_of(folded, "Exp") == ("e",)


def test_names_of_what_comes_to_a_feed_go_to_its_readers() -> None:
    def build(x: Any) -> Any:
        scaled = tf.multiply(x, 1.0, name="scaled")
        return [tf.exp(scaled, name="a"), tf.sin(x, name="b"), tf.reshape(scaled, [6], name="flat"), scaled, x]

    program = simplified(build)
    assert origin_of(program, "Exp") == ("scaled/y", "scaled", "a")
    assert origin_of(program, "Sin") == ("b",) and origin_of(program, "_Feed") == ("x",)
    assert dict(program.aliases) == {2: ("scaled/y", "scaled"), 3: ("scaled/y", "scaled")}
    read = simplified(lambda x: tf.nn.relu(tf.reshape(tf.multiply(x, 1.0, name="scaled"), [6], name="flat"), name="r"))
    assert origin_of(read, "Relu") == ("scaled/y", "scaled", "r")


def test_what_somebody_else_needs_keeps_its_name_for_itself() -> None:
    def build(x: Any) -> Any:
        turned = tf.transpose(x, name="turned")
        return [tf.matmul(turned, x, name="product"), tf.exp(turned, name="e")]

    program = simplified(build)
    assert origin_of(program, "MatMul") == ("product",) and origin_of(program, "Transpose") == ("turned",)


def test_equal_constants_do_not_carry_names_to_strangers() -> None:
    """1.0 is one constant for both products, with the name of the first."""

    def build(x: Any) -> Any:
        first = tf.exp(tf.multiply(x, 1.0, name="a"))
        return [first, tf.sin(tf.multiply(1.0, tf.cos(x), name="b")), tf.divide(x, 1.0, name="c")]

    program = simplified(build)
    assert origin_of(program, "Exp")[0] == "a" and origin_of(program, "Cos")[0] == "b"
    assert dict(program.aliases) == {2: ("c",)}


def test_what_updates_share_does_not_carry_names_to_strangers() -> None:
    """1 - beta is the same for all variables: folded, it has the names of all their updates."""
    with tf.Graph().as_default():
        a, b = (tf.get_variable(name, [size]) for name, size in (("a", 3), ("b", 5)))
        train = tf.train.AdamOptimizer().minimize(tf.reduce_sum(a * a) + tf.reduce_sum(b * b))
        program = run_passes(build_program(Signature((train,), (), (), {})), PassContext(fuel=-1), Dump(None))
    names: dict[Any, set[str]] = {n.types[0].shape: set() for n in program.nodes}
    for n in program.nodes:
        names[n.types[0].shape].update(n.origin)
    assert "Adam/update_a/ApplyAdam" in names[3,] and "Adam/update_b/ApplyAdam" in names[5,]
    assert "Adam/update_b/ApplyAdam" not in names[3,] and "Adam/update_a/ApplyAdam" not in names[5,]
    assert {"Adam/update_a/ApplyAdam", "Adam/update_b/ApplyAdam"} <= names[()]


def test_names_do_not_depend_on_how_often_a_rebuild_is_needed() -> None:
    def build(x: Any) -> Any:
        y = x
        for i in range(40):
            y = tf.multiply(tf.negative(tf.negative(y, name=f"n{i}"), name=f"m{i}"), 1.0, name=f"p{i}")
        return tf.exp(y, name="e")

    names = origin_of(simplified(build), "Exp")
    assert {f"{k}{i}" for k in "nmp" for i in range(40)} < set(names) and names[-1] == "e"


def test_equal_values_keep_their_keys() -> None:
    """Names are no part of what a value is: two ways to write one thing are one node, and one kernel."""
    program = simplified(lambda x: [tf.exp(x * 1.0, name="a"), tf.exp(tf.negative(-x), name="b"), tf.exp(x, name="c")])
    assert len([n for n in program.nodes if n.op.name == "Exp"]) == 1
    assert set(origin_of(program, "Exp")) >= {"a", "b", "mul", "Neg", "Neg_1"}


@pytest.fixture(params=["relu", "scaled", "returned"])
def renamed(request: pytest.FixtureRequest) -> Any:
    """How to build something of which a rewrite removes ops, and the names of all."""
    builds: dict[str, Any] = {
        "relu": (lambda x: tf.nn.relu(tf.nn.relu(x, name="inner"), name="outer"), {"inner", "outer"}),
        "scaled": (lambda x: tf.exp(tf.multiply(x, 1.0, name="scaled"), name="e"), {"scaled", "scaled/y", "e"}),
        "returned": (lambda x: tf.multiply(x, 1.0, name="scaled"), {"scaled", "scaled/y"}),
    }
    return builds[request.param]


def test_explain_and_pictures_show_the_names(renamed: Any) -> None:
    build, names = renamed
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, SHAPE, name="x")
        y = build(x)
        text = session.explain(y, feed_shapes={x: SHAPE})
        picture = tf.plan_to_dot(y, session=session, feed_shapes={x: SHAPE})
        profile = session.profile(y, {x: np.ones(SHAPE, np.float32)}, runs=2).explain()
    for name in names:
        for shown in (text, picture, profile):
            assert re.search(rf"(?<![\w/]){name}(?![\w/])", shown), f"{name} is not in:\n{shown}"


def test_dumps_show_the_names(renamed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build, names = renamed
    monkeypatch.setenv("GRAPHFLOW_DUMP", str(tmp_path))
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, SHAPE, name="x")
        session.run(build(x), {x: np.ones(SHAPE, np.float32)})
    for level in ("simplify", "plan", "explain"):
        (file,) = tmp_path.rglob(f"*_{level}.txt")
        words = set(re.split(r"[\s,]+", file.read_text()))
        assert names <= words, f"{level}: {file.read_text()}"


@pytest.mark.parametrize(
    ("build", "names"),
    [
        (lambda x: tf.nn.relu(tf.nn.relu(x, name="inner"), name="outer"), {"inner", "outer"}),
        (lambda x: tf.multiply(x, 1.0, name="scaled"), {"scaled"}),
    ],
)
def test_errors_of_a_run_show_the_names(build: Any, names: set[str]) -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, SHAPE, name="x")
        y = tf.check_numerics(build(x), "not finite", name="checked")
        with pytest.raises(tf.errors.InvalidArgumentError) as e:
            session.run(y, {x: np.full(SHAPE, np.inf, np.float32)})
    assert e.value.op is not None and e.value.op.name == "checked"
    (fused,) = re.findall(r"fused into the kernel of (.*)", str(e.value))
    assert names | {"checked"} <= set(fused.split(", "))


def test_the_op_that_fails_is_named_whatever_it_has_taken_over() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, SHAPE, name="x")
        y = tf.multiply(tf.check_numerics(x, "not finite", name="checked"), 1.0, name="scaled")
        with pytest.raises(tf.errors.InvalidArgumentError, match="scaled") as e:
            session.run(y, {x: np.full(SHAPE, np.inf, np.float32)})
    assert e.value.op is not None and e.value.op.name == "checked"


# ---------------------------------------------------------------------------------------------- near misses


def test_explain_says_why_a_rule_did_not_fire() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 3])
        y = x
        for i in range(6):
            y = tf.add(tf.exp(y), 0.0, name=f"plus{i}")
        text = session.explain(y, feed_shapes={x: SHAPE})
        line = "not rewritten: plus0, plus1, plus2, plus3 and 2 more: identity_element_to_operand: it turns -0.0 into 0.0"
        assert text.splitlines()[-1] == line
        assert "not rewritten" not in session.explain(tf.exp(x * 1.0), feed_shapes={x: SHAPE})


# ---------------------------------------------------------------------------------------------- patterns and the driver


def ways(pattern: P, build: Any) -> list[dict[str, str]]:
    node = program_of(build).outputs[0].node
    assert pattern.may_be(node.op)
    return [{k: v if isinstance(v, int) else expression(v) for k, v in way.items()} for way in pattern.ways_of(node)]


def test_patterns() -> None:
    product = P(Elementwise, Input("x"), Constant("c"), has="identity")
    assert ways(product, lambda x: x * 2.0) == ways(product, lambda x: 2.0 * x) == [{"x": "x", "c": "2.0"}]
    assert ways(product, lambda x: x - 2.0) == [{"x": "x", "c": "2.0"}]
    assert ways(product, lambda x: 2.0 - x) == []  # a difference does not commute
    both = P("Mul", Input("a"), Input("b"))
    assert ways(both, lambda x: x * tf.exp(x)) == [{"a": "x", "b": "Exp(x)"}, {"a": "Exp(x)", "b": "x"}]
    nested = P("AddV2", Input("a"), P("Mul", Input("b"), Constant("c"), bind="p"))
    assert ways(nested, lambda x: 2.0 * tf.exp(x) + x) == [{"a": "x", "b": "Exp(x)", "c": "2.0", "p": "Mul(2.0, Exp(x))"}]
    assert ways(P(View, Input("x"), ...), lambda x: tf.reshape(x, [6])) == [{"x": "x"}]
    assert ways(P(View, Input("x")), lambda x: tf.reshape(x, [6])) == []
    some = P("AddN", Some(Either(Constant("x"), P("Exp", Input("x"))), at="i"))
    assert ways(some, lambda x: tf.add_n([x, tf.exp(x), tf.ones(SHAPE)])) == [
        {"x": "x", "i": 1},
        {"x": "constant(2, 3)", "i": 2},
    ]
    assert ways(P("Mul", Anything(), Constant("c")), lambda x: x * 3.0) == [{"c": "3.0"}]
    relu = program_of(tf.nn.relu).outputs[0].node.op
    assert P(has="idempotent").may_be(relu) and not P(has="identity").may_be(relu) and not P(View).may_be(relu)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: P("Mul", Input("x"), Input("x")),
        lambda: P("Mul", ..., Input("x")),
        lambda: P("Mul", Some(Input("x"), at="i"), Input("y")),
        lambda: Either(Input("x"), Input("y")),
    ],
)
def test_patterns_that_cannot_be(wrong: Any) -> None:
    with pytest.raises(TypeError):
        wrong()


def test_rules_that_cannot_be() -> None:
    def a_to_b(m: Match, x: Value) -> Replacement:
        """a -> b"""
        return x

    def nameless(m: Match, x: Value) -> Replacement:
        """a -> b"""
        return x

    def c_to_d(m: Match, x: Value) -> Replacement:
        return x

    assert rule(P("Exp", Input("x")))(a_to_b).rewrite == "a -> b"
    for pattern, function in (
        (P("Exp", Input("y")), a_to_b),
        (P("Exp"), a_to_b),
        (P("Exp", Input("x")), nameless),
        (P("Exp", Input("x")), c_to_d),
    ):
        with pytest.raises(TypeError, match=r"rule \w+"):
            rule(pattern)(function)


def test_a_rule_must_not_change_a_type() -> None:
    @rule(P("Exp", Input("x")))
    def exp_to_sum(m: Match, x: Value) -> Replacement:
        """exp(x) -> reshape(x)"""
        return m.op("Reshape", x, None, values=(None, (6,)))

    with pytest.raises(tf.errors.CompileError, match="rule exp_to_sum changed the type"):
        apply_rules(program_of(tf.exp), (exp_to_sum,), PassContext(fuel=-1))


def makers(source: str) -> list[tuple[int, str]]:
    """Where a source gets at something that makes nodes, or makes one."""
    found = []
    for node in ast.walk(ast.parse(source)):
        name = ""
        if isinstance(node, ast.Attribute) and node.attr in ("builder", "_builder", "driver", "_make"):
            name = node.attr
        elif isinstance(node, (ast.Name, ast.alias)):
            name = node.id if isinstance(node, ast.Name) else node.name
            name = name if name.endswith("Builder") else ""
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Node", "Rewriter"):
            name = node.func.id
        if name:
            found.append((node.lineno, name))
    return sorted(found)


@pytest.mark.parametrize("path", sorted(PASSES.glob("*.py")), ids=lambda p: str(p.stem))
def test_only_the_driver_makes_nodes(path: Path) -> None:
    """Rules get at nothing that makes nodes but their Match, and other passes at nothing but a Rewriter."""
    source = path.read_text()
    if path.stem in ("rewrite", "origins"):
        assert makers(source)
    elif "import rule" in source or ", rule" in source:
        assert not makers(source)
    else:
        assert not [name for _, name in makers(source) if name != "Rewriter"]


def test_finder_of_makers() -> None:
    assert makers("def f(m):\n    return m.driver.builder.add(op)") == [(2, "builder"), (2, "driver")]
    assert makers("from a import ProgramBuilder\nx = ProgramBuilder(p)") == [(1, "ProgramBuilder"), (2, "ProgramBuilder")]
    assert makers("y = Node(1)\nz = m._make") == [(1, "Node"), (2, "_make")]
    assert makers("def f(m, n: Node):\n    return m.op('Add', n.out())") == []
