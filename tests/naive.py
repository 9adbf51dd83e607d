"""Slow, obvious twins of the compiled kernels: plain Python and NumPy, one event at a time."""

import itertools
import math

import numpy as np

MASK = (1 << 64) - 1
EXPLORE, UNIFORM, BELIEF = 11, 12, 13


def unpack(packed, d):
    """Full symmetric matrix of a packed upper triangle."""
    full = np.zeros((d, d))
    full[np.triu_indices(d)] = packed
    return full + np.triu(full, 1).T


def pack(full):
    return full[np.triu_indices(len(full))]


def add_rows(total, rows, values):
    for row, value in zip(rows, values, strict=True):
        total[row] += value


def update_gram(gram, moment, rows, x, reward, weight):
    for row, xi, r, w in zip(rows, x, reward, weight, strict=True):
        gram[row] += pack(w * np.outer(xi, xi))
        moment[row] += w * r * xi


def derive_ridge(gram, moment, precision):
    d = moment.shape[1]
    covariance = [np.linalg.inv(unpack(g, d) + precision * np.eye(d)) for g in gram]
    theta = [c @ b for c, b in zip(covariance, moment, strict=True)]
    return np.array(theta), np.array([pack(c) for c in covariance])


def predict_linear(theta, covariance, x, offsets, rows):
    d = x.shape[1]
    mean, sd = [], []
    for i, xi in enumerate(x):
        for row in rows[offsets[i] : offsets[i + 1]]:
            mean.append(theta[row] @ xi)
            sd.append(math.sqrt(xi @ unpack(covariance[row], d) @ xi))
    return np.array(mean), np.array(sd)


def mix(value):
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def combine(key, *parts):
    for part in parts:
        key = mix(mix(key) ^ int(part))
    return key


def uniform(key):
    return ((key >> 11) + 0.5) / 2**53


def normal(key):
    return math.sqrt(-2 * math.log(uniform(key))) * math.cos(2 * math.pi * uniform(mix(key)))


def gamma(key, shape):
    boost = 1.0
    if shape < 1:
        boost = uniform(combine(key, 1)) ** (1 / shape)
        shape += 1
    d = shape - 1 / 3
    while True:
        key = combine(key, 2)
        z = normal(key)
        v = (1 + z / math.sqrt(9 * d)) ** 3
        if v > 0 and math.log(uniform(combine(key, 3))) < z * z / 2 + d - d * v + d * math.log(v):
            return boost * d * v


def beta(key, a, b):
    success, failure = gamma(combine(key, 5), a), gamma(combine(key, 6), b)
    return success / (success + failure)


def draw_slate(value, item_keys, key, seed, mass, k):
    """One slate: ``value(slot_key, j)`` is the index or the draw of candidate j for a slot."""
    left, slate = list(range(len(item_keys))), []
    for slot in range(k):
        slot_key = combine(int(seed), key, slot)
        values = {j: value(slot_key, j) for j in left}
        if uniform(combine(slot_key, EXPLORE)) < mass:
            tied = left
        else:
            tied = [j for j in left if values[j] == max(values.values())]
        pick = max(tied, key=lambda j: uniform(combine(slot_key, UNIFORM, item_keys[j])))
        slate.append(pick)
        left.remove(pick)
    return slate


def index_propensity(index, slate, mass):
    """Probability of each pick of a slate that shows the highest index left."""
    left, found = list(range(len(index))), []
    for pick in slate:
        best = max(index[j] for j in left)
        ties = sum(index[j] == best for j in left)
        found.append((1 - mass) * (index[pick] == best) / ties + mass / len(left))
        left.remove(pick)
    return found


def normal_win(mean, sd, i):
    """P(the draw of i is highest), by Gauss–Legendre between the places where something bends."""
    others = [j for j in range(len(mean)) if j != i]
    bends = [
        (mean[j] + c * sd[j] - mean[i]) / sd[i] for j in others for c in (-6, -3, -1, 0, 1, 3, 6)
    ]
    points = np.unique(np.clip([*bends, -9, -3, -1, 0, 1, 3, 9], -9, 9))
    node, weight = np.polynomial.legendre.leggauss(64)
    total = 0.0
    for left, right in itertools.pairwise(points):
        z = (left + right) / 2 + (right - left) / 2 * node
        below = np.ones_like(z)
        for j in others:
            u = (mean[i] + sd[i] * z - mean[j]) / sd[j]
            below *= [0.5 * math.erfc(-v / math.sqrt(2)) for v in u]
        density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        total += (right - left) / 2 * np.sum(weight * density * below)
    return total
