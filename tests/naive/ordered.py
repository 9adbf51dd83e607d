"""Slow, obvious twins of the kernels of models that learn in order."""

import math
import struct

import numpy as np
import scipy.integrate
import scipy.optimize
import scipy.stats

from tests.naive import combine, pack, uniform, unpack, update_gram


def logistic(a):
    return 0.5 * (1 + math.tanh(a / 2))


def find_mode(mean, variance, y):
    """Mode of N(mean, variance) times the likelihood of one outcome, by root finding."""
    if variance == 0:
        return mean
    low, high = mean - variance * (1 - y) - 1e-9, mean + variance * y + 1e-9
    return scipy.optimize.brentq(
        lambda a: (a - mean) - variance * (y - logistic(a)), low, high, xtol=1e-14
    )


def update_logistic(precision, shift, rows, x, y, weight, prior):
    """Weights' mode m, then the quadratic approximation there: A += w k x xᵀ, A m = η."""
    d = x.shape[1]
    for row, xi, yi, w, ridge in zip(rows, x, y, weight, prior, strict=True):
        inverse = np.linalg.inv(unpack(precision[row], d) + ridge * np.eye(d))
        a = find_mode(xi @ inverse @ shift[row], w * (xi @ inverse @ xi), yi)
        p = logistic(a)
        mode = inverse @ (shift[row] + w * (yi - p) * xi)
        precision[row] += pack(w * p * (1 - p) * np.outer(xi, xi))
        shift[row] = (unpack(precision[row], d) + ridge * np.eye(d)) @ mode


def update_logistic_diagonal(precision, shift, rows, x, y, weight, prior):
    for row, xi, yi, w, ridge in zip(rows, x, y, weight, prior, strict=True):
        variance = 1 / (ridge + precision[row])
        a = find_mode(xi @ (variance * shift[row]), w * (variance @ xi**2), yi)
        p = logistic(a)
        mode = variance * (shift[row] + w * (yi - p) * xi)
        precision[row] += w * p * (1 - p) * xi**2
        shift[row] = (ridge + precision[row]) * mode


def predict_diagonal(theta, variance, x, offsets, rows):
    request = np.repeat(np.arange(len(x)), np.diff(offsets))
    mean = [theta[row] @ x[i] for row, i in zip(rows, request, strict=True)]
    square = [variance[row] @ x[i] ** 2 for row, i in zip(rows, request, strict=True)]
    return np.array(mean), np.sqrt(square)


def expect_logistic(a, b):
    """Mean and standard deviation of σ(u), u ~ N(a, b²), by adaptive quadrature."""

    def moment(f):
        points = sorted({0.0, float(np.clip(-a / b, -8, 8))})
        density = lambda z: math.exp(-z * z / 2) / math.sqrt(2 * math.pi)  # noqa: E731
        return scipy.integrate.quad(
            lambda z: f(logistic(a + b * z)) * density(z), -9, 9, points=points, limit=400
        )[0]

    mean = moment(lambda p: p)
    return mean, math.sqrt(moment(lambda p: (p - mean) ** 2))


def map_estimate(x, y, weight, ridge):
    """Exact mode of the weights' posterior, by a general optimiser."""

    def loss(theta):
        a = x @ theta
        return weight @ (np.logaddexp(0, a) - y * a) + ridge / 2 * theta @ theta

    def slope(theta):
        return x.T @ (weight * (1 / (1 + np.exp(-(x @ theta))) - y)) + ridge * theta

    found = scipy.optimize.minimize(loss, np.zeros(x.shape[1]), jac=slope, tol=1e-12)
    return found.x


def poisson(u):
    return int(scipy.stats.poisson.ppf(u, 1))


def draw_repeats(seed, time_ms, x, replicas):
    repeats = np.zeros((len(x), replicas))
    for i, (time, row) in enumerate(zip(time_ms, x, strict=True)):
        key = combine(seed, time, *(struct.unpack("<Q", struct.pack("<d", v))[0] for v in row))
        repeats[i] = [poisson(uniform(combine(key, replica))) for replica in range(replicas)]
    return repeats


def update_replicas(gram, moment, rows, x, reward, weight, repeats):
    for replica in range(repeats.shape[1]):
        update_gram(
            gram[:, replica], moment[:, replica], rows, x, reward, weight * repeats[:, replica]
        )


def predict_replicas(theta, x, offsets, rows):
    request = np.repeat(np.arange(len(x)), np.diff(offsets))
    return np.array([theta[row] @ x[i] for row, i in zip(rows, request, strict=True)]).T


def hedge_weights(regret, spread, awake):
    """AdaNormalHedge by its definition, potentials and all."""

    def potential(r, c):
        return math.exp(max(r, 0) ** 2 / (3 * c))

    raw = {
        g: potential(regret[g] + 1, spread[g] + 1) - potential(regret[g] - 1, spread[g] + 1)
        for g in awake
    }
    total = sum(raw.values())
    return {g: raw[g] / total if total else 1 / len(awake) for g in awake}


def awake_groups(x, places):
    return [0, *(g for g, place in enumerate(places, start=1) if x[place] != 0)]


def update_groupwise(
    gram, moment, regret, spread, rows, x, reward, weight, places, precision, low, high
):
    def scale(value):
        return (np.clip(value, low, high) - low) / (high - low)

    d = x.shape[1]
    for row, xi, r, w in zip(rows, x, reward, weight, strict=True):
        awake = awake_groups(xi, places)
        share = hedge_weights(regret[row], spread[row], awake)
        loss = {}
        for g in awake:
            full = unpack(gram[row, g], d) + precision * np.eye(d)
            loss[g] = (scale(np.linalg.solve(full, moment[row, g]) @ xi) - scale(r)) ** 2
        mixed = sum(share[g] * loss[g] for g in awake)
        for g in awake:
            regret[row, g] += mixed - loss[g]
            spread[row, g] += abs(mixed - loss[g])
            gram[row, g] += pack(w * np.outer(xi, xi))
            moment[row, g] += w * r * xi


def predict_groupwise(theta, covariance, regret, spread, x, offsets, rows, places, low, high):
    d, mean, sd = x.shape[1], [], []
    request = np.repeat(np.arange(len(x)), np.diff(offsets))
    for row, i in zip(rows, request, strict=True):
        share = hedge_weights(regret[row], spread[row], awake_groups(x[i], places))
        mean.append(sum(p * np.clip(theta[row, g] @ x[i], low, high) for g, p in share.items()))
        full = {g: unpack(covariance[row, g], d) for g in share}
        sd.append(sum(p * math.sqrt(x[i] @ full[g] @ x[i]) for g, p in share.items()))
    return np.array(mean), np.array(sd)
