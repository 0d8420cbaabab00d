"""Generated code, kept as text: a change that is to change no code leaves these files as they are.

What differs is said by program and kernel. If the change is wanted: `pytest tests/test_golden_kernels.py --update-golden`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.generated_code import PATTERNS, generated_text
from tests.golden_programs import PROGRAMS
from tests.golden_text import MOST, difference

FOLDER = Path(__file__).parent / "golden" / "kernels"


@pytest.mark.parametrize("name", PROGRAMS)
def test_generated_code(name: str, golden: Callable[[str, str], None], tmp_path: Path) -> None:
    golden(f"kernels/{name}.txt", generated_text(PROGRAMS[name], tmp_path))


def test_no_file_is_left_of_a_program_that_is_gone(request: pytest.FixtureRequest) -> None:
    left = [path for path in FOLDER.iterdir() if path.stem not in PROGRAMS]
    if request.config.getoption("--update-golden"):
        for path in left:
            path.unlink()
        return
    assert not left, "of no program; --update-golden deletes them"


def test_programs_use_every_kind_of_kernel() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in FOLDER.iterdir())
    used = set(re.findall(r"^step .* \[([a-z ]+)\]", text, re.MULTILINE))
    assert used >= {*PATTERNS, "copy", "row blocks", "row results", "column blocks", "column results"}


def test_a_difference_names_the_kernels_and_is_short() -> None:
    old = "== plan\nstep 0\n== kernel 0\na\nb\nc\n== kernel 1\nd\n== kernel 2\n" + "e\n" * 100
    assert difference("x.txt", old, old.replace("b\n", "B\n")).splitlines() == [
        "x.txt differs in: kernel 0", "--- kernel 0, golden", "+++ kernel 0, now", "@@ -1,4 +1,4 @@",
        " == kernel 0", " a", "-b", "+B", " c",
    ]  # fmt: skip
    text = difference("x.txt", old, old.replace("e\n", "f\n").replace("== kernel 1\nd\n", ""))
    assert text.startswith("x.txt differs in: kernel 1, kernel 2\n--- kernel 1, golden")
    assert text.endswith("\n...") and len(text.splitlines()) == MOST + 2
