"""Vectors of ids out of what learners committed: the set that other policies read as a feature."""

from __future__ import annotations

from engine.embeddings.freezing import freeze
from engine.embeddings.keys import ITEM_SALT
from engine.embeddings.part import Embeddings
from engine.embeddings.table import EmbeddingTable
from engine.embeddings.vectors import VectorSet
from engine.errors import ConfigError, suggest
from engine.feature_kinds import Source
from streams.config import EngineConfig
from streams.positions import Tail
from streams.store import Store

__all__ = ["freeze_policy", "source_of"]


def source_of(config: EngineConfig, name: str, feature: str) -> Source:
    """Whose ids a policy's feature, or ``user_id`` or ``item_id``, holds."""
    policy = config.policies.get(name)
    ids = policy.schema.ids if policy else ()
    declared = {each.name: each.of for each in ids}
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
    tails = store.tail({})
    known = {each for tail in tails for each in tail.position.config.policies}
    if name not in known:
        raise ConfigError(f"nothing was learned of policy {name!r}{suggest(name, known)}")
    tables = [table for tail in tails for table in _tables(tail, name)]
    if not tables:
        raise ConfigError(f"policy {name!r} has a model without vectors; name one that has them")
    # Where events have several partitions, shards of those hold empty tables of such policies.
    return freeze(max(tables, key=len), feature, version)


def _tables(tail: Tail, name: str) -> list[EmbeddingTable]:
    configured = tail.position.config.policies.get(name)
    if configured is None:
        return []
    policy, base = configured.build(name), tail.base or {}
    state = policy.load(base[name]) if name in base else policy.init()
    for bodies in tail.deltas:
        if name in bodies:
            state.put_bytes(bodies[name])
    return [part.table for part in state.parts.values() if isinstance(part, Embeddings)]
