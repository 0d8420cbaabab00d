"""Imports within the op library and its gradients: families form no circle, and rooms import rooms below them."""

from __future__ import annotations

import ast
import importlib
import textwrap
from collections.abc import Mapping

import networkx
import pytest

from graphflow.framework import deferred
from graphflow.framework.registry import all_ops
from graphflow.ops.op_families import FAMILIES
from tests.test_import import in_child
from tests.test_layering import MODULES, covers, imports_of

OPS = ("graphflow.ops",)
AUTODIFF = ("graphflow.autodiff",)

# The rooms of the op library, and the rooms that a family may import besides its own. `math` and `array` are about the same
# tensors and need each other, family by family: test_families_form_no_circle holds for their files as for all others.
ROOMS = {
    "_define": (),
    "array": ("_define", "math"),
    "math": ("_define", "array"),
    "control_flow": ("_define", "array", "math"),
    "random": ("_define", "array", "math"),
    "state": ("_define", "array", "math"),
    "nn": ("_define", "array", "math", "random"),
    "sparse": ("_define", "array", "math"),
    "operators": ("_define", "array", "math"),
    "op_families": (),
}


def library_imports(sources: Mapping[str, str], packages: frozenset[str]) -> dict[str, set[str]]:
    """What each module imports of the others: at the top, in functions, for type checkers or by ``import_module("...")``.

    (That Python runs a package's own `__init__` first is left out: those of the rooms are empty, and graphflow/ops/__init__.py,
    which no family imports, is read before the first family whatever that one imports.)
    """
    known = frozenset(sources)
    return {
        module: {i.target for i in imports_of(module, source, module in packages, known)} & known - {module}
        for module, source in sources.items()
    }


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The modules that import each other, directly or through others."""
    found = networkx.strongly_connected_components(networkx.DiGraph({m: list(targets) for m, targets in graph.items()}))
    return sorted(sorted(c) for c in found if len(c) > 1)


def hidden_imports(source: str) -> list[int]:
    """Lines of what would import modules that no reader of the text can name: computed names, a module's `__getattr__`."""
    tree = ast.parse(source)
    lines = [n.lineno for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "__getattr__"]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            if not (node.args and isinstance(node.args[0], ast.Constant)):
                lines.append(node.lineno)
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.modules":
            lines.append(node.lineno)
    return sorted(lines)


LIBRARY = {m: path.read_text(encoding="utf-8") for m, path in MODULES.items() if covers(OPS + AUTODIFF, m)}
BELOW = {m: path.read_text(encoding="utf-8") for m, path in MODULES.items() if covers(("graphflow.framework",), m)}
PACKAGES = frozenset(m for m in LIBRARY if MODULES[m].name == "__init__.py")
LIBRARY_IMPORTS = library_imports(LIBRARY, PACKAGES)
#: The modules that import by computed names, and what: they stand above all of that.
LOADERS = {
    "graphflow.autodiff.rule_loader": {m for m in LIBRARY if covers(("graphflow.autodiff.rules",), m)},
    "graphflow.ops": {m for m in LIBRARY if covers(OPS, m)} - {"graphflow.ops", "graphflow.ops.operators"},
}
for loader, loaded in LOADERS.items():
    LIBRARY_IMPORTS[loader] |= loaded


def test_families_form_no_circle() -> None:
    """Nor do they through what is below them: the table of ops must not load the library."""
    everything = library_imports(LIBRARY | BELOW, PACKAGES)
    for loader, loaded in LOADERS.items():
        everything[loader] |= loaded
    assert [c for c in circles(everything) if any(covers(OPS + AUTODIFF, m) for m in c)] == []


def test_families_import_no_gradients() -> None:
    wrong = [(m, t) for m, targets in LIBRARY_IMPORTS.items() if covers(OPS, m) for t in targets if covers(AUTODIFF, t)]
    assert not wrong


@pytest.mark.parametrize("module", sorted(set(LIBRARY) - set(LOADERS)))
def test_families_hide_no_imports(module: str) -> None:
    assert hidden_imports(LIBRARY[module]) == []


@pytest.mark.parametrize("module", sorted(m for m in LIBRARY if covers(OPS, m) and m != "graphflow.ops"))
def test_rooms_import_rooms_below(module: str) -> None:
    room = module.split(".")[2]
    targets = {t.split(".")[2] if t != "graphflow.ops" else "graphflow.ops" for t in LIBRARY_IMPORTS[module]}
    assert targets <= {room, *ROOMS[room]}, "add it to ROOMS if it stays free of circles"


def test_definition_helpers_register_nothing() -> None:
    assert not [op.name for op in all_ops() if op.module.startswith("graphflow.ops._define")]


def test_every_op_is_on_the_list(request: pytest.FixtureRequest) -> None:
    """An op that the list does not name would be there only if something else happened to import its family."""
    families: dict[str, list[str]] = {}
    for module in sorted(m for m in LIBRARY if covers(OPS, m)):
        importlib.import_module(module)
    # A family without ops is loaded with the others if a file may name one of its functions.
    for function in deferred._functions.values():
        if function.call.__module__.startswith("graphflow.ops."):
            families.setdefault(function.call.__module__.removeprefix("graphflow.ops."), [])
    for op in all_ops():
        if op.module.startswith("graphflow.ops."):
            families.setdefault(op.module.removeprefix("graphflow.ops."), []).append(op.name)
    if request.config.getoption("--update-golden"):
        path = MODULES["graphflow.ops.op_families"]
        lines = [line for family in sorted(families) for line in _entry(family, " ".join(families[family]))]
        head = path.read_text(encoding="utf-8").partition("FAMILIES")[0]
        path.write_text(f"{head}FAMILIES: dict[str, str] = {{\n" + "\n".join(lines) + "\n}\n", encoding="utf-8")
    else:
        listed = {family: ops.split() for family, ops in FAMILIES.items()}
        assert listed == families, "run pytest tests/test_op_library_imports.py --update-golden"


def test_all_functions_that_may_be_put_off_are_found() -> None:
    """A file names them, and may be loaded by a process that has used none of them."""
    names = "sorted(deferred._functions)"
    loaded = (
        f"import graphflow\nfrom graphflow.framework import deferred, late_bindings\nlate_bindings.load_rules()\nprint({names})"
    )
    everything = f"""
        import importlib, pkgutil, graphflow
        from graphflow.framework import deferred
        for module in pkgutil.walk_packages(graphflow.__path__, "graphflow."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
        print({names})
    """
    assert in_child(loaded) == in_child(everything) != "[]"


def _entry(family: str, ops: str) -> list[str]:
    """One line of `FAMILIES`, or several."""
    if len(ops) + len(family) < 112:
        return [f'    "{family}": "{ops}",']
    return [f'    "{family}": """', *textwrap.wrap(ops, 112, initial_indent=" " * 8, subsequent_indent=" " * 8), '    """,']


def test_an_op_loads_its_family_alone() -> None:
    code = """
        import sys
        import graphflow as tf
        from graphflow.framework.registry import lookup
        lookup("Cumsum")
        print(sorted({"graphflow.ops.math.cumulative", "graphflow.ops.nn.softmax"} & set(sys.modules)))
        lookup("Softmax")
        print("graphflow.ops.nn.softmax" in sys.modules)
    """
    assert in_child(code) == "['graphflow.ops.math.cumulative']\nTrue"


def test_ops_of_users_do_not_take_names_of_ops_that_are_not_loaded_yet() -> None:
    code = """
        import graphflow as tf
        from graphflow.custom_ops import OpDef, register
        from graphflow.framework.registry import lookup
        add = lookup("AddV2")
        try:
            register(OpDef("Cumsum", add.kind, add.infer, add.reference, add.samples))
        except ValueError as e:
            print(e)
        print(lookup("Cumsum").module)
    """
    assert in_child(code) == "op 'Cumsum' is registered twice\ngraphflow.ops.math.cumulative"


def test_tensors_have_operators_before_any_family_is_loaded() -> None:
    code = """
        import graphflow as tf
        x = tf.placeholder(tf.float32, [2, 2])
        print((-x @ x).op.type, (x[0] < 1).op.type, (~(x > 2)).op.type, (2 ** abs(x)).op.type)
        slices = tf.IndexedSlices(x, tf.constant([1, 1]), tf.constant([3, 2]))
        print(tf.Session().run(tf.convert_to_tensor(slices), {x: [[1, 2], [3, 4]]}).tolist())
    """
    assert in_child(code) == "MatMul Less LogicalNot Pow\n[[0.0, 0.0], [4.0, 6.0], [0.0, 0.0]]"


def test_every_file_of_rules_has_a_family() -> None:
    """The loader looks for the rules of a family in the file of its name: in another they would never be found."""
    files = {m for m in LIBRARY if covers(("graphflow.autodiff.rules",), m)} - PACKAGES - {"graphflow.autodiff.rules.operands"}
    assert not [m for m in files if m.replace("graphflow.autodiff.rules", "graphflow.ops") not in LIBRARY]


@pytest.mark.parametrize(
    "back",
    [
        "from graphflow.ops.math.binary import add",
        "import graphflow.ops.math.binary",
        "from graphflow.ops.math import binary",
        "def f():\n    from graphflow.ops.math.binary import add",
        "if TYPE_CHECKING:\n    from graphflow.ops.math.binary import add",
        "def f():\n    return importlib.import_module('graphflow.ops.math.binary').add",
        "def __getattr__(name):\n    from graphflow.ops.math.binary import add\n    return add",
        "from graphflow.ops.math.select import where",
    ],
)
def test_circle_finder(back: str) -> None:
    """binary imports cast; whichever way cast leads back to it, directly or through select, is found."""
    sources = {
        "graphflow.ops.math.binary": "from graphflow.ops.math.cast import cast",
        "graphflow.ops.math.cast": back,
        "graphflow.ops.math.select": "from graphflow.ops.math.binary import maximum",
        "graphflow.ops.math": "",
    }
    (found,) = circles(library_imports(sources, frozenset({"graphflow.ops.math"})))
    assert {"graphflow.ops.math.binary", "graphflow.ops.math.cast"} <= set(found)
    assert circles(library_imports({**sources, "graphflow.ops.math.cast": "import numpy"}, frozenset())) == []


def test_hidden_import_finder() -> None:
    assert hidden_imports("import_module(f'graphflow.ops.{name}')\nimport_module('graphflow.ops')") == [1]
    assert hidden_imports("def __getattr__(name):\n    return TABLE[name]") == [1]
    assert hidden_imports("def add(x):\n    return sys.modules['graphflow.ops.math.binary'].add(x)") == [2]
    assert hidden_imports("class A:\n    def __getattr__(self, name):\n        return 1\nimport numpy") == []
