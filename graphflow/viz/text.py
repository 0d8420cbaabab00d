"""Pieces of DOT text: quoted strings, attribute lists, labels."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping

from graphflow.framework.kinds import TensorType
from graphflow.framework.shapes import SymDim

FONT = "Helvetica,Arial,sans-serif"
EDGE = {"fontname": FONT, "fontsize": "9", "color": "#606060", "fontcolor": "#404040", "arrowsize": "0.7"}


_ENTITY = re.compile(r"&(?=#?\w+;)", re.ASCII)  # Graphviz reads those in any label


def quoted(text: str) -> str:
    """A DOT string that shows exactly `text`."""
    # Names may contain anything; control characters would break the text or the picture.
    plain = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
    plain = _ENTITY.sub("&amp;", plain)
    if plain.startswith("\n"):
        plain = f" {plain}"  # Graphviz 14 crashes where the first line of a label is empty
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


class Markup(str):
    """An HTML-like label, which is no text to be quoted. `escaped` and `tagged` make its parts."""

    __slots__ = ()


def escaped(text: str) -> str:
    """`text` inside an HTML-like label."""
    return html.escape("".join(c if c.isprintable() else "\ufffd" for c in text))


def tagged(tag: str, content: str, **values: str) -> str:
    """``<tag key="value">content</tag>``, or nothing: Graphviz refuses a whole label for one font around no text.

    `content` is markup. An underscore in a key stands for the hyphen that Python's names cannot have.
    """
    if not content:
        return ""
    said = "".join(f' {k.replace("_", "-")}="{escaped(v)}"' for k, v in values.items())
    return f"<{tag}{said}>{content}</{tag}>"


def attributes(values: Mapping[str, str]) -> str:
    """`` [key="value", ...]``, or nothing."""
    items = [f"{k}={f'<{v}>' if isinstance(v, Markup) else quoted(v)}" for k, v in values.items() if v]
    return f" [{', '.join(items)}]" if items else ""


def type_text(type_: TensorType) -> str:
    """``float32 (?, 10)``: sizes that have a name by their name."""
    if type_.shape is None:
        return f"{type_.dtype.name} <unknown>"
    dims = ["?" if isinstance(d, SymDim) and any(n.startswith("?") for n in d.names()) else str(d) for d in type_.shape]
    return f"{type_.dtype.name} ({', '.join(dims)}{',' if len(dims) == 1 else ''})"


def shortened(text: str, limit: int = 40) -> str:
    """`text` with its middle left out if it is long: the two ends of a name say more than its beginning alone."""
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 2
    return text[: limit - 1 - tail] + "…" + text[-tail:]
