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

LEAVES = (
    "graphflow.dims",
    "graphflow.errors",
    "graphflow.config",
    "graphflow.provenance",
    "graphflow.records",
    "graphflow.dtypes",
    "graphflow.shapes",
    "graphflow.version",
)
CORE = ("graphflow.core",)
OPS = ("graphflow.ops", "graphflow.gradients")
MODEL = tuple(
    f"graphflow.{name}"
    for name in (
        "default_graph", "graph_keys", "initializers", "regularizers", "sparse_tensor", "template", "variable_scope",
        "variables",
    )
)  # fmt: skip
TOOLS = tuple(f"graphflow.{name}" for name in ("io", "viz", "train", "layers", "losses", "metrics", "data", "summary"))
COMPILER = ("graphflow_compiler",)
RUNTIME = ("graphflow_runtime",)
FACADE = tuple(
    f"graphflow.{name}"
    for name in (
        "__main__", "_names", "app", "bitwise", "cli", "compat", "compiler", "explaining", "flags", "gfile", "linalg", "math",
        "nn", "random", "runtime", "session", "tf_logging", "timeline",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """Module prefixes, and the prefixes of ours that they may import besides each other."""

    name: str
    members: tuple[str, ...]
    may_import: tuple[str, ...]
    except_for: tuple[str, ...] = ()


LAYERS = (
    Layer("leaves", LEAVES, ()),
    Layer("core", CORE, LEAVES),
    Layer("ops", OPS, LEAVES + CORE),
    Layer("model", MODEL, LEAVES + CORE + OPS),
    Layer("tools", TOOLS, LEAVES + CORE + OPS + MODEL),
    Layer("compiler", COMPILER, LEAVES + CORE),
    Layer(
        "runtime",
        RUNTIME,
        LEAVES + CORE + COMPILER + ("graphflow.sparse_tensor",),
        # What the compiler does inside is not its API; the loader of its code (codegen.link, codegen.dispatch) is.
        except_for=("graphflow_compiler.passes", "graphflow_compiler.lower"),
    ),
    Layer("facade", FACADE, LEAVES + CORE + OPS + MODEL + TOOLS + COMPILER + RUNTIME),
)

# Third-party packages and the modules that may name them; numpy is free everywhere.
THIRD_PARTY = {
    "llvmlite": ("graphflow_compiler.codegen", "graphflow_compiler.jit"),
    "networkx": ("graphflow.viz",),
    "pygraphviz": ("graphflow.viz",),
    "ml_dtypes": ("graphflow.dtypes",),
    "IPython": ("graphflow.viz",),
}

# (function, package) pairs allowed anywhere: the conversion hands the user an object of that package.
INSIDE_FUNCTION = {("to_networkx", "networkx")}


# The imports against the arrows: a name that the table of ops does not hold yet makes it load the op library.
# A loaded model opens a session by the package's own name.
DISCOVERY = {("graphflow.core.registry", "graphflow.ops"), ("graphflow.io.native", "graphflow")}

# Ops that the structure itself is made of, by the module that has to make them.
BUILDING_BLOCKS = {
    "graphflow.core.build": {"Const", "Pack"},  # what is not a tensor becomes one
    "graphflow_compiler.frontend": {"Identity"},  # of a variable's ref: an alias, as TensorFlow's buffers make it
    "graphflow_compiler.ir.program": {"Const"},  # the result of folding
    "graphflow_compiler.passes.rewrite": {"BroadcastTo", "Reshape"},  # methods of ExpandContext
}


@dataclass(frozen=True)
class Import:
    target: str
    line: int
    functions: tuple[str, ...]
    by_name: bool = False  # import_module("...")


def covers(prefixes: tuple[str, ...], module: str) -> bool:
    return any(module == p or module.startswith(p + ".") for p in prefixes)


def layer_of(module: str) -> Layer | None:
    if module == "graphflow":
        return LAYERS[-1]
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
                yield Import(name, node.lineno, functions, by_name=True)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                functions = (*functions, name)
            case _:
                pass
        for child in ast.iter_child_nodes(node):
            yield from visit(child, functions)

    yield from visit(ast.parse(source), ())


def complaint(module: str, found: Import) -> str | None:
    """Why this module must not have this import; None if it may."""
    layer = layer_of(module)
    if layer is None:
        return f"{module} belongs to no layer: add it to LAYERS and to docs/architecture.md, section 3"
    root = found.target.split(".")[0]
    if root in ("compiler", "runtime"):
        return f"`{root}` is a folder, not a package: import graphflow_{root}"
    if root in FOLDERS:
        if found.target == "graphflow":
            allowed = layer.name == "facade"
        else:
            allowed = covers(layer.members + layer.may_import, found.target) and not covers(layer.except_for, found.target)
        allowed = allowed or (found.by_name and (module, found.target) in DISCOVERY)
        return None if allowed else f"{layer.name} must not import {found.target}"
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
        ("graphflow.dtypes", "from graphflow.core.graph import Graph"),
        ("graphflow.core.graph", "def f():\n    from graphflow.ops import source"),
        ("graphflow.core.graph", "if TYPE_CHECKING:\n    from graphflow.ops.math import add"),
        ("graphflow.core.graph", "import graphflow"),
        ("graphflow.core.graph", "from graphflow import Session"),
        ("graphflow.core.graph", "from graphflow.session import Session"),
        ("graphflow.core.graph", "from ..ops import math"),
        ("graphflow.core.graph", "import importlib\nimportlib.import_module('graphflow_runtime')"),
        ("graphflow.core.graph", "import importlib\nimportlib.import_module('graphflow.ops')"),
        ("graphflow.core.registry", "from graphflow.ops import math"),
        ("graphflow.core.graph", "import networkx"),
        ("graphflow.core.graph", "class Graph:\n    def names(self):\n        import networkx"),
        ("graphflow.ops.math", "import graphflow_compiler.pipeline"),
        ("graphflow.train.saver", "from graphflow_runtime.store import VariableStore"),
        ("graphflow_compiler.passes.fold", "from graphflow_runtime import devices"),
        ("graphflow_compiler.passes.fold", "from graphflow.ops.math import ADD"),
        ("graphflow_compiler.passes.fold", "import llvmlite.binding as llvm"),
        ("graphflow_runtime.executor", "from graphflow_compiler.passes.fusion import fuse"),
        ("graphflow_runtime.executor", "from graphflow.session import Session"),
        ("graphflow.session", "import runtime"),
        ("graphflow.session", "from compiler import graphflow_compiler"),
        ("graphflow.session", "import scipy.linalg"),
        ("graphflow.novelty", "import numpy"),
    ],
)
def test_checker_objects(module: str, source: str) -> None:
    found = list(imports_of(module, source, False, frozenset({"graphflow.ops.math", "graphflow.session"})))
    assert any(complaint(module, i) is not None for i in found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("graphflow.shapes", "from graphflow import errors\nimport math, numpy.linalg"),
        ("graphflow.core.graph", "class Graph:\n    def to_networkx(self):\n        import networkx"),
        ("graphflow.core.graph", "from .kinds import Kind"),
        ("graphflow.viz.dot", "import networkx\nfrom graphflow.core.graph import Graph"),
        ("graphflow_compiler.codegen.cpu", "import llvmlite.ir as ll"),
        ("graphflow_compiler.jit", "import llvmlite.binding as llvm"),
        (
            "graphflow_runtime.executor",
            "from graphflow_compiler import compile\nfrom graphflow_compiler.plan import Plan",
        ),
        ("graphflow", "def __getattr__(name):\n    from graphflow_runtime import store"),
        ("graphflow.cli.dot", "import graphflow as gf\nfrom graphflow import viz"),
    ],
)
def test_checker_allows(module: str, source: str) -> None:
    found = list(imports_of(module, source, False, frozenset({"graphflow.errors", "graphflow.viz"})))
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
NAMELESS = [m for m in sorted(MODULES) if not covers((*OPS, "graphflow.io"), m) and layer_of(m) != LAYERS[-1]]


@pytest.mark.parametrize("module", NAMELESS)
def test_op_names_occur_in_rewrite_rules_only(module: str) -> None:
    """Passes know kinds. Code that asks for an op by name is code that the next op will be missing from."""
    from graphflow.core.registry import all_ops

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
