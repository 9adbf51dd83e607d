"""The part of a large pool that is worth ranking, found by the policy's own vectors.

An exact scan: as many items as the body of a request may name take a fraction of a millisecond.
What a slate is then drawn of is logged as its candidates, so propensities are exact given them.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from api.settings import Settings
from engine.batches import Candidates, Flags, Floats, Ints, Posterior
from engine.errors import ConfigError
from engine.kernels.random import fold_keys
from engine.policy import Policy, hash_key
from engine.retrieval.exact import search_exact
from engine.retrieval.records import Filters, Records
from streams.config import EngineConfig

__all__ = ["Shortlist", "Shortlists", "make_shortlists"]

RENEWED_SECONDS = 1.0  # vectors of a pool are read again when a newer view is this much later
POOLS_KEPT = 64
RANDOM = 0x5407  # apart from the draws of slates


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortlist:
    """How many candidates are ranked at most: the ``best`` by score, and ``others`` at random.

    ``best`` 0 ranks all. The others, drawn anew by request, give every item its chance.
    """

    best: int = 0
    others: int = 0

    @property
    def size(self) -> int:
        """Candidates that are ranked."""
        return self.best + self.others

    def check(self, policy: Policy) -> None:
        """Raise ``ConfigError`` when the policy has no vectors to find items by."""
        if self.others and not self.best:
            raise ConfigError(
                f"shortlist_random is {self.others} and shortlist 0, which ranks all; give both"
            )
        if self.best and not policy.model.traits.shortlists:
            raise ConfigError(
                f"policy {policy.name!r} has no vectors to shortlist by; use mf, fm or bpr, or "
                "leave shortlist out"
            )


def make_shortlists(settings: Settings, config: EngineConfig) -> dict[str, Shortlist]:
    """Shortlist of every recommender; ``ConfigError`` when a policy cannot make it."""
    made = {}
    for name, each in settings.recommenders.items():
        made[name] = Shortlist(best=each.shortlist, others=each.shortlist_random)
        try:
            made[name].check(config.policies[each.policy].build(each.policy))
        except ConfigError as error:
            raise ConfigError(f"recommenders.{name}: {error}") from error
    return made


class _Known(NamedTuple):
    ids: tuple[str, ...]
    places: dict[str, int]
    posterior: Posterior
    z: Floats
    made: float
    records: Records


class Shortlists:
    """Makes shortlists; keeps the vectors of pools that come again. Not for several threads."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], _Known] = {}

    def choose(
        self,
        policy: Policy,
        posterior: Posterior,
        shortlist: Shortlist,
        *,
        x: Floats,
        candidates: Candidates,
        pool: str | None,
        request_id: str,
        k: int,
        barred: Collection[str] = (),
        kept: Collection[str] = (),
    ) -> Ints:
        """Places of the candidates that are ranked, rising, int64 ``(s,)``; k at least if possible.

        Parameters
        ----------
        x
            The request's row, ``(1, d)``.
        pool
            Names the candidates when they may come again as the same object.
        barred, kept
            Items that are not ranked, and that are in any case.
        """
        known = self._vectors(policy, posterior, candidates, pool)
        chosen, left = _marks(known.places, kept), ~_marks(known.places, (*barred, *kept))
        query = policy.model.queries(posterior, x, policy.schema)
        best = min(max(shortlist.best, k), len(left))
        filters = Filters(available=left.astype(np.uint8))
        rows = search_exact(known.records, query, best, filters=filters).rows[0]
        chosen[rows[rows >= 0]] = True
        others = np.flatnonzero(left & ~chosen)
        chosen[_draw(others, candidates, request_id, shortlist.others)] = True
        return np.flatnonzero(chosen)

    def _vectors(
        self, policy: Policy, posterior: Posterior, candidates: Candidates, pool: str | None
    ) -> _Known:
        known = self._known.get((policy.name, pool)) if pool else None
        ids, now = candidates.item_ids, time.monotonic()
        same = known is not None and known.ids is ids
        z = candidates.z  # the same object as long as no item was put
        if known and same and (known.z is z or not z.shape[1]):
            newer = known.posterior is not posterior
            if not newer or now - known.made < RENEWED_SECONDS:
                return known
        vectors = policy.model.item_vectors(posterior, candidates.rows, candidates.z, policy.schema)
        size = vectors.shape[1] - 1
        records = Records(slab=np.ascontiguousarray(vectors), size=size, bias=size)
        places = known.places if known and same else {each: at for at, each in enumerate(ids)}
        made = _Known(ids, places, posterior, candidates.z, now, records)
        if pool:
            if len(self._known) >= POOLS_KEPT and known is None:
                self._known.clear()
            self._known[policy.name, pool] = made
        return made


def _marks(places: dict[str, int], item_ids: Collection[str]) -> Flags:
    marks = np.zeros(len(places), dtype=np.bool_)
    marks[[places[item_id] for item_id in item_ids if item_id in places]] = True
    return marks


def _draw(others: Ints, candidates: Candidates, request_id: str, count: int) -> Ints:
    """Some of the places, by the hashes of request and item."""
    if count >= len(others):
        return others
    drawn = fold_keys(np.uint64(hash_key(request_id) ^ RANDOM), candidates.keys[others])
    return others[np.argpartition(drawn, count)[:count]]
