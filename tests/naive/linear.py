"""Linear beliefs the slow way: the stacked design, dense inverses, one candidate at a time."""

import math

import numpy as np

from tests import naive

__all__ = [
    "dense_fit",
    "eliminate_items",
    "fourier_rows",
    "frequencies",
    "hybrid_spread",
    "joint_row",
    "rows_of",
    "stacked_design",
    "standardised_fit",
    "sum_columns",
    "update_cross",
    "update_outer",
    "weigh_covariance",
]


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


def update_outer(gram, rows, x, weight):
    for row, xi, w in zip(rows, x, weight, strict=True):
        gram[row] += naive.pack(w * np.outer(xi, xi))


def update_cross(cross, rows, x, h, weight):
    for row, xi, hi, w in zip(rows, x, h, weight, strict=True):
        cross[row] += w * np.outer(xi, hi)


def weigh_covariance(squared, prior, covariance, d):
    out = []
    for faded, packed in zip(squared, covariance, strict=True):
        inverse = naive.unpack(packed, d)
        out.append(naive.pack(inverse @ naive.unpack(faded + prior, d) @ inverse))
    return np.array(out)


def eliminate_items(gram, cross, moment, prior, shared_gram, shared_moment):
    """Covariance, θ and link of items, and what is left of the shared sums."""
    d, h = cross.shape[1:]
    left, rest = naive.unpack(shared_gram, h), shared_moment.copy()
    covariance, theta, link = [], [], []
    for packed, b, r in zip(gram, cross, moment, strict=True):
        inverse = np.linalg.inv(naive.unpack(packed + prior, d))
        left -= b.T @ inverse @ b
        rest -= b.T @ inverse @ r
        covariance.append(naive.pack(inverse))
        theta.append(inverse @ r)
        link.append(inverse @ b)
    return np.array(theta), np.array(covariance), np.array(link), naive.pack(left), rest


def hybrid_spread(inverse, cross, shared_inverse, x, h):
    """The four terms of s_{t,a}, line 12 of Li et al. 2010, algorithm 2; their root."""
    through = shared_inverse @ cross.T @ inverse @ x
    variance = h @ shared_inverse @ h - 2 * h @ through + x @ inverse @ x
    return math.sqrt(variance + x @ inverse @ cross @ through)


def sum_columns(item_ids, x, reward, weight):
    """Sums of w x² and w r x by item."""
    found = {}
    for item, row, r, w in zip(item_ids, x, reward, weight, strict=True):
        precision, moment = found.setdefault(item, (np.zeros(len(row)), np.zeros(len(row))))
        precision += w * row * row
        moment += w * r * row
    return found
