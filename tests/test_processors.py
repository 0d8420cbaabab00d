"""How many threads a plan may have: what the system's control groups and the environment leave."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from graphflow_compiler import processors
from graphflow_compiler.codegen.jit import compile_pool
from graphflow_compiler.processors import available_processors
from graphflow_runtime.executor import threads


@pytest.fixture(autouse=True)
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GRAPHFLOW_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


class Machine:
    """A tree of control groups, and what a process in one of them is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def limit(self, group: str, quota: str) -> None:
        at = self.folder / "groups" / group.strip("/")
        at.mkdir(parents=True, exist_ok=True)
        (at / "cpu.max").write_text(quota)
        limit, period = quota.split()
        (at / "cpu.cfs_quota_us").write_text("-1" if limit == "max" else limit)
        (at / "cpu.cfs_period_us").write_text(period)

    def told(self, version: int, group: str, root: str = "/") -> Path:
        kind = {1: "cgroup cgroup rw,cpu,cpuacct", 2: "cgroup2 cgroup rw,nsdelegate"}[version]
        lines = (
            f"22 27 0:21 / /proc rw,relatime - proc proc rw\n32 31 0:29 {root} {self.folder / 'groups'} rw shared:9 - {kind}\n"
        )
        (self.folder / "mountinfo").write_text(lines)
        here = f"0::{group}\n" if version == 2 else f"3:cpuset:/else:where\n2:cpu,cpuacct:{group}\n0::/unlimited\n"
        (self.folder / "cgroup").write_text(here)
        return self.folder


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("version", [1, 2])
def test_the_least_quota_on_the_way_to_the_root_counts(version: int, machine: Machine) -> None:
    machine.limit("/", "max 100000")
    machine.limit("/a", "800000 100000")
    machine.limit("/a/b", "250000 100000")
    machine.limit("/a/b/c", "max 100000")
    machine.limit("/other", "100000 100000")
    found = [available_processors(machine.told(version, group)) for group in ("/", "/a", "/a/b", "/a/b/c", "/a/b/c/unwritten")]
    assert found == [16, 8, 2, 2, 2]
    machine.limit("/", "10000 100000")
    assert available_processors(machine.told(version, "/a/b/c")) == 1


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("group", "root", "expected"),
    [("/", "/", 4), ("/box/1", "/box/1", 4), ("/box/1/inner", "/box/1", 3), ("/box/12", "/box/1", 4), ("/../other", "/", 4)],
)
def test_a_container_sees_its_own_group_as_the_outermost(
    version: int, group: str, root: str, expected: int, machine: Machine
) -> None:
    machine.limit("/", "400000 100000")
    machine.limit("/inner", "300000 100000")
    assert available_processors(machine.told(version, group, root)) == expected


@pytest.mark.parametrize("version", [1, 2])
def test_what_cannot_be_read_limits_nothing(version: int, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "_USUAL", ())
    assert available_processors(machine.folder / "nothing") == 16
    told = machine.told(version, "/a")
    assert available_processors(told) == 16
    for wrong in ("no limit", "100000 0"):
        machine.limit("/a", wrong)
        assert available_processors(told) == 16
    (told / "cgroup").write_text("nonsense\n")
    (told / "mountinfo").write_text("nonsense - \n")
    assert available_processors(told) == 16


def test_usual_places_where_mounts_are_not_told(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.limit("/a", "500000 100000")
    told = machine.told(2, "/a")
    (told / "mountinfo").unlink()
    monkeypatch.setattr(processors, "_USUAL", (("cgroup2", "/", str(machine.folder / "groups")),))
    assert available_processors(told) == 5


@pytest.mark.parametrize(
    ("text", "expected"), [(" 1", 1), ("1 ", 1), ("+1", 1), (" 3 ,1", 3), ("", 6), ("0", 6), ("-1", 6), ("x", 6)]
)
def test_openmp_says_how_many_threads(text: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "available_processors", lambda: 6)
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert threads.available_threads() == expected


def test_white_space_around_our_own_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_THREADS", " +5 ")
    assert threads.available_threads() == 5


def test_processes_that_compile_are_as_many_as_processors_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRAPHFLOW_COMPILE_WORKERS", raising=False)
    monkeypatch.setattr(compile_pool.sys, "executable", "/usr/bin/python3")
    for processors_there, helpers in ((1, 0), (2, 1), (16, 7)):
        monkeypatch.setattr(compile_pool, "_processors", lambda n=processors_there: n)
        assert compile_pool._limit() == helpers
