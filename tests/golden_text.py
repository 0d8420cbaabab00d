"""How a text differs from its golden file, in few lines. Lines ``== title`` begin its sections."""

from __future__ import annotations

from difflib import unified_diff

#: Lines of differences that are shown.
MOST = 60


def difference(file: str, wanted: str, found: str) -> str:
    """Names the sections that differ, and shows where as a unified diff, cut off after some lines."""
    old, new = sections(wanted), sections(found)
    changed = [title for title in dict.fromkeys([*old, *new]) if old.get(title) != new.get(title)]
    lines: list[str] = []
    for title in changed:
        if len(lines) <= MOST:
            lines += unified_diff(old.get(title, []), new.get(title, []), f"{title}, golden", f"{title}, now", lineterm="", n=2)
    rest = ["..."] if len(lines) > MOST else []
    return "\n".join([f"{file} differs in: {', '.join(changed) or 'the order of its sections'}", *lines[:MOST], *rest])


def sections(text: str) -> dict[str, list[str]]:
    """The lines of each section; what precedes the first title is in a section called "text"."""
    found: dict[str, list[str]] = {}
    title = "text"
    for line in text.splitlines():
        if line.startswith("== "):
            title = line[3:]
        found.setdefault(title, []).append(line)
    return found
