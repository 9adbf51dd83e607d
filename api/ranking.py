"""From candidates to a slate: the policy's, or a uniform one when it has no beliefs yet."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from api.problems import ProblemError
from engine.batches import Floats, Keys
from engine.errors import SchemaError
from engine.features import Context, Schema
from engine.policy import Candidates, Posterior, Requests, Slates, hash_key
from engine.registry import make_policy
from streams.config import EngineConfig
from streams.refusals import escape
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
    reason: Reason


class Ranked(NamedTuple):
    """A slate and who made it; ``fallback`` says why it was not the policy."""

    policy: str
    policy_hash: str
    schema: str
    view: int
    method: str
    slots: list[RankedSlot]
    fallback: str | None


class _Known(NamedTuple):
    ids: tuple[str, ...]
    posterior: Posterior
    candidates: Candidates


class Ranker:
    """Ranks with the policies of a configuration.

    Not for several threads at once.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.policies = {name: each.build(name) for name, each in config.policies.items()}
        self._uniform = make_policy("uniform")
        self._no_beliefs = self._uniform.derive(self._uniform.init())
        self._hashes = {name: policy.hash for name, policy in self.policies.items()}
        self._versions = {name: policy.schema.version for name, policy in self.policies.items()}
        self._uniform_hash = self._uniform.hash
        self._state_hashes = {name: p.state_hash for name, p in self.policies.items()}
        self._viewed: View | None = None
        self._stale: Mapping[str, str] = {}
        self._sets: dict[str, _Known] = {}
        self._key = lru_cache(KEYS_KEPT)(hash_key)

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
    ) -> Ranked:
        """Rank candidates ``ids`` for one request; ``pool`` names them when they may come again.

        Raises
        ------
        ProblemError
            When the context does not fit the policy's schema.
        """
        x = self.encode(name, context)
        fallback = self.fallback(view, name)
        if view is None or fallback:
            return self._rank_uniformly(view, ids, request_id, k, fallback or "no_view")
        policy, posterior = self.policies[name], view.policies[name]
        candidates = self._look_up(f"{name}/{pool}" if pool else "", posterior, ids)
        slates = policy.rank(posterior, Requests.of(x, [request_id], [candidates]), k)
        counts = posterior.arrays["count"][candidates.rows[slates.picks[0]]]
        return Ranked(
            policy=name,
            policy_hash=self._hashes[name],
            schema=self._versions[name],
            view=view.version,
            method=slates.method,
            slots=_slots(ids, slates, counts),
            fallback=None,
        )

    def _rank_uniformly(
        self, view: View | None, ids: tuple[str, ...], request_id: str, k: int, fallback: str
    ) -> Ranked:
        candidates = self._look_up("", self._no_beliefs, ids)
        request = Requests.of(np.ones((1, 1)), [request_id], [candidates])
        slates = self._uniform.rank(self._no_beliefs, request, k)
        slots = [slot._replace(reason="fallback") for slot in _slots(ids, slates, np.zeros(k))]
        return Ranked(
            policy="uniform",
            policy_hash=self._uniform_hash,
            schema="",
            view=view.version if view else 0,
            method=slates.method,
            slots=slots,
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

    def _look_up(self, known_as: str, posterior: Posterior, ids: tuple[str, ...]) -> Candidates:
        known = self._sets.get(known_as) if known_as else None
        if known and known.ids is ids and known.posterior is posterior:
            return known.candidates
        same = known is not None and known.ids is ids
        keys = known.candidates.keys if known and same else self._keys(ids)
        candidates = Candidates.of(posterior, ids, keys)
        if known_as:
            if len(self._sets) >= SETS_KEPT and known is None:
                self._sets.clear()
            self._sets[known_as] = _Known(ids, posterior, candidates)
        return candidates

    def _keys(self, ids: tuple[str, ...]) -> Keys:
        return np.fromiter(map(self._key, ids), dtype=np.uint64, count=len(ids))


def _slots(ids: tuple[str, ...], slates: Slates, counts: Floats) -> list[RankedSlot]:
    rows = zip(
        slates.picks[0].tolist(),
        slates.score[0].tolist(),
        slates.propensity[0].tolist(),
        slates.error[0].tolist(),
        slates.greedy[0].tolist(),
        counts.tolist(),
        strict=True,
    )
    return [
        RankedSlot(ids[pick], score, propensity, error, _reason(greedy=greedy, count=count))
        for pick, score, propensity, error, greedy, count in rows
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
