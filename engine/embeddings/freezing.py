"""What a table learned of the ids of one feature, as a set that moves no more."""

from __future__ import annotations

import numpy as np

from engine.embeddings.table import EmbeddingTable
from engine.embeddings.vectors import VectorSet
from engine.errors import ConfigError, suggest
from engine.kernels.embeddings import layout as at

__all__ = ["freeze"]


def freeze(table: EmbeddingTable, feature: str, version: str = "") -> VectorSet:
    """Copy the vectors of a feature's ids that have one of their own, without their biases.

    Parameters
    ----------
    version
        Name of the set; after its content when it is empty.

    Raises
    ------
    ConfigError
        When the table has no such feature.
    ShapeError
        When a vector holds a number beyond what a feature may be.
    """
    names = [each.name for each in table.config.features]
    if feature not in names:
        raise ConfigError(f"the table has no ids {feature!r}{suggest(feature, names)}")
    number = table.number(feature)
    config = table.config.features[number]
    rows = table.live_rows()
    kinds = table.table.words[rows, at.KIND] & at.FEATURE_MASK
    keys = table.keys_of(rows[kinds == number])
    keys = keys[keys != 0]  # none of an id
    vectors, own = table.lookup(keys, number)  # not those whose time to live has passed
    numbers = vectors[own, int(config.bias) : config.width].astype(np.float32)
    return VectorSet.of(keys[own], numbers, version)
