"""Pages speak of what is there: every module, path, function and command that a page names exists."""

from __future__ import annotations

import ast
import builtins
import importlib
import keyword
import re
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

import graphflow
from graphflow.api.module_aliases import MOVED
from graphflow.framework.registry import all_ops
from tests.test_layering import FOLDERS, MODULES

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
#: Where a path on a page may start: the checkout, a package, a room of the compiler or the runtime.
STARTS = (
    ROOT, *FOLDERS.values(), ROOT / "compiler" / "graphflow_compiler" / "codegen", ROOT / "graphflow" / "ops", ROOT / "docs",
)  # fmt: skip
#: Words in code style that are no names of ours: what TensorFlow, Python, LLVM, CUDA or the shell calls so.
FOREIGN = frozenset(
    [
        "-k",
        "-n",
        "cuda",
        "ctypes",
        "dev",
        "i64",
        "fma",
        "noalias",
        "tan",
        "tf.erfinv",  # which the reader of add-an-op.md adds
        "tf.math.erfinv",
        "src",
        "_impl",
        "compat.v1",
        "extraPaths",
        "mypy_path",
        "pythonpath",
        "TID251",
        "METH_FASTCALL",
        "PyCFunction_NewEx",
        "op_end_rel_nanos",
        "llvm.fptosi.sat",
        "verify_grad",
        "Manager",
        "misc",
        "utils",
        "common",
        "llvmlite",
        "assert_never",
        "networkx",
        "numpy",
        "pip",
        "make",
        "python",
        "ptxas",
        "XDG_CACHE_HOME",
        "OMP_NUM_THREADS",
    ]
)
#: Files that programs write.
WRITTEN = frozenset({"summary.txt"})


def code_of(page: Path) -> Iterator[tuple[int, str]]:
    """What stands in backticks within a line, by line number; blocks are left to `commands_of`."""
    inside = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            inside = not inside
        elif not inside:
            for found in re.findall(r"(?<!`)`([^`]+)`(?!`)", line):
                yield number, found


def commands_of(page: Path) -> Iterator[tuple[int, str]]:
    """Commands: lines of indented or fenced blocks, and code in backticks, that start with a program of ours."""
    inside = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            inside = not inside
        elif inside or line.startswith("    "):
            yield number, line.strip().removeprefix("$ ")
    yield from code_of(page)


@lru_cache(maxsize=1)
def words() -> frozenset[str]:
    """Every identifier that is defined, passed or read as an attribute in our sources, and every op's name. Of tests only
    what stands at the top of a module counts: a word that a test passes on is not there."""
    found: set[str] = set()
    sources = [*MODULES.values(), *(p for name in ("samples", "benchmarks") for p in (ROOT / name).rglob("*.py"))]
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
                    found.add(name)
                case ast.Name(id=name, ctx=ast.Store()):
                    found.add(name)
                case ast.Constant(value=str(text)) if text.isidentifier():
                    found.add(text)
                case _:
                    pass
        found.update(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            match node:
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                    found.add(name)
                case ast.Assign(targets=targets):
                    found.update(t.id for t in targets if isinstance(t, ast.Name))
                case _:
                    pass
    return frozenset(found | {op.name for op in all_ops()} | set(dir(builtins)) | set(keyword.kwlist))


@lru_cache(maxsize=1)
def extras() -> frozenset[str]:
    """Names of the project's own files of settings: keys of pyproject.toml, environment variables in the sources."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    text += "".join(path.read_text(encoding="utf-8") for path in MODULES.values())
    return frozenset(re.findall(r"[A-Za-z_][\w-]*", text))


def is_path(text: str) -> bool:
    return bool(re.fullmatch(r"[\w./<>*-]+", text)) and (text.endswith((".py", ".md", ".toml", ".txt", "/")) or "/" in text)


def path_exists(text: str) -> bool:
    if re.search(r"<|\*", text):  # a pattern: some file must fit
        pattern = re.sub(r"<[^>]*>", "*", text).strip("/")
        return any(any(start.glob(pattern)) for start in STARTS)
    if text.startswith(("~", "/tmp/")):
        return True
    if "/" not in text:  # a bare file name: some file of ours must have it
        return any(ROOT.glob(text)) or any(path.name == text for path in MODULES.values())
    return any((start / text).exists() for start in STARTS)


def resolves(dotted: str) -> bool:
    """Whether a dotted name is a module of ours, something in one, or a public name."""
    root, _, rest = dotted.partition(".")
    if root in ("tf", "gf"):
        return has(graphflow, rest)
    if root in FOLDERS:
        return reached(dotted) or has(graphflow, rest) or dotted in MOVED
    if root in sys.stdlib_module_names or root in ("tensorflow", "numpy"):
        return True
    candidates = [dotted, *(f"{package}.{dotted}" for package in FOLDERS)]
    # A page may name a module by the end of its path: `tiling.choose_blocking`.
    candidates += [module + dotted[len(root) :] for module in MODULES if module.endswith("." + root)]
    if any(reached(name) for name in candidates):
        return True
    return all(part in words() for part in dotted.split("."))


def reached(name: str) -> bool:
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        module = ".".join(parts[:count])
        if module in MODULES:
            return count == len(parts) or has(importlib.import_module(module), ".".join(parts[count:]))
    return False


def has(value: Any, dotted: str) -> bool:
    for part in dotted.split("."):
        fields = getattr(value, "__dataclass_fields__", {}) | getattr(value, "__annotations__", {})
        if not hasattr(value, part):
            return part in fields
        value = getattr(value, part)
    return True


def complaint(text: str) -> str | None:
    """What is wrong with a piece of code that a page names; None if nothing is, or if it is no name."""
    if text in FOREIGN or text in WRITTEN or any((start / text).exists() for start in STARTS):
        return None
    if is_path(text):
        return None if path_exists(text) else "no such file"
    call = re.fullmatch(r"(@?[A-Za-z_][\w.]*)(\(.*\))?", text)
    if call is None or text.endswith("."):
        return None  # an expression: its examples are run elsewhere, its words are prose
    name = call[1].removeprefix("@").removesuffix("()")
    if "." in name:
        return None if resolves(name) else "no such name"
    return None if name in words() or name in extras() else "no such name"


def command_complaint(line: str) -> str | None:
    """What is wrong with a command; None if nothing is, or if it is none."""
    words_of_line = [w for w in line.split("#")[0].split() if not re.fullmatch(r"[A-Z_]+=\S*", w)]
    match words_of_line:
        case ["make", target, *_] if re.fullmatch(r"[a-z-]+", target):
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
            return None if target in targets else f"no target {target} in the Makefile"
        case [program, script, *_] if re.search(r"(^|/)python[\d.]*$", program) and script.endswith(".py"):
            return None if (ROOT / script).exists() or "/" not in script else f"no file {script}"
        case [program, "-m", "graphflow", command, *_] if re.search(r"(^|/)python[\d.]*$", program):
            known = (ROOT / "graphflow" / "tools" / "cli.py").read_text(encoding="utf-8")
            wanted = re.findall(r"[a-z]+", command) if command.startswith("{") else [command]
            missing = [w for w in wanted if f'"{w}"' not in known]
            return f"no command {missing[0]}" if missing else None
        case [program, *arguments] if program.endswith("pytest") or arguments[:2] == ["-m", "pytest"]:
            missing = [a for a in arguments if a.endswith(".py") and not (ROOT / a).exists()]
            return f"no file {missing[0]}" if missing else None
        case [program, *_] if program.startswith(".ci/"):
            return None if (ROOT / program).exists() else f"no file {program}"
        case _:
            return None


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_pages_name_exists(page: Path) -> None:
    wrong = [f"{page.name}:{line}: `{text}`: {why}" for line, text in code_of(page) if (why := complaint(text))]
    wrong += [f"{page.name}:{line}: {text}: {why}" for line, text in commands_of(page) if (why := command_complaint(text))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    dead = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not dead


@pytest.mark.parametrize(
    "text",
    [
        "graphflow/session.py", "codegen/gemm_tile.py", "planner2.py", "graphflow/oops/<family>.py", "tf.nn.rellu",
        "gf.explian(fetches)", "ir.loopz", "graphflow_compiler.passes.fold", "graphflow.core.tables",
        "tiling.choose_blocks", "KernelGrasp", "@roule()",
        "GRAPHFLOW_FULE",
    ],
)  # fmt: skip
def test_names_that_are_not_there_are_found(text: str) -> None:
    assert complaint(text) is not None


@pytest.mark.parametrize(
    "line",
    [
        "make tests",
        "python -m graphflow inform x",
        "python samples/digits.py",
        "python -m pytest tests/test_nothing.py",
        ".ci/go",
    ],
)
def test_commands_that_are_not_there_are_found(line: str) -> None:
    assert command_complaint(line) is not None


def first_sentence(module: str) -> str:
    text = ast.get_docstring(ast.parse(MODULES[module].read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.!?])\s+(?=[A-Z`])", paragraph)[0]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_every_module_says_what_it_is(module: str) -> None:
    assert len(first_sentence(module)) > 10, f"{module} needs a docstring that says what it holds"


def test_the_map_of_modules(golden_page: Callable[[str, str], None]) -> None:
    """docs/modules.md: a line for every module, made of the modules' docstrings."""
    lines = [
        "# Every module in a line",
        "",
        "Written by `pytest tests/test_pages.py --update-golden` from the modules' docstrings. Who may import whom:",
        "[architecture.md](architecture.md), section 3.",
    ]
    folder: Path | None = None
    for module in sorted(MODULES, key=lambda m: (str(MODULES[m].parent), MODULES[m].stem != "__init__", m)):
        path = MODULES[module]
        if path.parent != folder:
            folder = path.parent
            lines += ["", f"## {folder.relative_to(ROOT)}/", ""]
        if path.stem == "__init__":
            lines += [first_sentence(module), ""]
        else:
            lines.append(f"* `{path.name}`: {first_sentence(module)}")
    golden_page("modules.md", re.sub(r"\n{3,}", "\n\n", "\n".join(lines)))


@pytest.fixture
def golden_page(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    def check(name: str, text: str) -> None:
        path = ROOT / "docs" / name
        text = text.rstrip("\n") + "\n"
        if request.config.getoption("--update-golden"):
            path.write_text(text, encoding="utf-8")
        assert path.read_text(encoding="utf-8") == text, f"run pytest {Path(__file__).name} --update-golden"

    return check
