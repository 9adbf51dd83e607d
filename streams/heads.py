"""The number of the latest view, in a file of eight bytes that its writer maps."""

from __future__ import annotations

from pathlib import Path

__all__ = ["HEAD", "published_views"]

HEAD = "views.head"


def published_views(folder: Path) -> int:
    """Number of the latest view published under a folder, 0 when none was."""
    try:
        return int.from_bytes((folder / HEAD).read_bytes()[:8], "little")
    except OSError:
        return 0
