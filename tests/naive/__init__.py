"""Slow, obvious twins of the compiled kernels: plain Python and NumPy, one event at a time."""

import itertools
import math
from statistics import NormalDist

import numpy as np
import scipy.special

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
    bits = key >> 11
    f = ((bits >> 1) + 0.5) / 2**53
    return NormalDist().inv_cdf(f) * (1 if bits & 1 else -1)


def log_gamma(key, shape):
    boost = 0.0
    if shape < 1:
        boost = math.log(uniform(combine(key, 1))) / shape
        shape += 1
    d = shape - 1 / 3
    while True:
        key = combine(key, 2)
        z = normal(key)
        v = (1 + z / math.sqrt(9 * d)) ** 3
        if v > 0 and math.log(uniform(combine(key, 3))) < z * z / 2 + d - d * v + d * math.log(v):
            return boost + math.log(d * v)


def beta_log_odds(key, a, b):
    return log_gamma(combine(key, 5), a) - log_gamma(combine(key, 6), b)


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


def normal_win_of_many(mean, sd, i):
    """P(the draw of i is highest), by a fine trapezoid: quick for a thousand rivals."""
    z = np.linspace(mean[i] - 9 * sd[i], mean[i] + 9 * sd[i], 4001)
    log_below = np.zeros_like(z)
    for j in range(len(mean)):
        if j != i:
            log_below += scipy.special.log_ndtr((z - mean[j]) / sd[j])
    density = np.exp(-0.5 * ((z - mean[i]) / sd[i]) ** 2) / (sd[i] * math.sqrt(2 * math.pi))
    return np.trapezoid(density * np.exp(log_below), z)


def beta_win(a, b, i):
    """P(the draw of i is highest), by Gauss–Legendre in log-odds between where something bends."""
    low, high = -60 / min(1, a[i]) - 5, 60 / min(1, b[i]) + 5
    centre, spread = np.log(a / b), np.sqrt(1 / a + 1 / b)
    bends = (centre[:, None] + spread[:, None] * np.linspace(-8, 8, 33)).ravel()
    points = np.unique(np.clip([*bends, *np.linspace(low, high, 400)], low, high))
    node, weight = np.polynomial.legendre.leggauss(20)
    half = np.diff(points)[:, None] / 2
    u = points[:-1, None] + half * (1 + node)
    log_p, log_q = -np.logaddexp(0, -u), -np.logaddexp(0, u)
    density = np.exp(a[i] * log_p + b[i] * log_q - scipy.special.betaln(a[i], b[i]))
    for j in range(len(a)):
        if j != i:
            lower = scipy.special.betainc(a[j], b[j], np.exp(log_p))
            upper = scipy.special.betainc(b[j], a[j], np.exp(log_q))
            density *= np.where(u < 0, lower, 1 - upper)
    return float(np.sum(half * weight * density))
