"""Compiled code on disk: found by the next process, never trusted when it should not be, and never in the way."""

from __future__ import annotations

import gc
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

import graphflow as gf
from graphflow.framework.errors import CompileError
from graphflow.tools.cli import main
from graphflow_compiler.codegen.jit import compile_pool, engine, link
from graphflow_compiler.codegen.jit.compile_pool import CompilePool
from graphflow_compiler.codegen.jit.engine import compile_module, compile_units
from graphflow_compiler.codegen.jit.object_cache import ObjectCache, key_of, object_cache
from graphflow_compiler.codegen.jit.object_code import answer_of, object_code
from graphflow_compiler.codegen.llvm.llvm_text import host_target
from graphflow_runtime.native_code import dispatch

KEY = bytes(range(32))
CODE = b"not really machine code" * 100
LIMIT = 1_000_000

PROGRAM = """
import numpy as np, graphflow as tf
x = tf.placeholder(tf.float32, [None, 5])
y = tf.matmul(tf.tanh(x), tf.constant(np.eye(5, dtype=np.float32)) * 3.0)
loss = tf.reduce_sum(tf.square(y))
with tf.Session() as s:
    print(float(s.run([loss, tf.gradients(loss, x)[0]], {x: np.full((3, 5), 0.5, np.float32)})[0]).hex())
    print(s.stats.kernels_compiled, s.stats.kernels_from_disk)
"""


@pytest.fixture
def cache(tmp_path: Path) -> ObjectCache:
    return ObjectCache(tmp_path / "deep" / "cache", LIMIT)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "cache"
    monkeypatch.setenv("GRAPHFLOW_CACHE_DIR", str(found))
    return found


def run(folder: Path | str, **environment: str) -> tuple[str, int, int]:
    """What PROGRAM computed, and how many of its kernels were new and found on disk."""
    env = {**os.environ, "GRAPHFLOW_CACHE_DIR": str(folder), **environment}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    value, counts = done.stdout.splitlines()
    made, found = counts.split()
    return value, int(made), int(found)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.gfo"))


def module(value: int) -> str:
    return f"define i32 @f() {{\n  ret i32 {value}\n}}\n"


def called(engine: object, name: str = "f") -> int:
    import ctypes

    return int(ctypes.CFUNCTYPE(ctypes.c_int32)(engine.address(name))())  # type: ignore[attr-defined]


# ---------------------------------------------------------------------------------------------- between processes


def test_the_next_process_finds_all_of_it(tmp_path: Path) -> None:
    first = run(tmp_path)
    assert first[1] > 0 and first[2] == 0
    before = {p: p.read_bytes() for p in files(tmp_path)}
    second = run(tmp_path)
    assert second == (first[0], first[1], first[1])
    assert {p: p.read_bytes() for p in files(tmp_path)} == before


def test_without_a_cache(tmp_path: Path) -> None:
    value, made, found = run("", HOME=str(tmp_path), XDG_CACHE_HOME="")
    assert made > 0 and found == 0 and not list(tmp_path.iterdir())
    assert run(tmp_path / "new")[0] == value


def test_where_it_is_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRAPHFLOW_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    found = object_cache()
    assert found is not None and found.folder == tmp_path / "xdg" / "graphflow"
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        found = object_cache()
        assert found is not None and found.folder == tmp_path / ".cache" / "graphflow"


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert run(tmp_path / "file" / "cache")[2] == 0


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "longer", "swapped"])
def test_damaged_files_are_compiled_anew(folder: Path, damage: str) -> None:
    assert [called(compile_module([module(v)])) for v in (7, 8)] == [7, 8]
    first, second = files(folder)
    good = {p: p.read_bytes() for p in (first, second)}
    for path, other in ((first, second), (second, first)):
        data = bytearray(good[path])
        data[-1] ^= 1
        path.write_bytes(
            {"flip": bytes(data), "cut": good[path][:-5], "empty": b"", "longer": good[path] + b"x", "swapped": good[other]}[
                damage
            ]
        )
    engines = [compile_module([module(v)]) for v in (7, 8)]
    assert [called(e) for e in engines] == [7, 8] and not any(e.found[0] for e in engines)
    assert {p: p.read_bytes() for p in files(folder)} == good
    assert compile_module([module(7)]).found == (True,)


def test_every_byte_counts(cache: ObjectCache) -> None:
    cache.put(KEY, CODE[:64])
    (path,) = files(cache.folder)
    good = path.read_bytes()
    for i in range(len(good)):
        damaged = bytearray(good)
        damaged[i] ^= 0x20
        path.write_bytes(bytes(damaged))
        assert cache.get(KEY) is None and not path.exists()
    path.write_bytes(good)
    assert cache.get(KEY) == CODE[:64]


def test_the_key_holds_text_and_machine() -> None:
    keys = {key_of(*parts) for parts in (("a", "b", "c"), ("b", "a", "c"), ("ab", "", "c"), ("a", "bc", ""), ("a", "b", "d"))}
    assert len(keys) == 5 and all(len(k) == 32 for k in keys)


# ---------------------------------------------------------------------------------------------- whose files


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_what_others_could_have_written_is_not_used(cache: ObjectCache, tmp_path: Path) -> None:
    cache.put(KEY, CODE)
    (path,) = files(cache.folder)
    path.chmod(0o666)
    assert cache.get(KEY) is None
    cache.put(KEY, CODE)
    moved = tmp_path / "elsewhere"
    path.rename(moved)
    path.symlink_to(moved)
    assert cache.get(KEY) is None
    path.unlink()
    os.mkfifo(path)
    assert cache.get(KEY) is None  # and does not wait for a writer


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_folder_that_others_can_write_is_not_used(cache: ObjectCache, caplog: pytest.LogCaptureFixture) -> None:
    cache.put(KEY, CODE)
    cache.folder.chmod(0o777)
    other = ObjectCache(cache.folder, LIMIT)
    assert other.get(KEY) is None and "others may write" in caplog.text
    other.put(bytes(32), CODE)
    assert len(files(cache.folder)) == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_files_of_another_user_are_not_used(cache: ObjectCache) -> None:
    cache.put(KEY, CODE)
    (path,) = files(cache.folder)
    os.chown(path, 12345, -1)
    assert cache.get(KEY) is None
    cache.put(KEY, CODE)
    os.chown(cache.folder, 12345, -1)
    assert ObjectCache(cache.folder, LIMIT).get(KEY) is None


def test_a_full_disk_leaves_nothing_behind(cache: ObjectCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    cache.put(KEY, CODE)
    assert cache.get(KEY) is None and not list(cache.folder.iterdir())


# ---------------------------------------------------------------------------------------------- how much


def test_it_stays_within_its_limit(tmp_path: Path) -> None:
    other = ObjectCache(tmp_path, 100_000)
    for i in range(20):
        other.put(bytes([i] * 32), b"x" * 1000)
        os.utime(tmp_path / f"{bytes([i] * 32).hex()}.gfo", (i, i))
    cache = ObjectCache(tmp_path, 10_000)
    assert cache.get(bytes(32)) is not None  # used just now, so others are older
    (tmp_path / ".new-abandoned").write_bytes(b"")
    os.utime(tmp_path / ".new-abandoned", (0, 0))
    (tmp_path / ".new-at-work").write_bytes(b"")
    cache.prune()
    usage = cache.usage()
    assert 5_000 < usage.size <= 8_000 and cache.get(bytes(32)) is not None and cache.get(bytes([1] * 32)) is None
    assert [p.name for p in tmp_path.glob(".new-*")] == [".new-at-work"]


def test_no_write_passes_the_limit(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path, 10_000)
    for i in range(200):
        cache.put(i.to_bytes(32, "little"), b"x" * (300 + 37 * i % 2000))
        assert cache.usage().size <= 10_000
    cache.put(KEY, b"x" * 10_000)  # would be too much alone
    assert cache.get(KEY) is None and cache.usage().files > 3
    off = ObjectCache(tmp_path / "off", 0)
    off.put(KEY, CODE)
    assert off.usage().files == 0


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    compile_module([module(9)])
    assert main(["cache", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["folder"] == str(folder) and found["files"] == 1 and 0 < found["size"] < found["limit"] == 256_000_000
    assert main(["cache", "--clear"]) == 0
    assert "removed 1 files" in capsys.readouterr().out and not files(folder)
    monkeypatch.setenv("GRAPHFLOW_CACHE_SIZE", "3")
    assert main(["cache"]) == 0
    assert f"{folder}: 0 files, 0 of at most 3,000,000 bytes" in capsys.readouterr().out
    monkeypatch.setenv("GRAPHFLOW_CACHE_DIR", "")
    assert main(["cache"]) == 0
    assert "off" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------- many units


def test_units_call_each_other_and_are_found_one_by_one(folder: Path) -> None:
    caller = "declare i32 @f()\ndefine i32 @g() {\n  %v = call i32 @f()\n  ret i32 %v\n}\n"
    assert called(compile_units([caller, module(3)]), "g") == 3
    again = compile_units([caller, module(4)])
    assert called(again, "g") == 4 and again.found == (True, False)
    with pytest.raises(CompileError, match="no function f"):
        compile_units([caller, "define i32 @h() {\n  ret i32 0\n}\n"])


TEXTS = [module(v) for v in range(12)]
BAD = "define i32 @f() { ret i64 0 }"


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[CompilePool]:
    """Helpers of the test's own, of whom there may be two, and who start for any text."""
    made = CompilePool()
    monkeypatch.setattr(compile_pool, "_pool", made)
    monkeypatch.setattr(compile_pool, "_EARLY", 1)
    monkeypatch.setenv("GRAPHFLOW_COMPILE_WORKERS", "2")
    yield made
    made.dismiss()


def begun(*texts: str) -> dict[str, compile_pool.Job]:
    target = host_target()
    found = {}
    for text in texts:
        job = compile_pool.begin(text, target.cpu, target.features)
        assert job is not None
        found[text] = job
    return found


def emitted(texts: Sequence[str], jobs: Mapping[str, compile_pool.Job] | None = None) -> list[bytes]:
    target = host_target()
    return compile_pool.emit_all(texts, target.cpu, target.features, jobs)


@pytest.fixture(scope="module")
def alone() -> list[bytes]:
    target = host_target()
    return [object_code(text, target.cpu, target.features) for text in TEXTS]


def test_helpers_make_the_same_code(pool: CompilePool, alone: list[bytes]) -> None:
    jobs = begun(*TEXTS)
    assert all(job.done.wait(60) for job in jobs.values())
    assert [job.code for job in jobs.values()] == alone
    assert len({job.helper for job in jobs.values()}) <= 2 and None not in {job.helper for job in jobs.values()}
    assert emitted(TEXTS, jobs) == alone
    assert emitted(TEXTS[3:5], jobs) == alone[3:5]


def test_what_nobody_has_begun_is_compiled_here(pool: CompilePool, monkeypatch: pytest.MonkeyPatch, alone: list[bytes]) -> None:
    assert emitted(TEXTS) == alone
    monkeypatch.setattr(compile_pool, "COMMAND", "raise SystemExit(3)")
    assert emitted(TEXTS, begun(*TEXTS)) == alone
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert emitted(TEXTS, begun(*TEXTS[:5])) == alone
    monkeypatch.setenv("GRAPHFLOW_COMPILE_WORKERS", "0")
    target = host_target()
    assert compile_pool.begin(TEXTS[0], target.cpu, target.features) is None
    assert emitted(TEXTS) == alone
    assert pool.waiting() == 0


def test_a_text_that_is_refused(pool: CompilePool, alone: list[bytes]) -> None:
    jobs = begun(BAD)
    assert jobs[BAD].done.wait(60) and jobs[BAD].code is None
    more = begun(*TEXTS)  # the helper lives
    with pytest.raises(RuntimeError, match="ret i64"):
        emitted([BAD, *TEXTS], jobs | more)
    with pytest.raises(RuntimeError, match="ret i64"):
        emitted([BAD, *TEXTS])
    assert pool.waiting() == 0  # nobody wants the others any more
    assert emitted(TEXTS) == alone


@pytest.mark.parametrize("then", ["", "time.sleep(100)", "sys.stdout.write('x' * 5)", "sys.stdout.write('x' * 50)", "1 / 0"])
def test_helpers_that_fail(pool: CompilePool, monkeypatch: pytest.MonkeyPatch, then: str, alone: list[bytes]) -> None:
    """They take a job, and do not answer, or with something else."""
    command = f"import sys, time; sys.stdin.buffer.readline(); print('ready', flush=True); sys.stdin.buffer.read(20); {then}"
    monkeypatch.setattr(compile_pool, "COMMAND", command)
    monkeypatch.setattr(compile_pool, "_PATIENCE", 0.5)
    jobs = begun(TEXTS[0])
    deadline = time.monotonic() + 60
    while jobs[TEXTS[0]].helper is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert emitted(TEXTS, jobs) == alone


def test_after_a_helper_without_a_word_there_are_no_more(
    pool: CompilePool, monkeypatch: pytest.MonkeyPatch, alone: list[bytes]
) -> None:
    monkeypatch.setattr(compile_pool, "COMMAND", "import sys; sys.stdin.close()")
    jobs = begun(*TEXTS)
    deadline = time.monotonic() + 60
    while pool.count() and time.monotonic() < deadline:
        time.sleep(0.01)
    monkeypatch.setattr(compile_pool, "_process", lambda: pytest.fail("another helper"))
    assert emitted(TEXTS, jobs) == alone
    begun(*TEXTS)
    assert pool.count() == 0


def test_helpers_import_nothing_from_the_current_folder(
    pool: CompilePool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, alone: list[bytes]
) -> None:
    for name in ("json", "struct", "re", "enum"):
        (tmp_path / f"{name}.py").write_text("open('imported', 'w').close()")
    monkeypatch.chdir(tmp_path)
    jobs = begun(*TEXTS)
    assert all(job.done.wait(60) and job.code is not None for job in jobs.values())
    assert emitted(TEXTS, jobs) == alone and not (tmp_path / "imported").exists()


def test_helpers_without_work_end(pool: CompilePool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_pool, "_IDLE", 0.05)
    jobs = begun(*TEXTS)
    helpers = {job.helper for job in jobs.values() if job.done.wait(60)}
    deadline = time.monotonic() + 60
    while pool.count() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert pool.count() == 0 and all(h is not None and h.poll() is not None for h in helpers)


def test_the_largest_goes_first() -> None:
    jobs = [compile_pool.Job("x" * n, "", "") for n in (3, 9, 1, 7)]
    pool = CompilePool()
    pool.add(jobs)
    assert pool.waiting() == 20
    assert [pool.take(), pool.take(jobs[2:]), pool.take(), pool.take(jobs[:1]), pool.take()] == [
        jobs[1], jobs[3], jobs[0], None, jobs[2]
    ]  # fmt: skip


def test_units_begin_while_the_plan_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is begun is what `link` wants compiled, and nothing that the disk has."""
    began: list[str] = []
    asked: list[str] = []
    units = link.compile_units
    dispatch.builtins()  # or they would begin too, which no `link` asks for
    monkeypatch.setenv("GRAPHFLOW_COMPILE_WORKERS", "1")
    monkeypatch.setattr(engine, "begin", lambda text, *_: began.append(text))
    monkeypatch.setattr(link, "compile_units", lambda texts, **options: asked.extend(texts) or units(texts, **options))

    def first_run() -> None:
        with gf.Graph().as_default() as graph:
            xs = [gf.placeholder(gf.float32, [None, 3 + k]) for k in range(20)]
            fetches = [gf.reduce_sum(gf.tanh(x) * gf.sigmoid(x), axis=1) for x in xs]
            fetches.append(gf.matmul(xs[0], gf.constant(np.ones((3, 4), np.float32))))
        with gf.Session(graph=graph) as session:
            session.run(fetches, {x: np.ones((2, 3 + k), np.float32) for k, x in enumerate(xs)})

    first_run()
    assert began and set(began) <= set(asked)
    began.clear()
    gc.collect()  # the first session's code goes
    first_run()
    assert not began


def test_answers_are_checked() -> None:
    one = (3).to_bytes(8, "little") + b"abc"
    assert answer_of(io.BytesIO(one + b"more").read) == b"abc"
    assert answer_of(io.BytesIO(b"\xff" * 8).read) is None
    for bad in (b"", one[:-1], one[:4], bytes(8), b"\xfe" * 16, b"x" * 16):
        with pytest.raises(ValueError):
            answer_of(io.BytesIO(bad).read)
