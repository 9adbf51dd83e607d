"""A model whose state is an embedding table, registered for the tests that need one."""

from dataclasses import dataclass

import numpy as np
import pytest

from engine import registry
from engine.batches import hash_key
from engine.embeddings.config import TableConfig, VectorConfig
from engine.embeddings.part import Embeddings
from engine.models.base import Axes, Model, Traits

__all__ = ["Tabled", "keys_of", "register"]


def keys_of(item_ids):
    """Keys of items in the table, uint64 ``(n,)``."""
    return np.array([hash_key(item_id) for item_id in item_ids], dtype=np.uint64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tabled(Model):
    """A vector an item, each of whose numbers steps towards the item's rewards.

    Parameters
    ----------
    dimension, max_rows, threshold
        Of the table.
    of_schema
        Whether the dimension grows with every column of the schema.
    """

    dimension: int = 4
    max_rows: int = 2000
    threshold: int = 1
    of_schema: bool = False

    @property
    def traits(self):
        return Traits(family="normal", merging="refused", forgets=False, examines=False)

    def axes(self):
        return Axes(items={"count": ()})

    def parts(self, schema):
        extra = len(schema.columns) if self.of_schema else 0
        vectors = VectorConfig(
            name="item", dimension=self.dimension + extra, threshold=self.threshold, rate=0.1
        )
        config = TableConfig(features=(vectors,), max_rows=self.max_rows, sketch_bytes=4096)
        return {"table": Embeddings(config)}

    def update(self, state, rows, outcomes, weight, schema):
        np.add.at(state.sums["count"], rows, weight)
        table = state.parts["table"].table
        keys, seconds = keys_of(outcomes.item_ids), outcomes.time_ms // 1000
        for i in range(len(keys)):  # each step's gradient is of the vector as it is by then
            vector, _ = table.lookup(keys[i : i + 1])
            gradient = (vector - outcomes.reward[i]).astype(np.float32)
            table.learn(keys[i : i + 1], 0, seconds[i : i + 1], gradient)

    def derive(self, sums, state, schema):
        return {"count": sums["count"]}

    def believe(self, posterior, requests, schema):
        vectors, _ = posterior.parts["table"].lookup(requests.item_keys)
        return self.belief(posterior, requests, mean=vectors.mean(axis=1).astype(float))


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it known by the name ``tabled``."""
    monkeypatch.setitem(registry.MODELS, "tabled", Tabled)
