"""Vectors of ids out of what learners committed: the set that other policies read as a feature."""

from __future__ import annotations

from engine.embeddings.freezing import freeze
from engine.embeddings.keys import ITEM_SALT
from engine.embeddings.vectors import VectorSet
from engine.errors import ConfigError, suggest
from engine.feature_kinds import Source
from streams.committed import read_tables
from streams.config import EngineConfig
from streams.store import Store

__all__ = ["freeze_policy", "source_of"]


def source_of(config: EngineConfig, name: str, feature: str) -> Source:
    """Whose ids a policy's feature, or ``user_id`` or ``item_id``, holds."""
    policy = config.policies.get(name)
    ids = policy.schema.ids if policy else ()
    declared = {each.space: each.of for each in ids}
    return declared.get(feature, "item" if feature == ITEM_SALT else "context")


def freeze_policy(store: Store, name: str, feature: str, version: str = "") -> VectorSet:
    """Copy the vectors that a policy has of the ids of a feature, as of its last commit.

    Raises
    ------
    ConfigError
        When the store holds no such policy, or its model keeps no vectors of such ids.
    StoreError
        When it cannot be read.
    """
    found = read_tables(store, name)
    if found:
        return freeze(found[0].table, feature, version)
    known = {each for tail in store.tail({}) for each in tail.position.config.policies}
    if name not in known:
        raise ConfigError(f"nothing was learned of policy {name!r}{suggest(name, known)}")
    raise ConfigError(f"policy {name!r} has a model without vectors; name one that has them")
