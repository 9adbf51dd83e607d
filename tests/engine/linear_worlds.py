"""Seeded logs over schemas of any width, for the linear models."""

import numpy as np

from engine.batches import Candidates, Outcomes, Requests
from engine.features import Interaction, Numeric, Schema
from tests.naive import linear as twin

HOUR = 3_600_000
RIDGE = 0.01


def schema_of(d, e, crossed):
    """A schema of d context columns, the intercept among them, and e item columns."""
    context = [Numeric(name=f"x{j}") for j in range(d - 1)]
    item = [Numeric(name=f"z{j}", of="item") for j in range(e)]
    pairs = [(c.name, i.name) for c in context for i in item][:crossed]
    products = [Interaction(left=left, right=right) for left, right in pairs]
    return Schema(features=(*context, *item, *products))


def log(rng, schema, items, n):
    d, e = len(schema.columns), len(schema.item_columns)
    z = rng.normal(size=(len(items), e))
    shown = rng.integers(0, len(items), n)
    x = np.concatenate([np.ones((n, 1)), rng.normal(size=(n, d - 1))], axis=1)
    batch = Outcomes(
        item_ids=[items[i] for i in shown],
        x=x,
        z=z[shown],
        reward=rng.normal(size=n),
        weight=rng.choice([1.0, 2.5], n),
        time_ms=np.sort(rng.integers(0, 40 * HOUR, n)),
        examination=rng.choice([1.0, 0.6], n),
    )
    return batch, z


def ask(posterior, rng, schema, items, z, n=3):
    x = rng.normal(size=(n, len(schema.columns)))
    x[:, 0] = 1.0
    found = Candidates.of(posterior, items, z=z)
    return Requests.of(x, [str(i) for i in range(n)], [found] * n)


def joint_rows(batch, schema):
    looked = batch.examination[:, None]
    rows = [twin.joint_row(x, z, schema) for x, z in zip(batch.x, batch.z, strict=True)]
    return np.array(rows).reshape(len(batch.item_ids), schema.sizes["f"]) * looked


def asked_rows(request, schema):
    of = request.of_candidate
    return [twin.joint_row(request.x[i], z, schema) for i, z in zip(of, request.z, strict=True)]
