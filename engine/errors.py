"""Every error slatestream raises, in one tree.

SlatestreamError
├── ConfigError        a setting, or a combination of settings, that cannot work
├── SchemaError        features that do not fit the declared schema
├── ShapeError         arrays whose shapes or values do not fit together
├── SnapshotError      saved state that cannot be loaded
├── streams.errors     BadEventError, FencedError, LogError, StoreError, UnknownPoolError
├── api.problems       ProblemError: one HTTP problem document
└── api.client         ClientError: what the service answered, or that it did not
"""

__all__ = ["ConfigError", "SchemaError", "ShapeError", "SlatestreamError", "SnapshotError"]


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
