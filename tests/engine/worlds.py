"""Seeded policies, outcomes and requests that the laws are checked on."""

import numpy as np

from engine.features import Categorical, Numeric, Schema
from engine.policy import Candidates, Outcomes, Requests
from engine.registry import make_policy, policy_names

SCHEMA = Schema(
    features=(
        Numeric(name="hour", center=12, scale=6),
        Numeric(name="age", center=40, scale=10),
        Categorical(name="device", values=("ios", "android")),
    )
)
ITEMS = tuple(f"item-{i}" for i in range(7))
HOUR = 3_600_000
SPECS = [
    *policy_names(),
    "linear-thompson:half_life_seconds=3600",
    "beta-ucb:half_life_seconds=60,alpha=1",
]


def policy(spec, **settings):
    return make_policy(spec, schema=SCHEMA, **settings)


def contexts(rng, n):
    return [
        {
            "hour": float(rng.integers(24)),
            "age": float(rng.normal(40, 10)),
            "device": str(rng.choice(["ios", "android", "other"])),
        }
        for _ in range(n)
    ]


def outcomes(seed, n, items=ITEMS):
    rng = np.random.default_rng(seed)
    return Outcomes(
        item_ids=[str(item) for item in rng.choice(items, n)],
        x=SCHEMA.encode(contexts(rng, n)),
        reward=(rng.random(n) < 0.3).astype(float),
        weight=rng.choice([1.0, 2.5], n),
        time_ms=1_700_000_000_000 + np.sort(rng.integers(0, 50 * HOUR, n)),
    )


def learned(spec, seed=0, n=300, **settings):
    made = policy(spec, **settings)
    state = made.init()
    made.update(state, outcomes(seed, n))
    return made, state


def requests(posterior, seed=0, n=5, items=(*ITEMS, "never-seen"), ids=None):
    rng = np.random.default_rng(seed)
    candidates = Candidates.of(posterior, items)
    ids = ids or [f"request-{seed}-{i}" for i in range(n)]
    return Requests.of(SCHEMA.encode(contexts(rng, n)), ids, [candidates] * n)
