"""What `import graphflow` loads, and that every public name is where the package says it is."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import graphflow
from graphflow.public_names import NAMESPACES, homes

ROOT = Path(__file__).resolve().parent.parent
HOMES = homes("")


def in_child(code: str) -> str:
    roots = [str(ROOT), str(ROOT / "compiler"), str(ROOT / "runtime")]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {roots!r}\n{textwrap.dedent(code)}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_loads_nothing_heavy() -> None:
    heavy = {
        "llvmlite",
        "networkx",
        "ml_dtypes",
        "safetensors",
        "graphflow_compiler",
        "graphflow_runtime",
        "graphflow.ops",
    }
    assert in_child(f"import sys, graphflow; print(sorted({heavy!r} & set(sys.modules)))") == "[]"


def test_import_loads_few_modules() -> None:
    """Each takes some 0.3 ms. What the standard library has may load dozens: importlib.abc takes longer than this package."""
    code = "import sys, numpy; before = set(sys.modules); import graphflow; print(*sorted(set(sys.modules) - before))"
    assert in_child(code).split() == [
        "__future__", "graphflow", "graphflow.api", "graphflow.api.module_aliases", "graphflow.framework",
        "graphflow.framework.late_bindings", "graphflow.namespace", "graphflow.public_names", "graphflow.version",
    ]  # fmt: skip


def test_building_a_graph_loads_no_compiler() -> None:
    code = """
        import sys
        import graphflow as tf
        x = tf.placeholder(tf.float32, [None, 3])
        y = tf.reduce_sum(x * 2.0 + 1.0)
        tf.gradients(y, x)
        print(sorted({"llvmlite", "networkx", "graphflow_compiler", "graphflow_runtime"} & set(sys.modules)))
    """
    assert in_child(code) == "[]"


def test_numpy_is_the_only_third_party_import() -> None:
    code = """
        import sys
        before = set(sys.modules)
        import graphflow
        roots = {name.partition(".")[0] for name in set(sys.modules) - before}
        print(sorted(r for r in roots if r not in sys.stdlib_module_names and not r.startswith("_")))
    """
    assert in_child(code) == "['graphflow', 'numpy']"


def test_every_name_is_there() -> None:
    wrong = [
        name
        for name, (module, attribute) in HOMES.items()
        if getattr(graphflow, name, 0) is not getattr(importlib.import_module(module), attribute, 1)
    ]
    assert not wrong


@pytest.mark.parametrize("name", sorted(NAMESPACES))
def test_every_namespace_is_there(name: str) -> None:
    module = importlib.import_module(NAMESPACES[name])
    assert getattr(graphflow, name) is module
    for public in getattr(module, "__all__", ()):
        assert hasattr(module, public), f"{module.__name__}.__all__ names {public}, which is not there"


def test_submodules_do_not_hide_functions() -> None:
    code = """
        import graphflow.ops
        import graphflow.autodiff.gradients, graphflow.variables.scope
        import graphflow as tf
        from graphflow import gradients
        assert callable(tf.gradients) and tf.gradients is gradients, tf.gradients
        assert callable(tf.variable_scope)
        print(tf.gradients.__module__)
    """
    assert in_child(code) == "graphflow.autodiff.gradients"


def test_unknown_names_are_attribute_errors_with_close_matches() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'reduce_men'\. Close: reduce_mean"):
        graphflow.reduce_men  # noqa: B018
    assert not hasattr(graphflow, "no_such_thing_at_all")
    assert not hasattr(graphflow, "__wrapped__")


def test_dir_lists_everything() -> None:
    assert {*HOMES, *NAMESPACES} <= set(dir(graphflow))


def test_compat_v1_is_the_package() -> None:
    code = """
        import graphflow.compat.v1 as tf
        import graphflow
        tf.disable_v2_behavior()
        tf.disable_eager_execution()
        assert tf.Session is graphflow.Session and tf.nn is graphflow.api.nn and tf.bool is graphflow.bool
        assert graphflow.compat.v1 is tf and tf.compat.v1 is tf
        assert not tf.executing_eagerly()
        print(tf.__version__)
    """
    assert in_child(code) == graphflow.__version__


def test_what_needs_eager_execution_says_so() -> None:
    with pytest.raises(NotImplementedError, match="no eager execution"):
        graphflow.enable_eager_execution()
    with pytest.raises(NotImplementedError, match=r"TensorFlow 1's behaviour only"):
        graphflow.enable_v2_behavior()
