"""Options and fixtures shared by all tests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from tests.golden_text import difference

# The first example of a property test compiles native code, later ones do not: a deadline would only be noise.
settings.register_profile("graphflow", deadline=None, print_blob=True)
settings.load_profile("graphflow")


# One run of the tests, with its child processes, shares compiled code in a folder of its own: no run sees another's.
_cache = tempfile.TemporaryDirectory(prefix="graphflow-tests-")
os.environ["GRAPHFLOW_CACHE_DIR"] = _cache.name


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files with what the code now prints")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden(name, text)` compares text with the file golden/<name> beside the test's own file."""
    folder = Path(request.path).parent / "golden"
    update = bool(request.config.getoption("--update-golden"))

    def check(name: str, text: str) -> None:
        path = folder / name
        text = text.rstrip("\n") + "\n"
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        assert path.exists(), f"no golden file {path}; run pytest --update-golden and read what it wrote"
        wanted = path.read_text(encoding="utf-8")
        if text != wanted:
            what = difference(f"golden/{name}", wanted, text)
            pytest.fail(f"{what}\nIf this is wanted: pytest --update-golden, then read the diff", pytrace=False)

    return check
