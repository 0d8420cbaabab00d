"""Imports flow one way: docs/architecture.md, section 3, held against every import of the three packages."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {
    "graphflow": ROOT / "graphflow",
    "graphflow_compiler": ROOT / "compiler" / "graphflow_compiler",
    "graphflow_runtime": ROOT / "runtime" / "graphflow_runtime",
}


@dataclass(frozen=True)
class Layer:
    """Module prefixes, and the layers below that they may import. Modules of one layer may import each other."""

    name: str
    members: tuple[str, ...]
    may_import: tuple[str, ...]


def framework(*names: str) -> tuple[str, ...]:
    return tuple(f"graphflow.framework.{name}" for name in names)


def rooms(*names: str) -> tuple[str, ...]:
    return tuple(f"graphflow.{name}" for name in names)


def compiler(*names: str) -> tuple[str, ...]:
    return tuple(f"graphflow_compiler.{name}" for name in names)


def runtime(*names: str) -> tuple[str, ...]:
    return tuple(f"graphflow_runtime.{name}" for name in names)


FRAMEWORK = ("names", "leaves", "framework")
TO_LLVM = (*FRAMEWORK, "ir", "llvm")
PLANNING = (*TO_LLVM, "frontend", "passes", "lower", "matmul", "emit", "processors", "jit")
MODEL = (*FRAMEWORK, "ops", "autodiff", "variables")

# A module belongs to the first layer that has a prefix of its name.
LAYERS = (
    Layer("names", (*rooms("version", "namespace", "public_names"), *framework("late_bindings")), ()),
    Layer(
        "leaves", framework("config", "dims", "dtypes", "environment", "errors", "provenance", "records", "shapes"), ("names",)
    ),
    Layer("framework", ("graphflow.framework",), FRAMEWORK[:2]),
    Layer("ops", rooms("ops"), FRAMEWORK),
    Layer("autodiff", rooms("autodiff"), (*FRAMEWORK, "ops")),
    Layer("variables", rooms("variables"), (*FRAMEWORK, "ops")),
    Layer("train", rooms("train"), MODEL),
    Layer("layers", rooms("layers", "losses", "metrics"), (*MODEL, "train")),
    Layer("files", rooms("io"), (*MODEL, "train")),
    Layer("pictures", rooms("viz"), FRAMEWORK),
    Layer("platform", rooms("platform"), FRAMEWORK),
    # The compiler: never the runtime, never the op library.
    Layer("processors", compiler("processors"), ()),
    Layer("ir", compiler("ir"), FRAMEWORK),
    Layer("frontend", compiler("frontend"), (*FRAMEWORK, "ir")),
    Layer("passes", compiler("passes"), (*FRAMEWORK, "ir", "frontend")),
    Layer("lower", compiler("lower"), (*FRAMEWORK, "ir")),
    Layer("llvm", compiler("codegen.llvm"), (*FRAMEWORK, "ir")),
    Layer("matmul", compiler("codegen.matmul"), TO_LLVM),
    Layer("gpu", compiler("codegen.gpu"), TO_LLVM),
    Layer("jit", compiler("codegen.jit"), (*FRAMEWORK, "llvm", "processors")),
    Layer("emit", compiler("codegen"), (*TO_LLVM, "matmul")),
    Layer("planning", compiler("planning"), PLANNING),
    Layer("compilation", ("graphflow_compiler",), (*PLANNING, "planning")),
    # The runtime: of the compiler it sees OF_THE_COMPILER alone.
    Layer("native_code", runtime("native_code"), FRAMEWORK),
    Layer("store", runtime("store", "memory", "random_counters"), FRAMEWORK),
    Layer("executor", runtime("executor"), (*FRAMEWORK, "native_code", "store")),
    Layer("profiling", runtime("profiling"), (*FRAMEWORK, "native_code", "store", "executor")),
    Layer("session", runtime("session", "devices"), (*FRAMEWORK, "native_code", "store", "executor", "profiling")),
    Layer("runtime", ("graphflow_runtime",), ()),
    Layer("facade", rooms("api", "compat", "tools", "compiler", "runtime", "__main__"), ()),
)
FACADE = LAYERS[-1]
BY_NAME = {layer.name: layer for layer in LAYERS}

#: The compiler as the runtime sees it.
OF_THE_COMPILER = compiler(
    "codegen.jit.compile_pool",
    "codegen.jit.engine",
    "codegen.jit.fork_safe_locks",
    "codegen.jit.link",
    "codegen.llvm.checks_text",
    "codegen.llvm.llvm_text",
    "compilation",
    "frontend",
    "planning.plan",
    "planning.profile_entry",
    "planning.threaded_entry",
    "processors",
)

# Third-party packages and the modules that may name them; numpy is free everywhere.
THIRD_PARTY = {
    "llvmlite": ("graphflow_compiler.codegen",),
    "networkx": ("graphflow.viz",),
    "pygraphviz": ("graphflow.viz",),
    "ml_dtypes": ("graphflow.framework.dtypes",),
    "IPython": ("graphflow.viz",),
}

# (function, package) pairs allowed anywhere: the conversion hands the user an object of that package.
INSIDE_FUNCTION = {("to_networkx", "networkx")}


# Ops that the structure itself is made of, by the module that has to make them.
BUILDING_BLOCKS = {
    "graphflow.framework.build": {"Const", "Pack"},  # what is not a tensor becomes one
    "graphflow.framework.deferred": {"Deferred", "Placeholder"},  # a call that a run makes, and its operands there
    "graphflow_compiler.frontend": {"Identity"},  # of a variable's ref: an alias, as TensorFlow's buffers make it
    "graphflow_compiler.ir.program": {"Const"},  # the result of folding
    "graphflow_compiler.passes.rewrite": {"BroadcastTo", "Reshape"},  # methods of ExpandContext
}


@dataclass(frozen=True)
class Import:
    target: str
    line: int
    functions: tuple[str, ...]


def covers(prefixes: tuple[str, ...], module: str) -> bool:
    return any(module == p or module.startswith(p + ".") for p in prefixes)


def layer_of(module: str) -> Layer | None:
    if module == "graphflow":
        return FACADE
    return next((layer for layer in LAYERS if covers(layer.members, module)), None)


def modules() -> dict[str, Path]:
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = (package, *path.relative_to(folder).with_suffix("").parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports_of(module: str, source: str, is_package: bool, known: frozenset[str]) -> Iterator[Import]:
    """Every import in the source, also inside functions, under TYPE_CHECKING and by `import_module("...")`."""

    def visit(node: ast.AST, functions: tuple[str, ...]) -> Iterator[Import]:
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield Import(alias.name, node.lineno, functions)
            case ast.ImportFrom(module=source_module, names=names, level=level):
                base = source_module or ""
                if level:
                    parts = module.split(".")
                    parts = parts[: len(parts) - level + is_package]
                    base = ".".join([*parts, base] if base else parts)
                for alias in names:
                    # `from graphflow import errors` depends on that module, not on the package's __init__.
                    inner = f"{base}.{alias.name}"
                    yield Import(inner if inner in known else base, node.lineno, functions)
            case ast.Call(func=func, args=[ast.Constant(value=str(name)), *_]) if ast.unparse(func).endswith(
                ("import_module", "__import__")
            ):
                yield Import(name, node.lineno, functions)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                functions = (*functions, name)
            case _:
                pass
        for child in ast.iter_child_nodes(node):
            yield from visit(child, functions)

    yield from visit(ast.parse(source), ())


def may_import(layer: Layer, target: str) -> bool:
    """Whether modules of the layer may import the module or package `target`."""
    if layer is FACADE:
        return True
    if target == "graphflow":
        return False
    if layer.members[0].startswith("graphflow_runtime") and covers(OF_THE_COMPILER, target):
        return True
    below = layer_of(target)
    return below is not None and (below is layer or below.name in layer.may_import)


def complaint(module: str, found: Import) -> str | None:
    """Why this module must not have this import; None if it may."""
    layer = layer_of(module)
    if layer is None:
        return f"{module} belongs to no layer: add it to LAYERS and to docs/architecture.md, section 3"
    root = found.target.split(".")[0]
    if root in ("compiler", "runtime"):
        return f"`{root}` is a folder, not a package: import graphflow_{root}"
    if root in FOLDERS:
        return None if may_import(layer, found.target) else f"{layer.name} must not import {found.target}"
    if root in sys.stdlib_module_names or root == "numpy":
        return None
    if root not in THIRD_PARTY:
        return f"{root} is not a dependency"
    if covers(THIRD_PARTY[root], module) or any((f, root) in INSIDE_FUNCTION for f in found.functions):
        return None
    return f"{root} is imported only by {', '.join(THIRD_PARTY[root])}"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_flow_one_way(module: str) -> None:
    path = MODULES[module]
    found = imports_of(module, path.read_text(encoding="utf-8"), path.name == "__init__.py", frozenset(MODULES))
    wrong = [f"{path.relative_to(ROOT)}:{i.line}: {why}" for i in found if (why := complaint(module, i)) is not None]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_every_module_has_a_layer(module: str) -> None:
    assert layer_of(module) is not None, "add it to LAYERS and to docs/architecture.md, section 3"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_cuda_driver_is_loaded_by_devices_only(module: str) -> None:
    if covers(("graphflow_runtime.devices",), module):
        return
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    libraries = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    assert not [name for name in libraries if name.startswith(("libcuda", "nvcuda"))]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("graphflow.framework.dtypes", "from graphflow.framework.graph import Graph"),
        ("graphflow.framework.graph", "def f():\n    from graphflow.ops import source"),
        ("graphflow.framework.graph", "if TYPE_CHECKING:\n    from graphflow.ops.math.binary import add"),
        ("graphflow.framework.graph", "import graphflow"),
        ("graphflow.framework.graph", "from graphflow import Session"),
        ("graphflow.framework.graph", "from graphflow.compiler import Plan"),
        ("graphflow.framework.graph", "from ..ops import math"),
        ("graphflow.framework.graph", "import importlib\nimportlib.import_module('graphflow_runtime')"),
        ("graphflow.framework.graph", "import importlib\nimportlib.import_module('graphflow.ops')"),
        ("graphflow.framework.registry", "from graphflow.ops.math import binary"),
        ("graphflow.framework.graph", "import networkx"),
        ("graphflow.framework.graph", "class Graph:\n    def names(self):\n        import networkx"),
        ("graphflow.ops.math.binary", "import graphflow_compiler.pipeline"),
        ("graphflow.ops.math.binary", "def f():\n    from graphflow.autodiff.gradients import gradients"),
        ("graphflow.train.saver", "from graphflow_runtime.store import VariableStore"),
        ("graphflow_compiler.passes.fold", "from graphflow_runtime import devices"),
        ("graphflow_compiler.passes.fold", "from graphflow.ops.math.binary import ADD"),
        ("graphflow_compiler.passes.fold", "import llvmlite.binding as llvm"),
        ("graphflow_runtime.executor", "from graphflow_compiler.passes.fusion import fuse"),
        ("graphflow_runtime.executor", "from graphflow.compiler import Plan"),
        ("graphflow_compiler.ir.loops", "from graphflow_compiler.passes.rewrite import rule"),
        ("graphflow_compiler.lower.emit", "from graphflow_compiler.codegen.llvm.vector import Vector"),
        ("graphflow_compiler.codegen.llvm.vector", "from graphflow_compiler.planning.plan import Plan"),
        ("graphflow_runtime.executor.native", "from graphflow_compiler.planning.planner import make_plan"),
        ("graphflow_runtime.native_code.pool", "from graphflow_runtime.executor.threads import pool"),
        ("graphflow_runtime.executor.threads", "from graphflow_runtime.session.session import Session"),
        ("graphflow.namespace", "from graphflow.framework.graph import Graph"),
        ("graphflow.train.optimizer", "from graphflow.api import nn"),
        ("graphflow.compiler", "import runtime"),
        ("graphflow.compiler", "from compiler import graphflow_compiler"),
        ("graphflow.compiler", "import scipy.linalg"),
        ("graphflow.novelty", "import numpy"),
    ],
)
def test_checker_objects(module: str, source: str) -> None:
    found = list(imports_of(module, source, False, frozenset({"graphflow.ops.math.binary", "graphflow.compiler"})))
    assert any(complaint(module, i) is not None for i in found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("graphflow.framework.shapes", "from graphflow.framework import errors\nimport math, numpy.linalg"),
        ("graphflow.framework.graph", "class Graph:\n    def to_networkx(self):\n        import networkx"),
        ("graphflow.framework.graph", "from .kinds import Kind"),
        ("graphflow.viz.dot", "import networkx\nfrom graphflow.framework.graph import Graph"),
        ("graphflow_compiler.codegen.cpu", "import llvmlite.ir as ll"),
        ("graphflow_compiler.codegen.jit.engine", "import llvmlite.binding as llvm"),
        (
            "graphflow_runtime.executor",
            "from graphflow_compiler.compilation import compile\nfrom graphflow_compiler.planning.plan import Plan",
        ),
        ("graphflow", "def __getattr__(name):\n    from graphflow_runtime import store"),
        ("graphflow.tools.cli.dot", "import graphflow as gf\nfrom graphflow import viz"),
    ],
)
def test_checker_allows(module: str, source: str) -> None:
    found = list(imports_of(module, source, False, frozenset({"graphflow.framework.errors", "graphflow.viz"})))
    assert [complaint(module, i) for i in found] == [None] * len(found)
    assert found


def test_import_graphflow_loads_neither_llvmlite_nor_networkx() -> None:
    """Both cost more to import than graphflow itself, and many programs (tools, conversions) need neither."""
    code = "import sys, graphflow; print(sorted({'llvmlite', 'networkx', 'ml_dtypes'} & set(sys.modules)))"
    roots = [str(folder.parent) for folder in FOLDERS.values()]
    code = f"import sys; sys.path[:0] = {roots!r}; {code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def is_rule(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and any(
        isinstance(d, ast.Call) and isinstance(d.func, ast.Name) and d.func.id == "rule" for d in node.decorator_list
    )


def op_names_in(source: str, names: frozenset[str]) -> list[tuple[int, str]]:
    """Where string literals are exactly the name of an op; nothing in a file of rewrite rules. `__all__` is no use."""
    tree = ast.parse(source)
    if any(is_rule(node) for node in ast.walk(tree)):
        return []
    exported: set[int] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            exported |= {id(child) for child in ast.walk(node)}
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names and id(node) not in exported
    ]


# Free of the rule are the op library, the file formats, which map foreign names to ours, and the facade, whose tables
# of public names hold functions called like their op (`Assert`, `Print`).
NAMELESS = [
    m for m in sorted(MODULES) if (layer := layer_of(m)) and layer.name not in ("names", "ops", "autodiff", "files", "facade")
]


@pytest.mark.parametrize("module", NAMELESS)
def test_op_names_occur_in_rewrite_rules_only(module: str) -> None:
    """Passes know kinds. Code that asks for an op by name is code that the next op will be missing from."""
    from graphflow.framework.registry import all_ops

    names = frozenset(op.name for op in all_ops()) - BUILDING_BLOCKS.get(module, set())
    path = MODULES[module]
    found = op_names_in(path.read_text(encoding="utf-8"), names)
    assert not found, "\n".join(f"{path.relative_to(ROOT)}:{line}: op name {name!r}" for line, name in found)


def test_op_name_finder() -> None:
    names = frozenset({"MatMul", "Add"})
    assert op_names_in("if op.name == 'MatMul':\n    pass", names) == [(1, "MatMul")]
    assert op_names_in("TABLE = {\n    'Add': 1}", names) == [(2, "Add")]
    assert op_names_in('"""MatMul of two."""\n__all__ = ["Add"]\nx = "matmul"', names) == []
    assert op_names_in("@rule('MatMul')\ndef matmul_to_add(m):\n    return m.op('Add')", names) == []
