"""Makes every plan and every step take all threads of a team, however small it is."""

from __future__ import annotations

import pytest

from graphflow_compiler.planning import threaded_entry
from graphflow_runtime.executor import native, threads
from graphflow_runtime.native_code import thread_autotune


def force(team: threads.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_pool", team)
    monkeypatch.setattr(native, "_THREADS_WORK", -1)
    monkeypatch.setattr(native, "_THREADS_NOW", -1)
    monkeypatch.setattr(threaded_entry, "MIN_STEP_NS", -1.0)
    monkeypatch.setattr(native, "new_choice", lambda brief, long: thread_autotune.new_choice(brief=False, always=True))
