"""`render` and `save_picture`: DOT text drawn as SVG, PNG, PDF and more by Graphviz."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any

from graphflow.framework.graph import Graph
from graphflow.viz.dot import to_dot

FORMATS = ("svg", "png", "pdf", "jpg", "gif", "eps", "ps", "dot", "json", "plain")


def render(dot: str, format: str = "svg") -> bytes:
    """The picture of a DOT text, drawn by Graphviz: the package pygraphviz if it is there, else the program ``dot``.

    Raises:
        ImportError: neither is installed.
        ValueError: an unknown format, or Graphviz refuses the text.
    """
    if format not in FORMATS:  # checked here, because pygraphviz fails in odd ways for unknown formats
        raise ValueError(f"no pictures can be drawn as {format!r}; formats: {', '.join(FORMATS)}")
    try:
        import pygraphviz
    except ImportError:
        return _by_program(dot, format)
    try:
        picture: Any = pygraphviz.AGraph(string=dot).draw(format=format, prog="dot")
    except (ValueError, OSError) as e:
        raise ValueError(f"Graphviz could not draw the picture as {format}: {e}") from None
    return bytes(picture)


def _by_program(dot: str, format: str) -> bytes:
    program = shutil.which("dot")
    if program is None:
        raise ImportError(
            "drawing needs Graphviz: pip install 'graphflow[viz]' (no system package needed), or write the DOT text "
            "with viz.to_dot and draw it elsewhere"
        )
    done = subprocess.run([program, f"-T{format}"], input=dot.encode(), capture_output=True)
    if done.returncode:
        raise ValueError(f"Graphviz could not draw the picture as {format}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


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
