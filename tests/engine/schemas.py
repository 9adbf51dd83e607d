"""Features of every kind, and schemas made of any of them."""

import numpy as np
from hypothesis import strategies as st

from engine.features import Schema

HOUR = {"type": "numeric", "name": "hour", "center": 12, "scale": 6, "clip": 1.5}
DEVICE = {"type": "categorical", "name": "device", "values": ["ios", "web"]}
TASTE = {"type": "clusters", "name": "taste", "count": 3}
PRICE = {"type": "numeric", "name": "price", "of": "item", "center": 5, "scale": 2}
GENRE = {"type": "categorical", "name": "genre", "of": "item", "values": ["pop", "jazz"]}
TOPIC = {"type": "clusters", "name": "topic", "of": "item", "count": 2}
MOOD = {"type": "vector", "name": "mood", "count": 2, "version": "a", "scale": 2}


def schema(*declared):
    return Schema.from_list(declared)


def crossed(left, right):
    return {"type": "interaction", "left": left, "right": right}


# One of each axis; any subset in any order is a schema, as far as its products' parts are there.
POOL = [
    *(HOUR, DEVICE, TASTE, PRICE, GENRE, TOPIC, MOOD, {**MOOD, "name": "style", "of": "item"}),
    {"type": "numeric", "name": "age"},
    crossed("hour", "device"),
    crossed("genre", "price"),
    crossed("device", "genre"),
    crossed("topic", "taste"),
    crossed("mood", "style"),
    {"type": "quadratic", "names": ["hour", "age"]},
]


@st.composite
def schemas(draw):
    chosen = draw(st.permutations(POOL))[: draw(st.integers(0, len(POOL)))]
    names = {each["name"] for each in chosen if "name" in each}
    needs = [
        {each[side] for side in ("left", "right") if side in each} | set(each.get("names", ()))
        for each in chosen
    ]
    return schema(*(each for each, need in zip(chosen, needs, strict=True) if need <= names))


def random_rows(made, seed, n=4):
    rng = np.random.default_rng(seed)
    words = {"device": ["ios", "web", "tv"], "genre": ["pop", "jazz", "folk"]}
    rows = []
    for _ in range(n):
        row = {name: float(rng.normal(5, 4)) for name in ("hour", "age", "price")}
        row |= {name: str(rng.choice(known)) for name, known in words.items()}
        row |= {name: {"1": float(rng.random())} for name in ("taste", "topic")}
        row |= {name: {"v:a": 1, "1": float(rng.normal())} for name in ("mood", "style")}
        rows.append(row)
    return made.encode(rows), made.encode_items(rows)
