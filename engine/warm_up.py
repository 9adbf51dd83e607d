"""Loading the compiled code of a policy before the first request needs it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.batches import Candidates, Outcomes, Requests
from engine.embeddings.keys import hash_ids
from engine.policy import Policy
from engine.retrieval.exact import search_exact
from engine.retrieval.records import Records

__all__ = ["warm_up"]

ITEMS = ("a", "b", "c", "d")
SPREADS = np.geomspace(1e-6, 1.0, len(ITEMS))  # so far apart that quadrature must be adaptive


def warm_up(policy: Policy) -> None:
    """Take every path through a policy that a service takes, on made-up outcomes.

    Compiles the kernels the policy uses, or loads them from numba's cache; the others, a hundred
    of them, are left alone.
    """
    n = len(ITEMS)
    hash_ids("", ITEMS)  # what features of ids are encoded by
    outcomes = Outcomes(
        item_ids=ITEMS,
        x=np.ones((n, policy.width)),
        reward=np.array([0.0, 1.0, 0.0, 1.0]),
        weight=np.ones(n),
        time_ms=np.zeros(n, dtype=np.int64),
        z=np.ones((n, len(policy.schema.item_columns))),
    )
    state = policy.init()
    policy.update(state, outcomes)
    state = policy.load(policy.save(state))
    state.put_bytes(state.to_bytes(ITEMS[:1]))
    state.hash()
    if policy.model.traits.forgets:
        state.halve(1)
    posterior = policy.learn(state, policy.derive(state), outcomes)
    candidates = Candidates.of(posterior, ITEMS, z=outcomes.z)
    requests = Requests.of(outcomes.x[:1], ["warm-up"], [candidates])
    policy.rank(posterior, requests, 2)
    if policy.model.traits.shortlists:
        vectors = policy.model.item_vectors(posterior, candidates.rows, candidates.z, policy.schema)
        records = Records(slab=vectors, size=vectors.shape[1] - 1, bias=vectors.shape[1] - 1)
        search_exact(records, policy.model.queries(posterior, requests.x, policy.schema), 2)
    belief = policy.believe(posterior, requests)
    drawn_by = belief.b * SPREADS if belief.family == "logit" else belief.b
    wide = replace(belief, sd=belief.sd * SPREADS, b=drawn_by)
    picks = np.full((1, 2), -1)
    policy.slate.draw(policy.exploration, wide, requests, picks, policy.seed, policy.schema)
