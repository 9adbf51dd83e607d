"""Whether the sets of vectors that policies read are on this host."""

from __future__ import annotations

from api.settings import Settings
from streams.config import EngineConfig
from streams.vector_features import open_vectors

__all__ = ["check_vectors"]


def check_vectors(settings: Settings) -> list[str]:
    """Read every set; returns what was found, a line a feature. Raises ``ConfigError``."""
    config = EngineConfig.from_dict(settings.engine_settings())
    found = open_vectors([each.schema for each in config.policies.values()], settings.data_dir)
    return [
        f"{feature.name} {feature.version}: {len(vectors)} vectors of {vectors.count} numbers"
        for feature, vectors in found.items()
    ]
