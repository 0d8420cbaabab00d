"""What Graphviz makes of DOT texts: every kernel and every op is in the picture, whatever it is called."""

from __future__ import annotations

import logging
import re
import shutil
import stat
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from random import Random

import pytest

import graphflow as tf
from graphflow.framework.shapes import size
from graphflow.viz import KernelBox, kernels_to_dot, render, to_dot

needs_graphviz = pytest.mark.skipif(find_spec("pygraphviz") is None and shutil.which("dot") is None, reason="needs Graphviz")
needs_package = pytest.mark.skipif(find_spec("pygraphviz") is None, reason="needs pygraphviz")


def drawn(dot: str) -> list[tuple[str, str]]:
    """(id, its text) of each node in the picture."""
    svg = render(dot).decode()
    found = []
    for part in re.findall(r'<g id="\w+" class="node">(.*?)\n</g>\n(?=<!--|</g>)', svg, re.DOTALL):
        title = re.findall(r"<title>(.*?)</title>", part)[0]
        found.append((title, " ".join(re.findall(r"<text[^>]*>(.*?)</text>", part))))
    return found


@needs_graphviz
def test_a_kernel_without_a_name() -> None:
    """A copy has none; Graphviz left the box out, and told the terminal."""
    with tf.Graph().as_default():
        text = tf.plan_to_dot(tf.ones([2]) * 3)
    found = dict(drawn(text))
    assert set(found) == {"k0", "out0"} and "copy" in found["k0"] and "mul" in found["k0"]


#: Texts that Graphviz, DOT or its markup could take for something else; and none.
ODD = [
    "", " ", "\n", "\na", "\x00", "<b>", "</td>", "<>", "a<b>c", "<i>x</i>", '"', "\\", "\\N", "a\\", "&amp;", "&#65;", "&",
    "é", "𝛼", "-", "x" * 200, "a, b", "{", "]", ";", "//", "\ud800",
]  # fmt: skip
AMOUNTS = [None, 0, 10**20, size("n") * 3, "", "<b>"]


@needs_graphviz
@pytest.mark.parametrize("seed", range(4))
def test_every_kernel_is_drawn(seed: int) -> None:
    random = Random(seed)

    def texts(most: int) -> tuple[str, ...]:
        return tuple(random.choices(ODD, k=random.randint(0, most)))

    boxes = [
        KernelBox(
            random.choice(ODD), random.choice(ODD), texts(14), texts(2), texts(2), texts(2), texts(2),
            random.choice(AMOUNTS), random.choice(AMOUNTS), random.choice([None, 0.0, 0.1, 1e30]),
        )
        for _ in range(50)
    ]  # fmt: skip
    labels = {name: name for box in boxes for name in box.reads}
    found = [name for name, _ in drawn(kernels_to_dot(boxes, labels, ODD[seed], "TB" if seed % 2 else "LR"))]
    assert {n for n in found if n.startswith("k")} == {f"k{i}" for i in range(len(boxes))}


@needs_graphviz
def test_texts_are_shown_as_they_are() -> None:
    odd = ["<b>", "<i>x</i>", "&amp;", "&#65;", '"', "\\N", "a\\"]
    with tf.Graph().as_default() as graph:
        for text in odd:
            tf.constant([text], name="c")
    shown = " ".join(text for _, text in drawn(to_dot(graph)))
    for text in odd:
        written = repr(text.encode())[2:-1] if text == '"' else str(text.encode())
        assert written.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("'", "&#39;")[4:-5] in shown


# ---------------------------------------------------------------------------------------------- Graphviz's own words

_TALK = """
import logging, sys
from graphflow.viz import render
for text in ("digraph {a -> b}", "digraph {a [label=<<b></b>>]}", "digraph {a [", "digraph {a [shape=nonsense]}"):
    try:
        print(len(render(text, "png")) > 0)
    except ValueError as e:
        print("refused:", "Graphviz could not draw the picture as png: Error: syntax error in line 1" in str(e))
"""


@needs_graphviz
def test_no_message_reaches_the_terminal() -> None:
    done = subprocess.run([sys.executable, "-c", _TALK], capture_output=True, text=True, timeout=300, check=False)
    assert (done.stdout.split("\n")[:4], done.stderr) == (["True", "refused: True", "refused: True", "True"], "")


@needs_graphviz
def test_warnings_can_be_heard(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "graphflow"):
        assert b"<svg" in render("digraph {a [shape=nonsense]}")
    assert "Graphviz: " in caplog.text and "nonsense" in caplog.text


@needs_package
def test_a_crash_of_graphviz_is_an_error() -> None:
    """Version 14 does not survive a label that begins with an empty line; if yours does, there is a picture."""
    try:
        assert b"<svg" in render('digraph {a [label="\\n"]}')
    except ValueError as e:
        assert "it ended by signal" in str(e)


@needs_package
def test_the_current_folder_is_not_imported_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("json", "pygraphviz", "tempfile"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('from here')")
    monkeypatch.chdir(tmp_path)
    assert b"<svg" in render("digraph {}")


@pytest.mark.skipif(sys.platform == "win32", reason="the program is a shell script")
@pytest.mark.parametrize("where", ["embedded", "broken"])
def test_the_program_where_the_package_cannot_be_had(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that Python is part of cannot be started as an interpreter; a package may be there and not work."""
    program = tmp_path / "dot"
    program.write_text('#!/bin/sh\necho "Warning: a word" >&2\necho "drawn $1"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    if where == "embedded":
        monkeypatch.setattr(sys, "executable", "/opt/blender")
    else:
        (tmp_path / "pygraphviz").mkdir()
        (tmp_path / "pygraphviz" / "__init__.py").write_text("import no_such_library_of_graphviz")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "pygraphviz", raising=False)
    assert render("digraph {}") == b"drawn -Tsvg\n"
