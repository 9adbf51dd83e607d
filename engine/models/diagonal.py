"""Diagonal linear model over clusters: Diag-LinUCB, one weight an edge of item and cluster.

Source: Yi et al. 2023, "Online Matching: A Real-time Bandit System for Large-scale
Recommendations", arXiv 2307.15893.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.batches import Belief, Floats, Ints, Keys, Outcomes, Posterior, Requests, hash_key
from engine.edges import EdgeTable, Events
from engine.errors import ConfigError
from engine.features import Clusters, Schema
from engine.kernels.edges import refresh_edges, score_edges
from engine.kernels.sums import add_rows
from engine.models.base import Axes, Model, Traits
from engine.state import Part, State

__all__ = ["DiagonalLinear"]

PRIOR_NOISE = 0.25  # variance of a reward nothing is known of: a fair coin's


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagonalLinear(Model):
    """Sums d and b by edge (c, j); a reward of item j was learned at the weights w of clusters c.

    As published: ``d += w²``, ``b += w r``; mean ``Σ w b / d``, variance ``Σ w² / d``. Every edge
    explains the whole reward by itself, so the mean is too large by

        ``Σ_c w_c (Σ_t w_tc) / (Σ_t w_tc²)``

    for a reward that never changes (t are the events learned): the number K of clusters when one
    context comes again and again, and less for items that have fewer edges, which are thereby
    held back. A departure from the paper, and the default, is therefore

    Normalised: ``d += w̃``, ``b += w̃ r`` with ``w̃ = w / Σ |w|`` over the clusters of the event;
    mean ``Σ w̃ b / d`` and variance ``Σ w̃² / d`` with ``w̃`` over the clusters whose edge is known.
    An edge is then a weighted mean of rewards and the belief a weighted mean of edges: a reward
    that never changes is learned as it is. The variance is an upper bound, for the weights
    learned with are at most 1.

    Every cluster of an event gets an edge, and all of them share it: were known edges alone to
    share it, sums would depend on the order of events and shards would not add. The paper takes
    its edges from a graph made offline; here an edge is there once it was learned.

    Clusters are the columns of the schema's ``clusters`` features of the context; all columns of
    a context row where there are none. Then columns that move together each explain all of it.

    Parameters
    ----------
    normalised
        Which of the two forms.
    prior
        Precision d₀ of every edge, learned or not, about 0: unknown edges then take part with
        mean 0 and variance 1 / d₀. With 0 they are left out, and a candidate without any known
        edge has infinite variance: UCB shows it before all others, at random among such.
    """

    normalised: bool = True
    prior: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.prior < math.inf:
            raise ConfigError(f"prior is {self.prior}; give 0 (none) or a number above it")

    @property
    def traits(self) -> Traits:
        """Independent beliefs from sums that add: normal, or of infinite spread when unknown."""
        return Traits(family="normal" if self.prior else "edges")

    def axes(self) -> Axes:
        """Sums by item: outcomes, Σw r and Σw r²; the edges are a part."""
        return Axes(items={"count": (), "reward": (), "square": ()})

    def parts(self, schema: Schema) -> dict[str, Part]:
        """Make an empty table of edges."""
        return {"edges": EdgeTable()}

    def update(
        self, state: State, rows: Ints, outcomes: Outcomes, weight: Floats, schema: Schema
    ) -> None:
        """Add outcomes to the sums. Writes: state.

        With a chance q of being looked at, the reward expected is q times the item's own: d takes
        q² and b takes q, as in a regression on q w.
        """
        reward, q = outcomes.reward, outcomes.examination
        for name, values in (("count", weight), ("reward", weight * reward)):
            add_rows(state.sums[name], rows, values)
        add_rows(state.sums["square"], rows, weight * reward * reward)
        item_keys = np.array(list(map(_item_key, outcomes.item_ids)), dtype=np.uint64)
        offsets, clusters, shares = _sparse(outcomes.x, schema, self.normalised)
        events = Events(
            item_keys=item_keys,
            offsets=offsets,
            clusters=clusters,
            shares=shares,
            precision=weight * q * q,
            moment=weight * q * reward,
        )
        _edges(state).learn(events, squared=not self.normalised)

    def derive(self, sums: dict[str, Floats], state: State, schema: Schema) -> dict[str, Floats]:
        """Return count and reward noise, each ``(m,)``.

        The noise is the variance of an item's rewards about their mean, an upper bound of that
        about what its edges predict.
        """
        count = sums["count"]
        own = np.divide(sums["reward"], count, out=np.zeros_like(count), where=count > 0.0)
        residual = np.maximum(sums["square"] - own * sums["reward"], 0.0)
        return {"count": count.copy(), "noise": (PRIOR_NOISE + residual) / (1.0 + count)}

    def derive_shared(self, state: State, schema: Schema) -> dict[str, NDArray[Any]]:
        """Return the table of edges: their keys, and mean b / d and variance 1 / d of each."""
        table = _edges(state)
        precision = self.prior + table.values[:, 0]
        beliefs = np.empty_like(table.values)
        beliefs[:, 0], beliefs[:, 1] = 0.0, np.inf
        known = precision > 0.0
        np.divide(table.values[:, 1], precision, out=beliefs[:, 0], where=known)
        np.divide(1.0, precision, out=beliefs[:, 1], where=known)
        layout = np.array([table.layout], dtype=np.int64)
        return {"keys": table.keys.copy(), "beliefs": beliefs, "layout": layout}

    def refresh_shared(
        self, shared: dict[str, NDArray[Any]], state: State, item_ids: list[str], schema: Schema
    ) -> dict[str, NDArray[Any]]:
        """Derive the named items' edges again. Writes: shared."""
        table, clusters = _edges(state), _clusters(schema)[1]
        few = 4 * len(item_ids) * len(clusters) < len(table.keys)
        if few and len(shared["keys"]) == len(table.keys) and shared["layout"][0] == table.layout:
            item_keys = np.array(list(map(_item_key, item_ids)), dtype=np.uint64)
            edges = (table.keys, table.values, self.prior, item_keys, clusters)
            if not refresh_edges(*edges, shared["keys"], shared["beliefs"]):
                return shared
        return self.derive_shared(state, schema)

    def believe(self, posterior: Posterior, requests: Requests, schema: Schema) -> Belief:
        """Mean and spread of every candidate over the clusters of its request.

        ``sd`` is for rewards of unit noise, infinite where no edge is known and ``prior`` is 0.
        """
        mean, sd = np.empty(len(requests.rows)), np.empty(len(requests.rows))
        score_edges(
            posterior.shared["keys"],
            posterior.shared["beliefs"],
            *_sparse(requests.x, schema, False),
            requests.offsets,
            requests.item_keys,
            1.0 / self.prior if self.prior else np.inf,
            self.normalised,
            mean,
            sd,
        )
        noise = posterior.arrays["noise"][requests.rows]
        return self.belief(posterior, requests, mean=mean, sd=sd, noise=noise)


_item_key = lru_cache(maxsize=1 << 16)(hash_key)  # the same items come again and again


def _edges(state: State) -> EdgeTable:
    return cast("EdgeTable", state.parts["edges"])


@lru_cache(maxsize=64)
def _clusters(schema: Schema) -> tuple[slice | Ints, Keys]:
    """Columns of a context row that are clusters, and a key of each.

    A key is of what the column means, so edges outlive a change of the schema around them.
    """
    found = [f for f in schema.features if isinstance(f, Clusters) and f.of == "context"]
    places = [place for feature in found for place in schema.places(feature.name)]
    columns = places or list(range(len(schema.columns)))
    meanings = schema.meanings("x")
    keys = [hash_key(msgspec.json.encode(meanings[place]).decode()) for place in columns]
    run = slice(columns[0], columns[-1] + 1)
    together = columns == list(range(run.start, run.stop))
    return run if together else np.array(columns), np.array(keys, dtype=np.uint64)


def _sparse(x: Floats, schema: Schema, normalised: bool) -> tuple[Ints, Keys, Floats]:
    """Clusters of every row that weigh something: offsets ``(n + 1,)``, keys and weights.

    When ``normalised``, the sizes of a row's weights sum to 1.
    """
    columns, keys = _clusters(schema)
    weights = x[:, columns]
    row, place = np.divmod(np.flatnonzero(weights != 0.0), len(keys))
    offsets = np.zeros(len(x) + 1, dtype=np.int64)
    np.cumsum(np.bincount(row, minlength=len(x)), out=offsets[1:])
    found = weights[row, place]
    if normalised:
        found = found / np.bincount(row, np.abs(found), len(x))[row]
    return offsets, keys[place], found
