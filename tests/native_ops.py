"""Which ops may run in numpy instead of native code, and the assertion that all others do not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from graphflow_compiler.compilation import CannotCompile
from graphflow_runtime.executor import native

#: Ops that native code cannot serve yet, with the reason: runs that need one are done by the reference backend. An op that is
#: served must not stand here; that is checked as well.
NOT_NATIVE = {
    "Cumprod": "running products are no kind that the compiler knows",
    "Cumsum": "running sums are no kind that the compiler knows",
    "Orthonormal": "a QR decomposition, which numpy does",
    "Print": "it writes to standard error",
    "PyFunc": "it is a function of the user, in Python",
    "Range": "its length is a value, where its limits are computed",
    "TopKV2": "sorting is no kind that the compiler knows",
    "Unique": "the length of its result depends on data",
    "UniqueWithCounts": "the length of its result depends on data",
    "Where": "the length of its result depends on data",
}


def assert_native(session: Any, what: str, names: Iterable[str], fetches: Any = None, feeds: Any = None) -> None:
    """Fails unless the session has run everything natively or, where `names` has an op of the list, nothing.

    Args:
        what: names the case.
        names: types of the ops that every run of the session needs.
        fetches, feeds: of these it is said why they ran in numpy.
    """
    stats = session.stats
    assert stats.runs, f"{what}: nothing has run"
    listed = sorted(NOT_NATIVE.keys() & set(names))
    if listed:
        assert stats.host_fallbacks == stats.runs, (
            f"{what}: native code ran, though {', '.join(listed)} cannot: is the list old?"
        )
    elif stats.host_fallbacks:
        why = "" if fetches is None else f": {session.explain(fetches, feeds)}"
        raise AssertionError(f"{what}: {stats.host_fallbacks} of {stats.runs} runs were in numpy{why}")


def refuse_to_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the compiler refuse every program: whatever is correct without it must not pass for a test of it."""

    def refuse(*_: Any) -> Any:
        raise CannotCompile("nothing is compiled in this test")

    monkeypatch.setattr(native, "compile", refuse)
