"""`render` and `save_picture`: DOT text drawn as SVG, PNG, PDF and more by Graphviz."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from graphflow.framework.graph import Graph
from graphflow.viz.dot import to_dot

_log = logging.getLogger("graphflow")

FORMATS = ("svg", "png", "pdf", "jpg", "gif", "eps", "ps", "dot", "json", "plain")


#: Draws what it reads. Graphviz is C code that writes its messages to the standard error of the whole process, where a crash of
#: it would end that: so the process is a child.
_DRAW = """
import json, sys
sys.path[:], kind, text = json.load(sys.stdin)
try:
    import pygraphviz
except ImportError:
    sys.exit(77)
sys.stdout.buffer.write(pygraphviz.AGraph(string=text).draw(format=kind, prog="dot"))
"""
_NOT_THERE = 77


def render(dot: str, format: str = "svg") -> bytes:
    """The picture of a DOT text, drawn by Graphviz: the package pygraphviz if it is there, else the program ``dot``.

    Raises:
        ImportError: neither is installed.
        ValueError: an unknown format, or Graphviz refuses the text or a part of it.
    """
    if format not in FORMATS:  # checked here, because pygraphviz fails in odd ways for unknown formats
        raise ValueError(f"no pictures can be drawn as {format!r}; formats: {', '.join(FORMATS)}")
    for command, given in _ways(dot, format):
        done = subprocess.run(command, input=given, capture_output=True)
        if done.returncode == _NOT_THERE:
            continue
        messages = done.stderr.decode(errors="replace").strip().splitlines()
        wrong = [line for line in messages if line.startswith("Error:")]
        if done.returncode or wrong:  # after an error in one label there is a picture, but without it
            said = "\n".join(wrong or messages[-1:] if done.returncode >= 0 else [f"it ended by signal {-done.returncode}"])
            raise ValueError(f"Graphviz could not draw the picture as {format}: {said}")
        for line in messages:
            _log.info("Graphviz: %s", line)
        return done.stdout
    raise ImportError(
        "drawing needs Graphviz: pip install 'graphflow[viz]' (no system package needed), or write the DOT text "
        "with viz.to_dot and draw it elsewhere"
    )


def _ways(dot: str, format: str) -> Iterator[tuple[list[str], bytes]]:
    """Commands that draw, and what they are to read."""
    # A program with Python inside is no interpreter that could be started again.
    if find_spec("pygraphviz") is not None and os.path.basename(sys.executable or "").startswith("python"):
        paths = [os.path.abspath(p) for p in sys.path]
        yield [sys.executable, "-I", "-c", _DRAW], json.dumps([paths, format, dot]).encode()
    program = shutil.which("dot")
    if program is not None:
        yield [program, f"-T{format}"], dot.encode()


def save_picture(graph_or_dot: Graph | str, path: str | os.PathLike[str], **options: Any) -> str:
    """Draws a graph (`options` as for `to_dot`) or a DOT text; the ending of the path says the format. Returns it."""
    name = os.fspath(path)
    ending = os.path.splitext(name)[1][1:].lower()
    if not ending:
        raise ValueError(f"the name of a picture must end in its format, such as .svg or .png: {name!r}")
    dot = graph_or_dot if isinstance(graph_or_dot, str) else to_dot(graph_or_dot, **options)
    picture = dot.encode() if ending in ("dot", "gv") else render(dot, ending)
    with open(name, "wb") as f:
        f.write(picture)
    return name


def save_svg(graph_or_dot: Graph | str, path: str | os.PathLike[str], **options: Any) -> str:
    """Draws a graph (`options` as for `to_dot`) or a DOT text as SVG, whatever the file is called. Returns the path."""
    dot = graph_or_dot if isinstance(graph_or_dot, str) else to_dot(graph_or_dot, **options)
    name = os.fspath(path)
    with open(name, "wb") as f:
        f.write(render(dot, "svg"))
    return name
