"""The command line: ``python -m graphflow {info,check,dot} FILE`` and ``python -m graphflow cache``.

It shows what a model file holds, checks it and draws it, and it shows or clears the cache of compiled code.

Exit status: 0 all well, 1 the file is damaged, foreign or too new, 2 wrong usage or the file cannot be read or written.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from graphflow.framework.errors import FormatError

OK, BAD_FILE, USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    parser = _parser()
    try:
        options = parser.parse_args(arguments)
    except SystemExit as e:  # argparse has printed why, or the help
        return OK if e.code in (0, None) else USAGE
    try:
        status: int = options.run(options)
        # Here, so that a closed pipe or a full disk is noticed before the status is decided.
        sys.stdout.flush()
        return status
    except FormatError as e:
        return _fail(options, BAD_FILE, e)
    except BrokenPipeError:
        # ``... | head`` closed the pipe. What is left in the buffer must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (OSError, ImportError, ValueError) as e:
        return _fail(options, USAGE, e)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m graphflow", description="Model files, and the cache of compiled code.")
    commands = parser.add_subparsers(required=True, metavar="{info,check,dot,cache}")
    info = commands.add_parser("info", help="what a model or checkpoint holds")
    info.set_defaults(run=_info)
    check = commands.add_parser("check", help="whether a file is sound, to the last byte")
    check.set_defaults(run=_check)
    dot = commands.add_parser("dot", help="the graph as DOT text, or drawn as SVG, PNG or PDF")
    dot.set_defaults(run=_dot)
    cache = commands.add_parser("cache", help="the compiled code kept on disk: where, how much; or remove it")
    cache.set_defaults(run=_cache, file=None)
    cache.add_argument("--clear", action="store_true", help="remove all of it")
    cache.add_argument("--json", action="store_true", help="machine-readable output")
    for command in (info, check, dot):
        command.add_argument("file", help="a file written by gf.save or train.Saver")
    for command in (info, check):
        command.add_argument("--json", action="store_true", help="machine-readable output")
    dot.add_argument("-o", "--output", help="write there; the ending says the format (.dot, .svg, .png, .pdf)")
    dot.add_argument("--gradients", choices=("full", "folded", "hidden"), default="full", help="how to draw gradient ops")
    dot.add_argument("--variables", choices=("full", "folded"), default="folded", help="with their helper ops or without")
    dot.add_argument("--optimizers", choices=("full", "folded"), default="folded", help="what they made as one node")
    dot.add_argument("--collapse", action=argparse.BooleanOptionalAction, default=None, help="fold name scopes")
    dot.add_argument("--legend", action="store_true", help="add what the colours mean")
    return parser


def _fail(options: argparse.Namespace, status: int, error: Exception) -> int:
    if getattr(options, "json", False):
        print(json.dumps({"file": options.file, "ok": False, "error": type(error).__name__, "message": str(error)}))
    else:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    return status


def _describe(path: str) -> dict[str, Any]:
    """What a file holds, as a JSON value. Raises FormatError and OSError."""
    # Commands import what they need: ``cache`` and ``--help`` load neither the graph nor the op library.
    from graphflow.io.container import read_container
    from graphflow.io.native import load, step_of, variable_names

    container = read_container(path)
    names = variable_names(container)
    variables: dict[str, Any] = {
        name: {"dtype": e.dtype.name, "shape": list(e.shape), "bytes": e.end - e.start}
        for name, e in ((n, container.entries[f"var/{n}"]) for n in names)
    }
    result: dict[str, Any] = {
        "file": path,
        "ok": True,
        "bytes": os.path.getsize(path),
        "format_version": container.metadata.get("graphflow.format_version"),
        "producer": container.metadata.get("graphflow.producer"),
        "step": step_of(container),
        "variables": variables,
        "parameters": sum(_count(v["shape"]) for v in variables.values()),
    }
    if "graphflow.graph" in container.metadata:
        loaded = load(path, verify=False)  # the checksums have just been checked
        operations = loaded.graph.get_operations()
        result["operations"] = len(operations)
        result["op_types"] = dict(sorted(Counter(op.type for op in operations).items(), key=lambda i: (-i[1], i[0])))
        result["signature"] = {
            part: {key: f"{t.name} {t.type}" for key, t in tensors.items()}
            for part, tensors in (("inputs", loaded.signature.inputs), ("outputs", loaded.signature.outputs))
        }
        result["collections"] = {k: len(loaded.graph.get_collection(k)) for k in loaded.graph.get_all_collection_keys()}
    return result


def _count(shape: Sequence[int]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total


def _cache(options: argparse.Namespace) -> int:
    from graphflow_compiler.codegen.jit.object_cache import object_cache

    cache = object_cache()
    if cache is None:
        print(json.dumps({"folder": None}) if options.json else "the cache is off: GRAPHFLOW_CACHE_DIR is empty")
        return OK
    removed = cache.clear() if options.clear else 0
    found = cache.usage()
    if options.json:
        print(json.dumps({**asdict(found), "folder": str(found.folder), "removed": removed}))
        return OK
    if options.clear:
        print(f"removed {removed} files")
    print(f"{found.folder}: {found.files} files, {found.size:,} of at most {found.limit:,} bytes")
    return OK


def _info(options: argparse.Namespace) -> int:
    found = _describe(options.file)
    if options.json:
        print(json.dumps(found, indent=2))
        return OK
    print(f"{found['file']}: {found['bytes']:,} bytes, format {found['format_version']}, by {found['producer']}")
    if found["step"] is not None:
        print(f"step {found['step']}")
    if "operations" in found:
        print(f"{found['operations']:,} operations: " + ", ".join(f"{n} {t}" for t, n in found["op_types"].items()))
        for part, tensors in found["signature"].items():
            for key, text in tensors.items():
                print(f"  {part[:-1]} {key}: {text}")
        for key, count in found["collections"].items():
            print(f"  collection {key}: {count}")
    else:
        print("no graph")
    print(f"{len(found['variables'])} variables, {found['parameters']:,} parameters")
    for name, v in found["variables"].items():
        print(f"  {name}: {v['dtype']} {tuple(v['shape'])}")
    return OK


def _check(options: argparse.Namespace) -> int:
    found = _describe(options.file)
    if options.json:
        print(json.dumps({"file": options.file, "ok": True}))
        return OK
    graph = f"{found['operations']:,} operations and " if "operations" in found else ""
    print(f"{options.file}: sound ({graph}{len(found['variables'])} variables, {found['bytes']:,} bytes)")
    return OK


def _dot(options: argparse.Namespace) -> int:
    from graphflow.io.native import load
    from graphflow.viz import save_picture, to_dot

    text = to_dot(
        load(options.file).graph,
        gradients=options.gradients,
        variables=options.variables,
        optimizers=options.optimizers,
        collapse=options.collapse,
        legend=options.legend,
    )
    if options.output:
        save_picture(text, options.output)
    else:
        print(text, end="")
    return OK
