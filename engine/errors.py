"""Every error slatestream raises, in one tree.

SlatestreamError
├── ConfigError        a setting, or a combination of settings, that cannot work
├── SchemaError        features that do not fit the declared schema
├── ShapeError         arrays whose shapes or values do not fit together
├── SnapshotError      saved state that cannot be loaded
├── streams.errors     BadEventError, BadItemError, FencedError, LogError, StoreError,
│                      UnknownPoolError, and kinds of them
├── api.problems       ProblemError: one HTTP problem document
└── api.client         ClientError: what the service answered, or that it did not
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "ConfigError",
    "SchemaError",
    "ShapeError",
    "SlatestreamError",
    "SnapshotError",
    "suggest",
]


class SlatestreamError(Exception):
    """Root of the tree: catch this to catch everything slatestream raises on purpose."""


class ConfigError(SlatestreamError, ValueError):
    """A setting, or a combination of settings, that cannot work."""


class SchemaError(SlatestreamError, ValueError):
    """Features that do not fit the declared schema."""


class ShapeError(SlatestreamError, ValueError):
    """Arrays whose shapes or values do not fit together."""


class SnapshotError(SlatestreamError):
    """Saved state that cannot be loaded."""


def suggest(given: str, known: Iterable[str]) -> str:
    """End of a message about an unknown name: the nearest known one, or all of them."""
    names = list(known)
    near = difflib.get_close_matches(given, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(names) or 'none'}"
