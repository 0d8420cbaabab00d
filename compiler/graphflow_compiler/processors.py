"""How many processors this process may use: its affinity, and the quotas of the control groups that it is in."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_PROCESS = Path("/proc/self")
#: Where control groups usually are, for a process that may not read its mounts: filesystem, root, folder.
_USUAL = (("cgroup2", "/", "/sys/fs/cgroup"), ("cgroup", "/", "/sys/fs/cgroup/cpu"))


def available_processors(process: Path = _PROCESS) -> int:
    """How many processors this process may use, at least one. `process`: its folder in /proc."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    least = min((q for filesystem, group in _groups(process) if (q := _quota(filesystem, group)) is not None), default=math.inf)
    return max(1, math.floor(min(count, least)))


def _quota(filesystem: str, group: Path) -> float | None:
    """Processors that a group's own limit leaves it; None if there is none, or it cannot be read."""
    try:
        if filesystem == "cgroup2":
            limit, period = (group / "cpu.max").read_text().split()[:2]
        else:
            limit, period = (group / "cpu.cfs_quota_us").read_text(), (group / "cpu.cfs_period_us").read_text()
        # Version 1 writes -1 where there is no limit.
        return int(limit) / int(period) if int(limit) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # ValueError: "max"
        return None


def _groups(process: Path) -> Iterator[tuple[str, Path]]:
    """The folders of the process's groups and of all around them, up to the outermost that it can see."""
    paths: dict[str, str] = {}
    for line in _lines(process / "cgroup"):
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if number == "0" and not controllers:
            paths["cgroup2"] = path
        elif "cpu" in controllers.split(","):
            paths["cgroup"] = path
    for filesystem, root, folder in list(_mounts(process)) or _USUAL:
        path = paths.get(filesystem, "/")
        # In a container the mount's root may be the container's own group: paths are then relative to that, and what lies
        # outside of it cannot be read.
        if root != "/":
            path = path[len(root) :] if f"{path}/".startswith(f"{root}/") else "/"
        if ".." in path.split("/"):
            path = "/"
        top = Path(folder)
        group = top / path.strip("/")
        yield filesystem, group
        while group != top:
            group = group.parent
            yield filesystem, group


def _mounts(process: Path) -> Iterator[tuple[str, str, str]]:
    """Filesystem, root and folder of what may limit processors."""
    for line in _lines(process / "mountinfo"):
        mount, _, system = line.partition(" - ")
        fields, (filesystem, _, options) = mount.split(), (*system.split(), "", "", "")[:3]
        limits = filesystem == "cgroup2" or (filesystem == "cgroup" and "cpu" in options.split(","))
        if limits and len(fields) > 4:
            yield filesystem, fields[3], fields[4]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(errors="replace").splitlines()
    except OSError:
        return []
