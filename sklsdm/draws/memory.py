"""How much memory this process may still use."""

from __future__ import annotations

import os
import re
from pathlib import Path

_UNKNOWN = 2**63
_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Bytes that can be allocated now: those of the machine, within the limits of its cgroups.

    Containers and batch systems limit memory by cgroups (version 1 or 2). Pages of files that the
    kernel can drop count as available. Where neither is known, it is the machine's memory.
    """
    return min(_machine_memory(), *(_left_in(group) for group in _own_groups()), _UNKNOWN)


def _machine_memory() -> int:
    """What Linux says is available, else all that is built in."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _text(_PROC / "meminfo"), re.MULTILINE)
    if found:
        return 1024 * int(found[1])
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return _UNKNOWN


def _own_groups() -> list[Path]:
    """Folders of the cgroups that limit this process, each with those above it."""
    found = []
    for line in _text(_PROC / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = _CGROUPS / "memory" if controllers else _CGROUPS
        # Inside a container the path may be that on the host, which is not seen from here.
        inner = root / path.lstrip("/")
        found += [inner, *(above for above in inner.parents if above.is_relative_to(root))]
    return found


def _left_in(group: Path) -> int:
    """Bytes left below the limit of a cgroup."""
    for limit, used, reclaimable in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        most, now = _text(group / limit).strip(), _text(group / used).strip()
        if most.isdigit() and now.isdigit():
            droppable = re.search(
                rf"^{reclaimable} (\d+)$", _text(group / "memory.stat"), re.MULTILINE
            )
            return int(most) - int(now) + (int(droppable[1]) if droppable else 0)
    return _UNKNOWN


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
