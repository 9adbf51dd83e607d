"""Linear beliefs the slow way: the stacked design, dense inverses, one candidate at a time."""

import math

import numpy as np

from tests import naive

__all__ = [
    "HALF",
    "dense_fit",
    "fourier_rows",
    "frequencies",
    "joint_row",
    "rows_of",
    "shared_fit",
    "stacked_design",
    "standardised_fit",
]

HALF = 0.5


def rows_of(outcomes, item):
    """Context rows and rewards of one item."""
    at = [i for i, shown in enumerate(outcomes.item_ids) if shown == item]
    return outcomes.x[at], outcomes.reward[at]


def dense_fit(rows, reward, weight, precision, faded=None):
    """Mean and covariance of ridge coefficients; precision a matrix, faded squared discounts."""
    rows, weight = np.asarray(rows), np.asarray(weight)
    inverse = np.linalg.inv(precision + rows.T @ (weight[:, None] * rows))
    theta = inverse @ rows.T @ (weight * reward)
    if faded is None:
        return theta, inverse
    middle = precision + rows.T @ (np.asarray(faded)[:, None] * rows)
    return theta, inverse @ middle @ inverse


def standardised_fit(rows, reward, weight, pool, pool_weight, precision, share=0.01):
    """Standardise the columns of the rows by those of the pool, fit, and map back."""
    mean = np.average(pool, axis=0, weights=pool_weight)
    sd = np.sqrt(np.average((pool - mean) ** 2, axis=0, weights=pool_weight))
    sd[sd < 1e-6 * np.abs(mean) + 1e-12] = 1.0
    mean[0], sd[0] = 0.0, 1.0
    d = rows.shape[1]
    transform = np.eye(d)  # standardised = raw @ transform
    for j in range(1, d):
        transform[j, j] = 1 / sd[j]
        transform[0, j] = -mean[j] / sd[j]
    penalty = precision * np.eye(d)
    penalty[0, 0] *= share
    theta, covariance = dense_fit(rows @ transform, reward, weight, penalty)
    return transform @ theta, transform @ covariance @ transform.T


def joint_row(x, z, schema):
    """Context, item, and declared products of the two."""
    left, right = schema.cross
    return np.array([*x, *z, *(x[i] * z[j] for i, j in zip(left, right, strict=True))])


def shared_fit(rows, schema_rows, reward, weight, precision):
    """One fit over the joint rows."""
    return dense_fit(schema_rows, reward, weight, precision * np.eye(rows))


def stacked_design(item_ids, x, h, items):
    """Rows (h, x in the block of its item, zeros): the hybrid model as one regression."""
    d, e = x.shape[1], h.shape[1]
    out = np.zeros((len(x), e + d * len(items)))
    for i, item in enumerate(item_ids):
        at = e + d * items.index(item)
        out[i, :e], out[i, at : at + d] = h[i], x[i]
    return out


def frequencies(seed, column_keys, scale, m):
    """Frequency k of column j, hashed of both."""
    stream = naive.combine(int(seed), 21)
    return np.array(
        [
            [scale * naive.normal(naive.combine(stream, k, int(key))) for k in range(m)]
            for key in column_keys
        ]
    )


def fourier_rows(rows, drawn, length):
    """Cosine and sine of every frequency, rows of the length given."""
    out = []
    for row in rows:
        angles = [sum(row[j] * drawn[j, k] for j in range(len(row))) for k in range(drawn.shape[1])]
        pairs = [(math.cos(angle), math.sin(angle)) for angle in angles]
        out.append(length / math.sqrt(len(pairs)) * np.array(pairs).ravel())
    return np.array(out)
