"""From candidates to a slate: the policy's, or a uniform one when it has no beliefs yet."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from api.problems import ProblemError
from api.shortlist import Shortlist, Shortlists
from engine.batches import Floats, Ints, Keys
from engine.embeddings.keys import USER_SALT
from engine.embeddings.vectors import VectorSet
from engine.errors import SchemaError
from engine.feature_kinds import Vector
from engine.features import Context, Schema
from engine.policy import Candidates, Posterior, Requests, Slates, hash_key
from engine.registry import make_policy
from engine.warm_up import warm_up
from streams.catalogue import Catalogue
from streams.config import EngineConfig
from streams.events import Features
from streams.refusals import escape
from streams.rows import ItemRows, pick_features
from streams.vector_features import VectorFeatures
from streams.views import View

__all__ = ["Ranked", "RankedSlot", "Ranker", "Reason"]

KEYS_KEPT = 1 << 20  # hashes of item ids
SETS_KEPT = 256  # candidate sets whose rows are known


Reason = Literal["exploit", "explore", "cold_start", "pinned", "fallback"]


class RankedSlot(NamedTuple):
    """One slot: the item, how likely it was, how that is known and why it was chosen."""

    item_id: str
    score: float
    propensity: float
    error: float
    method: str
    recurrence: int | None
    reason: Reason


class Ranked(NamedTuple):
    """A slate and who made it; ``fallback`` says why it was not the policy."""

    policy: str
    policy_hash: str
    schema: str
    view: int
    slots: list[RankedSlot]
    fallback: str | None


class _Known(NamedTuple):
    ids: tuple[str, ...]
    posterior: Posterior
    item_change: int
    candidates: Candidates


class Ranker:
    """Ranks with the policies of a configuration.

    Not for several threads at once.

    Parameters
    ----------
    catalogue
        Holds the items' features; read while ranking, for policies that use them.
    sets
        Vectors, by the features that read them; those of other features are only what is sent.
    """

    def __init__(
        self,
        config: EngineConfig,
        catalogue: Catalogue,
        sets: Mapping[Vector, VectorSet] | None = None,
    ) -> None:
        self._catalogue = catalogue
        self.policies = {name: each.build(name) for name, each in config.policies.items()}
        self._uniform = make_policy("uniform")
        self._no_beliefs = self._uniform.derive(self._uniform.init())
        self._hashes = {name: policy.hash for name, policy in self.policies.items()}
        self._versions = {name: policy.schema.version for name, policy in self.policies.items()}
        self._uniform_hash = self._uniform.hash
        self._state_hashes = {name: p.state_hash for name, p in self.policies.items()}
        self._vectors = {
            name: VectorFeatures(policy.schema, sets or {})
            for name, policy in self.policies.items()
        }
        self._item_rows = {
            name: ItemRows(policy.schema, self._vectors[name])
            for name, policy in self.policies.items()
            if policy.schema.item_features
        }
        self._know_users = {
            name
            for name, policy in self.policies.items()
            if any(each.name == USER_SALT and each.of == "context" for each in policy.schema.ids)
        }
        self._viewed: View | None = None
        self._stale: Mapping[str, str] = {}
        self._sets: dict[tuple[str, str], _Known] = {}
        self._shortlists = Shortlists()
        self._key = lru_cache(KEYS_KEPT)(hash_key)

    def warm_up(self) -> None:
        """Load the compiled code that ranking needs."""
        for policy in (self._uniform, *self.policies.values()):
            warm_up(policy)

    def complete(self, policy: str, context: Features, user_id: str | None) -> Features:
        """Return a context with the ids and vectors that a policy reads and the context lacks.

        An impression is learned from its context alone.
        """
        if user_id and policy in self._know_users and context.get(USER_SALT) is None:
            context = {**context, USER_SALT: user_id}
        return self._vectors[policy].of_context(context, user_id)

    def encode(self, policy: str, context: Context) -> Floats:
        """Encode a context for a policy; ``ProblemError`` with the feature when it cannot be."""
        schema = self.policies[policy].schema
        try:
            return schema.encode([context])
        except SchemaError as error:
            name = _offender(schema, context)
            raise ProblemError(
                "bad-features", str(error), pointer=f"/context/{escape(name)}"
            ) from error

    def item_rows(self, policy: str, ids: tuple[str, ...]) -> Floats | None:
        """Item rows ``(m, e)`` for a policy, None when it reads no item features.

        Raises
        ------
        BadItemError
            When the features of one do not fit.
        """
        rows = self._item_rows.get(policy)
        return rows.of(self._catalogue, ids) if rows else None

    def shown_features(self, policy: str, item_id: str) -> Features | None:
        """Features of an item that a policy reads; None when it reads none of any item."""
        if policy not in self._item_rows:
            return None
        item = self._catalogue.item(item_id)
        return pick_features(self.policies[policy].schema, item, item_id, self._vectors[policy])

    def narrow(
        self,
        view: View | None,
        name: str,
        shortlist: Shortlist,
        *,
        context: Context,
        ids: tuple[str, ...],
        request_id: str,
        k: int,
        pool: str | None,
        barred: Collection[str] = (),
        kept: Collection[str] = (),
    ) -> tuple[str, ...] | None:
        """Candidates of ``ids`` that are worth ranking for one request; None to rank all.

        ``barred`` are not to be ranked, ``kept`` in any case. Raises as `rank`.
        """
        if not shortlist.best or len(ids) <= shortlist.size or self.fallback(view, name):
            return None
        assert view is not None  # noqa: S101  (or there were a fallback)
        posterior = view.policies[name]
        places = self._shortlists.choose(
            self.policies[name],
            posterior,
            shortlist,
            x=self.encode(name, context),
            candidates=self._look_up(name, pool, posterior, ids),
            pool=pool,
            request_id=request_id,
            k=k,
            barred=barred,
            kept=kept,
        )
        return tuple(ids[place] for place in places.tolist())

    def rank(
        self,
        view: View | None,
        name: str,
        *,
        context: Context,
        ids: tuple[str, ...],
        request_id: str,
        k: int,
        pool: str | None = None,
        pins: Mapping[int, str] | None = None,
    ) -> Ranked:
        """Rank candidates ``ids`` for one request; ``pool`` names them when they may come again.

        ``pins`` are items, among the candidates, by slot.

        Raises
        ------
        ProblemError
            When the context does not fit the policy's schema.
        BadItemError
            When a candidate's features do not.
        """
        x = self.encode(name, context)
        places = _places(ids, k, pins) if pins else None
        fallback = self.fallback(view, name)
        if view is None or fallback:
            if name in self._item_rows:  # else the learner could not use what is logged
                self.item_rows(name, ids)
            return self._rank_uniformly(view, ids, request_id, k, places, fallback or "no_view")
        policy, posterior = self.policies[name], view.policies[name]
        candidates = self._look_up(name, pool, posterior, ids)
        slates = policy.rank(posterior, Requests.of(x, [request_id], [candidates]), k, places)
        counts = posterior.arrays["count"][candidates.rows[slates.picks[0]]]
        return Ranked(
            policy=name,
            policy_hash=self._hashes[name],
            schema=self._versions[name],
            view=view.version,
            slots=_slots(ids, slates, counts),
            fallback=None,
        )

    def _rank_uniformly(  # noqa: PLR0917
        self,
        view: View | None,
        ids: tuple[str, ...],
        request_id: str,
        k: int,
        places: Ints | None,
        fallback: str,
    ) -> Ranked:
        candidates = Candidates.of(self._no_beliefs, ids, self._keys(ids))
        request = Requests.of(np.ones((1, 1)), [request_id], [candidates])
        slates = self._uniform.rank(self._no_beliefs, request, k, places)
        return Ranked(
            policy="uniform",
            policy_hash=self._uniform_hash,
            schema="",
            view=view.version if view else 0,
            slots=[
                slot if slot.reason == "pinned" else slot._replace(reason="fallback")
                for slot in _slots(ids, slates, np.zeros(k))
            ],
            fallback=fallback,
        )

    def fallback(self, view: View | None, name: str) -> str | None:
        """Why a policy cannot choose just now, None when it can."""
        if view is None:
            return "no_view"
        if view is not self._viewed:
            self._viewed = view
            self._stale = self._find_stale(view)
        return self._stale.get(name)

    def _find_stale(self, view: View) -> dict[str, str]:
        stale = {}
        for name, state_hash in self._state_hashes.items():
            learned = view.state_hashes.get(name)
            if learned != state_hash:
                stale[name] = "policy_changed" if learned else "no_posterior"
        return stale

    def _look_up(
        self, name: str, pool: str | None, posterior: Posterior, ids: tuple[str, ...]
    ) -> Candidates:
        known = self._sets.get((name, pool)) if pool else None
        same = known is not None and known.ids is ids
        change = self._catalogue.item_change if name in self._item_rows else 0
        fits = same and known is not None and known.item_change == change
        if known and fits and known.posterior is posterior:
            return known.candidates
        keys = known.candidates.keys if known and same else self._keys(ids)
        z = known.candidates.z if known and fits else self.item_rows(name, ids)
        candidates = Candidates.of(posterior, ids, keys, z)
        if pool:
            if len(self._sets) >= SETS_KEPT and known is None:
                self._sets.clear()
            self._sets[name, pool] = _Known(ids, posterior, change, candidates)
        return candidates

    def _keys(self, ids: tuple[str, ...]) -> Keys:
        return np.fromiter(map(self._key, ids), dtype=np.uint64, count=len(ids))


def _places(ids: tuple[str, ...], k: int, pins: Mapping[int, str]) -> Ints:
    places = np.full((1, k), -1, dtype=np.int64)
    for slot, item_id in pins.items():
        places[0, slot] = ids.index(item_id)
    return places


def _slots(ids: tuple[str, ...], slates: Slates, counts: Floats) -> list[RankedSlot]:
    rows = zip(
        slates.picks[0].tolist(),
        slates.score[0].tolist(),
        slates.propensity[0].tolist(),
        slates.error[0].tolist(),
        slates.methods()[0],
        slates.recurrence[0].tolist(),
        slates.greedy[0].tolist(),
        counts.tolist(),
        strict=True,
    )
    return [
        RankedSlot(
            ids[pick],
            score,
            propensity,
            error,
            method,
            recurrence or None,
            "pinned" if method == "pinned" else _reason(greedy=greedy, count=count),
        )
        for pick, score, propensity, error, method, recurrence, greedy, count in rows
    ]


def _reason(*, greedy: bool, count: float) -> Reason:
    if count == 0:
        return "cold_start"
    return "exploit" if greedy else "explore"


def _offender(schema: Schema, context: Context) -> str:
    for name, value in context.items():
        try:
            schema.encode([{name: value}])
        except SchemaError:
            return name
    return ""
