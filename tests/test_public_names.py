"""Every public name: the list of `graphflow.public_names` against the package, the stubs and a kept listing."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

import graphflow
from graphflow.api.module_aliases import MOVED
from graphflow.public_names import NAMESPACES, PUBLIC, homes

ROOT = Path(__file__).resolve().parent.parent
#: A namespace that has its functions in itself, and the one that gathers the op library.
OWN = {"compat", "ops"}


def stub_path(namespace: str) -> Path:
    if not namespace:
        return ROOT / "graphflow" / "__init__.pyi"
    file = importlib.import_module(NAMESPACES[namespace]).__file__
    assert file is not None
    return Path(file).with_suffix(".pyi")


def stub(namespace: str) -> str:
    """What type checkers and editors read instead of the module's own lookup by name."""
    by_module: dict[str, list[str]] = {}
    for name, (module, attribute) in homes(namespace).items():
        by_module.setdefault(module, []).append(f"{attribute} as {name}")
    lines = ["# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py."]
    for module, names in by_module.items():
        start = f"from {module} import "
        if len(start) + len(", ".join(names)) <= 120:
            lines.append(start + ", ".join(names))
        else:
            glued = ", ".join(n.replace(" ", "~") for n in names) + ","
            wrapped = textwrap.wrap(glued, 120, initial_indent="    ", subsequent_indent="    ")
            lines += [start + "(", *(line.replace("~", " ") for line in wrapped), ")"]
    if not namespace:
        lines.append("from graphflow.version import __version__ as __version__")
        for name, module in NAMESPACES.items():
            package, _, base = module.rpartition(".")
            lines.append(f"from {package} import {base} as {name}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("namespace", sorted(PUBLIC))
def test_stubs_are_what_the_list_says(namespace: str, request: pytest.FixtureRequest) -> None:
    path = stub_path(namespace)
    if request.config.getoption("--update-golden"):
        path.write_text(stub(namespace), encoding="utf-8")
        return
    assert path.read_text(encoding="utf-8") == stub(namespace), "run pytest tests/test_public_names.py --update-golden"


@pytest.mark.parametrize("namespace", sorted(set(PUBLIC) - {""}))
def test_every_listed_name_is_there(namespace: str) -> None:
    module = importlib.import_module(NAMESPACES[namespace])
    for name, (home, attribute) in homes(namespace).items():
        assert getattr(module, name) is getattr(importlib.import_module(home), attribute)
    assert sorted(homes(namespace)) == dir(module) == module.__all__


def test_every_namespace_is_listed() -> None:
    assert set(PUBLIC) - {""} == set(NAMESPACES) - OWN


def test_names_users_know_stay(golden: Callable[[str, str], None]) -> None:
    """The wheel's public names. A name leaves this file only with a line in CHANGELOG.md."""
    lines = [f"tf.{name}" for name in sorted({*homes(""), *NAMESPACES})]
    for namespace in sorted(NAMESPACES):
        module = importlib.import_module(NAMESPACES[namespace])
        lines += [f"tf.{namespace}.{name}" for name in sorted(getattr(module, "__all__", ()))]
    golden("public_names.txt", "\n".join(lines))


def in_child(code: str) -> str:
    roots = [str(ROOT), str(ROOT / "compiler"), str(ROOT / "runtime")]
    code = f"import sys; sys.path[:0] = {roots!r}\n{textwrap.dedent(code)}"
    done = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_namespaces_are_modules_too() -> None:
    code = f"""
        import importlib
        for name in {sorted(NAMESPACES)!r}:
            first = importlib.import_module("graphflow." + name)
            import graphflow as tf
            assert first is getattr(tf, name), (first, name)
            assert first.__spec__.name == first.__name__
            assert sys.modules["graphflow." + name] is first
    """
    assert in_child(code) == ""


def test_names_come_from_namespaces_as_modules() -> None:
    code = """
        from graphflow.train import Saver
        from graphflow.nn import relu
        from graphflow.layers import *
        import graphflow as tf
        assert Saver is tf.train.Saver and relu is tf.nn.relu and dense is tf.layers.dense
    """
    assert in_child(code) == ""


def test_moved_modules_warn_and_are_the_same_module() -> None:
    code = f"""
        import importlib
        for old, new in {MOVED!r}.items():
            new = importlib.import_module(new)
            assert importlib.import_module(old) is new
        import graphflow as tf
        assert callable(tf.variable_scope)
    """
    said = in_child(code)
    assert [old for old in MOVED if f"DeprecationWarning: {old} has moved" not in said] == []


def test_parts_of_a_moved_package_warn() -> None:
    said = in_child("from graphflow.core import kinds\nimport graphflow.framework.kinds as new\nassert kinds is new")
    assert "graphflow.core has moved: graphflow.custom_ops has what ops of your own need" in said


def test_a_moved_module_runs_as_a_script() -> None:
    """``python -m graphflow.cli``: it has no main block, so it does nothing, but that without a traceback."""
    done = subprocess.run([sys.executable, "-m", "graphflow.cli"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_the_package_shows_its_names_and_nothing_else() -> None:
    assert dir(graphflow) == sorted([*graphflow.__all__, "__version__"])
    assert set(graphflow.__all__) == {*homes(""), *NAMESPACES}


def test_errors_are_called_by_their_public_name() -> None:
    assert {getattr(graphflow.errors, n).__module__ for n in graphflow.errors.__all__ if n.endswith("Error")} == {
        "graphflow.errors"
    }


def test_a_namespace_says_which_names_are_near() -> None:
    with pytest.raises(AttributeError, match=r"module 'graphflow\.nn' has no attribute 'rellu'\. Close: .*relu"):
        graphflow.nn.rellu  # noqa: B018
