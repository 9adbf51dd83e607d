"""Matrix factorisation and factorisation machines, learned event by event in an embedding table.

Sources: Rendle 2010, "Factorization machines"; Koren, Bell, Volinsky 2009 (biases); Schnabel et
al. 2016, "Recommendations as treatments" (inverse propensities for ratings missing not at random);
Saito et al. 2020, "Unbiased recommender learning from missing-not-at-random implicit feedback"
(targets over the chance of being looked at, propensities estimated by popularity).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from engine.batches import Belief, Floats, Ints, Outcomes, Posterior, Requests
from engine.embeddings.config import Optimizer, TableConfig, VectorConfig
from engine.embeddings.factors import (
    LOSSES,
    TOTALS,
    Loss,
    Sums,
    factor_config,
    learn_events,
    predict,
)
from engine.embeddings.keys import COLUMNS, ITEM_SALT, IdKeys, hash_ids, keys_of
from engine.embeddings.part import Embeddings
from engine.errors import ConfigError
from engine.features import Schema
from engine.kernels.popularity import weigh_rarity
from engine.kernels.sums import add_rows
from engine.models.base import Axes, Model, Traits
from engine.state import Part, State

__all__ = ["FactorizationMachine", "Factors", "MatrixFactorization", "Weighting"]

Weighting = Literal["none", "propensity", "popularity"]
HALF = np.uint64(32)
LOW = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors(Model):
    """What models share whose ids have vectors in an embedding table.

    They learn in the order of the log, so shards of them do not add. Where the features declare
    no id, items' biases are all that is learned.

    Parameters
    ----------
    dimension
        Numbers of a vector, without its bias.
    optimizer
        Of every step: ``rowwise`` (Adagrad, one sum of squares a vector), ``sgd``, ``adagrad``,
        ``ftrl``, ``adam``.
    rate, bias_rate
        Learning rates of vectors and of biases.
    l2, bias_l2
        Shrinking, with every step.
    accumulator, bias_accumulator
        Where Adagrad's sums of squares begin; larger makes first steps smaller.
    initial_scale
        Standard deviation of a vector's initial numbers.
    admission
        Events an id must be met in before it has a vector of its own; until then it reads and
        teaches one that all such ids share.
    ttl_seconds
        Event time without an event after which an id is forgotten; 0 never.
    max_rows
        Ids that have vectors at once; beyond it the least valuable is evicted.
    table_seed
        Of initial vectors and all draws.
    weighting
        Corrects for what is missing not at random: ``propensity`` weighs an outcome by 1 / its
        logged propensity and divides its reward by the chance that its slot was looked at, both
        at most ``clip`` times; ``popularity`` estimates the propensity, where none was logged, as
        a power of the item's share of outcomes; ``none`` takes outcomes as they come.
    clip
        The largest such factor: less variance for some bias.
    rarity_power
        The power of ``weighting=popularity``.
    """

    dimension: int = 16
    optimizer: Optimizer = "rowwise"
    rate: float = 0.1
    bias_rate: float = 0.3
    l2: float = 0.0
    bias_l2: float = 0.0
    accumulator: float = 0.1
    bias_accumulator: float = 0.7
    initial_scale: float = 0.02
    admission: int = 1
    ttl_seconds: int = 0
    max_rows: int = 1_000_000
    table_seed: int = 0
    weighting: Weighting = "none"
    clip: float = 10.0
    rarity_power: float = 0.5

    def __post_init__(self) -> None:
        self._config(("",))
        if not 1.0 <= self.clip < math.inf:
            raise ConfigError(f"clip is {self.clip}; give a factor of at least 1")
        if not 0.0 < self.rarity_power <= 1.0:
            raise ConfigError(f"rarity_power is {self.rarity_power}; give a power above 0, up to 1")

    @property
    def traits(self) -> Traits:
        """Means without spread; a change of the schema starts afresh.

        Whose vectors they are is told by ids, so no other column is read.
        """
        return Traits(
            family="mean",
            merging="refused",
            forgets=False,
            examines=self.weighting == "propensity",
            reads_items=True,
            reads_ids=True,
            shortlists=True,
            aligns=False,
        )

    def check(self, schema: Schema) -> None:
        """Refuse a schema with an id that is named as items are, or more than a table takes."""
        if any(each.name == ITEM_SALT for each in schema.ids):
            raise ConfigError(f"feature {ITEM_SALT!r} is an id that every item has; leave it out")
        self._config(self._fields(schema))

    def _fields(self, schema: Schema) -> tuple[str, ...]:
        """What the ids of an event are ids of, the item's last."""
        return (*(each.space for each in schema.ids), ITEM_SALT)

    def _numbers(self, schema: Schema) -> Ints:
        """Number of each of an event's ids among the features of the table, ``(fields,)``."""
        fields = self._fields(schema)
        known = list(dict.fromkeys(fields))
        return np.array([known.index(each) for each in fields], dtype=np.int64)

    def _config(self, fields: tuple[str, ...]) -> TableConfig:
        vector = VectorConfig(
            name="",
            dimension=self.dimension,
            bias=True,
            optimizer=self.optimizer,
            rate=self.rate,
            bias_rate=self.bias_rate,
            l2=self.l2,
            bias_l2=self.bias_l2,
            accumulator=self.accumulator,
            bias_accumulator=self.bias_accumulator,
            scale=self.initial_scale,
            threshold=self.admission,
            ttl_seconds=self.ttl_seconds,
        )
        return factor_config(fields, vector, max_rows=self.max_rows, seed=self.table_seed)

    def axes(self) -> Axes:
        """Weight of each item's outcomes, its key, and what belongs to the whole."""
        return Axes(
            items={"count": (), "id": (COLUMNS,)}, shared={"totals": (TOTALS,), "most": (1,)}
        )

    def parts(self, schema: Schema) -> dict[str, Part]:
        """Make the table, with nothing learned."""
        return {"table": Embeddings(self._config(self._fields(schema)))}

    def _weigh(
        self, state: State, rows: Ints, outcomes: Outcomes, weight: Floats
    ) -> tuple[Floats, Floats]:
        """Count outcomes; weights, and factors of rewards, that make up for what is missing.

        Writes: state.
        """
        if self.weighting == "popularity":
            rarity, sums = np.empty(len(rows)), state.sums
            given = (np.ascontiguousarray(weight), self.rarity_power, self.clip, rarity)
            weigh_rarity(sums["count"], state.shared["most"], rows, *given)
            return weight * rarity, np.ones(len(rows))
        add_rows(state.sums["count"], rows, weight)
        if self.weighting == "none":
            return weight, np.ones(len(rows))
        chosen = np.minimum(1.0 / outcomes.propensity, self.clip)
        seen = np.minimum(1.0 / outcomes.examination, self.clip)
        return weight * chosen, seen

    def _events(
        self, state: State, rows: Ints, outcomes: Outcomes, schema: Schema
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
        """Keys and checks of every event's ids, each ``(n, fields)``. Writes: state."""
        ids = state.sums["id"]
        new = np.unique(rows[~ids[rows].any(axis=1)])
        if len(new):
            found = hash_ids(ITEM_SALT, [state.item_ids[row] for row in new.tolist()])
            ids[new] = np.stack([found.keys >> HALF, found.keys & LOW, found.checks], axis=1)
        columns = [
            keys_of(outcomes.z if each.of == "item" else outcomes.x, schema.places(each.name)[0])
            for each in schema.ids
        ]
        columns.append(keys_of(ids[rows], 0))
        return (
            np.stack([each.keys for each in columns], axis=1),
            np.stack([each.checks for each in columns], axis=1),
        )

    def derive(self, sums: dict[str, Floats], state: State, schema: Schema) -> dict[str, Floats]:
        """Return each item's count ``(m,)`` and key ``(m, 3)``; vectors stay in the table."""
        return {"count": sums["count"].copy(), "id": sums["id"].copy()}

    def derive_shared(self, state: State, schema: Schema) -> dict[str, NDArray[Any]]:
        """Return what belongs to no id."""
        return {"totals": state.shared["totals"].copy()}

    def _context(self, posterior: Posterior, x: Floats, schema: Schema) -> Sums:
        """Vectors and biases of every request's ids, ``(n, …)``."""
        sums = Sums.none(len(x), self.dimension)
        for number, each in zip(self._numbers(schema).tolist(), schema.ids, strict=False):
            if each.of == "context":
                ids = keys_of(x, schema.places(each.name)[0])
                sums = sums.plus(*_look(posterior.parts["table"], ids, number), 1.0)
        return sums

    def item_sums(self, posterior: Posterior, rows: Ints, z: Floats, schema: Schema) -> Sums:
        """Vectors and biases of every item's ids, ``(m, …)``."""
        table, sums = posterior.parts["table"], Sums.none(len(rows), self.dimension)
        numbers = self._numbers(schema).tolist()
        for number, each in zip(numbers, schema.ids, strict=False):
            if each.of == "item":
                ids = keys_of(z, schema.places(each.name)[0])
                sums = sums.plus(*_look(table, ids, number), 1.0)
        own = keys_of(posterior.arrays["id"][rows], 0)
        vectors, _ = _look(table, own, numbers[-1])
        return sums.plus(vectors, np.ones(len(rows), dtype=np.bool_), 1.0)

    def queries(self, posterior: Posterior, x: Floats, schema: Schema) -> NDArray[np.float32]:
        """Sum of the vectors of every request's ids, ``(n, dimension)``."""
        return self._context(posterior, x, schema).vector.astype(np.float32)

    def item_vectors(
        self, posterior: Posterior, rows: Ints, z: Floats, schema: Schema
    ) -> NDArray[np.float32]:
        """Vectors of every item's ids, its own score behind, ``(m, dimension + 1)``."""
        sums = self.item_sums(posterior, rows, z, schema)
        return np.concatenate([sums.vector, sums.score[:, None]], axis=1).astype(np.float32)


def _look(table: Any, ids: IdKeys, number: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Vectors of ids of one feature and which of them are ids; each distinct one is read once."""
    keys, place = np.unique(ids.keys, return_inverse=True)
    vectors, _ = table.lookup(keys, number)
    return vectors[place], ids.keys != 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorizationMachine(Factors):
    """Reward by the biases of all ids of an event and the inner products of every two vectors.

    Ids of the context and of items, as the features declare them, and the item's own.

    Parameters
    ----------
    loss
        ``squared`` for rewards of any range, in units of their running spread: the mean is never
        outside of the rewards met. ``logistic`` for rewards from 0 to 1; others are clipped.
    """

    loss: Loss = "squared"

    def __post_init__(self) -> None:
        # Not super(): with slots the class is made anew, and super() would be of the other.
        Factors.__post_init__(self)
        if self.loss not in LOSSES:
            raise ConfigError(f"loss is {self.loss!r}; give one of {', '.join(LOSSES)}")

    def update(
        self, state: State, rows: Ints, outcomes: Outcomes, weight: Floats, schema: Schema
    ) -> None:
        """Learn outcomes in order. Writes: state."""
        weight, seen = self._weigh(state, rows, outcomes, weight)
        target = outcomes.reward * seen
        if self.loss == "logistic":
            target = np.clip(target, 0.0, self.clip if self.weighting == "propensity" else 1.0)
        keys, checks = self._events(state, rows, outcomes, schema)
        fields = keys.shape[1]
        learn_events(
            cast("Embeddings", state.parts["table"]).table,
            state.shared["totals"],
            features=self._numbers(schema),
            values=np.ones(fields),
            keys=keys,
            checks=checks,
            target=target,
            weight=weight,
            seconds=outcomes.time_ms // 1000,
            loss=self.loss,
        )

    def believe(self, posterior: Posterior, requests: Requests, schema: Schema) -> Belief:
        """Mean of every candidate, from the vectors as they are now."""
        context = self._context(posterior, requests.x, schema)
        item = self.item_sums(posterior, requests.rows, requests.z, schema)
        score = item.with_other(context.at(requests.of_candidate))
        mean = predict(posterior.shared["totals"], score, self.loss)
        return self.belief(posterior, requests, mean=mean)


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixFactorization(FactorizationMachine):
    """Reward by a user's bias, an item's bias, and the inner product of their vectors.

    The user is the one id that the features declare, of the context.
    """

    def check(self, schema: Schema) -> None:
        """Refuse more than one id, or one of items; without any, items' biases are learned."""
        if len(schema.ids) > 1 or any(each.of == "item" for each in schema.ids):
            raise ConfigError(
                f"matrix factorisation is of one id of the context and the item; the features have "
                f"{[f'{each.name} of the {each.of}' for each in schema.ids]}: leave one, or use fm"
            )
        FactorizationMachine.check(self, schema)
