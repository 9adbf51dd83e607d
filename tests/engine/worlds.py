"""Seeded policies, outcomes and requests that the laws are checked on."""

import numpy as np

from engine.features import Categorical, Id, Interaction, Numeric, Schema
from engine.policy import Candidates, Outcomes, Requests
from engine.registry import make_policy, policy_names

SCHEMA = Schema(
    features=(
        Numeric(name="hour", center=12, scale=6),
        Numeric(name="age", center=40, scale=10),
        Categorical(name="device", values=("ios", "android")),
        Numeric(name="price", of="item", center=5, scale=2),
        Categorical(name="genre", of="item", values=("pop", "jazz")),
        Interaction(left="device", right="genre"),
    )
)
# The same with ids, for models with an embedding table: the others take no ids.
WITH_USER = Schema(features=(*SCHEMA.features, Id(name="user")))
WITH_IDS = Schema(features=(*WITH_USER.features, Id(name="place"), Id(name="brand", of="item")))
ITEMS = tuple(f"item-{i}" for i in range(7))
HOUR = 3_600_000
SPECS = [
    *policy_names(),
    "linear-thompson:half_life_seconds=3600",
    "beta-ucb:half_life_seconds=60,alpha=1",
    "bagged-ucb:half_life_seconds=3600,replicas=3",
    "groupwise-ucb:groups=device=ios|device=android",
    "river-ucb:replicas=3,per_item=false,scaled=true",
    "logistic-ucb:half_life_seconds=3600",
    "logistic-epsilon:half_life_seconds=60,covariance=diagonal",
    "linear-ucb:standardise=true,half_life_seconds=3600",
    "shared-ucb:standardise=true,half_life_seconds=3600",
    "fourier-epsilon:base=shared,features=16",
    "fourier-ucb:base=hybrid,features=8,half_life_seconds=60",
]


def policy(spec, **settings):
    return make_policy(spec, schema=SCHEMA, **settings)


def contexts(rng, n):
    drawn = [
        {
            "hour": float(rng.integers(24)),
            "age": float(rng.normal(40, 10)),
            "device": str(rng.choice(["ios", "android", "other"])),
        }
        for _ in range(n)
    ]
    return [
        each | {"user": f"user-{each['hour']:.0f}", "place": f"{each['age'] // 10:.0f}"}
        for each in drawn
    ]


def item_features(items):
    """Features of items, a function of their names: a renamed item keeps its own."""
    numbers = [sum(map(ord, item.removeprefix("other-"))) for item in items]
    return [
        {"price": float(n % 11), "genre": ("pop", "jazz", "folk")[n % 3], "brand": f"brand-{n % 4}"}
        for n in numbers
    ]


def outcomes(seed, n, items=ITEMS):
    rng = np.random.default_rng(seed)
    item_ids = [str(item) for item in rng.choice(items, n)]
    return Outcomes(
        item_ids=item_ids,
        x=SCHEMA.encode(contexts(rng, n)),
        reward=(rng.random(n) < 0.3).astype(float),
        weight=rng.choice([1.0, 2.5], n),
        time_ms=1_700_000_000_000 + np.sort(rng.integers(0, 50 * HOUR, n)),
        z=SCHEMA.encode_items(item_features(item_ids)),
        propensity=rng.choice([0.1, 0.3, 0.6], n),
    )


def learned(spec, seed=0, n=300, **settings):
    made = policy(spec, **settings)
    state = made.init()
    made.update(state, outcomes(seed, n))
    return made, state


def candidates(posterior, items):
    return Candidates.of(posterior, items, z=SCHEMA.encode_items(item_features(items)))


def requests(posterior, seed=0, n=5, items=(*ITEMS, "never-seen"), ids=None):
    rng = np.random.default_rng(seed)
    ids = ids or [f"request-{seed}-{i}" for i in range(n)]
    found = candidates(posterior, items)
    return Requests.of(SCHEMA.encode(contexts(rng, n)), ids, [found] * n)
