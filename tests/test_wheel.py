"""The built wheel, installed into an empty environment away from the checkout, is complete and brings nothing else."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="building the wheel needs the dev extra")

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"graphflow", "graphflow_compiler", "graphflow_runtime"}
SOURCES = {
    "graphflow": ROOT / "graphflow",
    "graphflow_compiler": ROOT / "compiler" / "graphflow_compiler",
    "graphflow_runtime": ROOT / "runtime" / "graphflow_runtime",
}


def run(*command: str | Path, cwd: Path) -> str:
    """Runs a command without the variables that would let it see the checkout; returns what it printed."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment that holds the wheel and nothing but its dependencies."""
    folder = tmp_path_factory.mktemp("installed")
    # without_pip: our own pip installs into it, which saves the seconds that ensurepip takes.
    venv.create(folder / "env", with_pip=False, symlinks=True)
    interpreter = folder / "env" / "bin" / "python"
    install = ("install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "--python", interpreter, *install, wheel, cwd=folder)
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    # The dependencies are lent from this environment: no download. A folder that a .pth file names is searched, but the
    # .pth files inside it are not read, so this environment's editable install of graphflow stays out of sight.
    specs = [importlib.util.find_spec(name) for name in ("numpy", "llvmlite", "networkx")]
    lent = {str(Path(spec.origin).parent.parent) for spec in specs if spec is not None and spec.origin is not None}
    (site / "lent.pth").write_text("\n".join(sorted(lent)) + "\n")
    return interpreter


def test_wheel_holds_every_source_file_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if ".dist-info/" not in n}
    expected = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in SOURCES.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == expected
    assert {n.split("/")[0] for n in names} == PACKAGES
    assert {f"{package}/py.typed" for package in PACKAGES} <= names


def test_wheel_carries_license_and_dependencies(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(n for n in names if n.endswith(".dist-info/METADATA"))).decode()
    assert any(n.endswith("/LICENSE") for n in names)
    required = {line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line}
    assert required == {f"Requires-Dist: {d}" for d in ("llvmlite>=0.45", "networkx>=3", "numpy>=1.26")}


def test_installed_packages_import_from_the_environment(python: Path, tmp_path: Path) -> None:
    code = "import graphflow, graphflow_compiler, graphflow_runtime as r; print(graphflow.__file__, r.__file__, sep='\\n')"
    environment = python.parent.parent
    for line in run(python, "-c", code, cwd=tmp_path).splitlines():
        assert Path(line).is_relative_to(environment), line


@pytest.mark.parametrize("name", ["compiler", "runtime", "tests", "samples", "benchmarks"])
def test_installed_wheel_claims_no_general_name(python: Path, tmp_path: Path, name: str) -> None:
    """`import compiler` must stay the user's."""
    find = f"s = importlib.util.find_spec({name!r})"
    code = f"import importlib.util; {find}; print(s and (s.origin or list(s.submodule_search_locations)))"
    found = run(python, "-c", code, cwd=tmp_path).strip()
    assert str(python.parent.parent) not in found
    if name in ("compiler", "runtime"):
        assert found == "None"


def test_a_users_own_runtime_module_does_no_harm(python: Path, tmp_path: Path) -> None:
    for name in ("compiler", "runtime"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the user module was imported')\n")
    (tmp_path / "train.py").write_text("import graphflow\nimport graphflow.compiler, graphflow.runtime\nprint('ran')\n")
    assert run(python, tmp_path / "train.py", cwd=tmp_path).strip() == "ran"
