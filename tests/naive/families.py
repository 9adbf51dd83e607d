"""Twins of the families of beliefs: SciPy's densities and distribution functions, brute force."""

import itertools
import math

import numpy as np
import scipy.interpolate
import scipy.special
import scipy.stats

from tests import naive

NODE, WEIGHT = np.polynomial.legendre.leggauss(24)


class Normal:
    """N(p, q²)."""

    code = 0

    def bends(self, p, q, r):
        return p + q * np.linspace(-9, 9, 37)

    def density(self, x, p, q, r):
        return scipy.stats.norm.pdf(x, p, q)

    def below(self, x, p, q, r):
        return scipy.special.ndtr((x - p) / q)

    def draw(self, key, p, q, r):
        return p + q * naive.normal(key)


class Beta:
    """Beta(p, q), by its log-odds."""

    code = 1

    def bends(self, p, q, r):
        low, high = -60 / min(1, p) - 5, 60 / min(1, q) + 5
        near = math.log(p / q) + math.sqrt(1 / p + 1 / q) * np.linspace(-9, 9, 37)
        return np.concatenate([near, np.linspace(low, high, 200), np.linspace(-25, 25, 51)])

    def density(self, x, p, q, r):
        log_odds = -p * np.logaddexp(0, -x) - q * np.logaddexp(0, x)
        return np.exp(log_odds - scipy.special.betaln(p, q))

    def below(self, x, p, q, r):
        lower = scipy.special.betainc(p, q, np.exp(-np.logaddexp(0, -x)))
        upper = scipy.special.betainc(q, p, np.exp(-np.logaddexp(0, x)))
        return np.where(x < 0, lower, 1 - upper)

    def draw(self, key, p, q, r):
        return naive.beta_log_odds(key, p, q)


class Gamma:
    """Gamma of shape p and rate q, by its log."""

    code = 2

    def bends(self, p, q, r):
        centre = math.log(p / q)
        near = centre + np.linspace(-9, 9, 73) / math.sqrt(p)
        far = np.linspace(-40 / min(p, 1) - 5, 0, 200) - math.log(q)
        return np.concatenate([near, far, np.linspace(-4, 6, 31) - math.log(q)])

    def density(self, x, p, q, r):
        return np.exp(p * x - q * np.exp(np.minimum(x, 700)) + p * math.log(q) - math.lgamma(p))

    def below(self, x, p, q, r):
        return scipy.special.gammainc(p, q * np.exp(np.minimum(x, 700)))

    def draw(self, key, p, q, r):
        return naive.log_gamma(key, p) - math.log(q)


class Student:
    """p + q t, of r degrees of freedom."""

    code = 3

    def bends(self, p, q, r):
        out = q * np.concatenate([np.linspace(0, 4, 17)[1:], 4 * 1.5 ** np.arange(1, 75)])
        return p + np.concatenate([-out, [0], out])

    def density(self, x, p, q, r):
        return scipy.stats.t.pdf((x - p) / q, r) / q

    def below(self, x, p, q, r):
        return scipy.special.stdtr(r, (x - p) / q)

    def draw(self, key, p, q, r):
        log_half = naive.log_gamma(naive.combine(key, 7), r / 2)
        return p + q * naive.normal(key) / math.sqrt(math.exp(log_half) / (r / 2))


FAMILIES = [Normal(), Beta(), Gamma(), Student()]


def nodes(family, p, q, r):
    """Points and weights of a quadrature that bends wherever a candidate's density does."""
    edges = np.unique(np.concatenate([family.bends(*each) for each in zip(p, q, r, strict=True)]))
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half * (1 + NODE)).ravel(), (half * WEIGHT).ravel()


def win(family, p, q, r, i):
    """P(the draw of i is highest)."""
    x, weight = nodes(family, p, q, r)
    value = family.density(x, p[i], q[i], r[i])
    for j in range(len(p)):
        if j != i:
            value = value * family.below(x, p[j], q[j], r[j])
    return float(np.sum(weight * value))


def slate_once(family, p, q, r, slate, mass):
    """P(slate) when every candidate is drawn once, by summing over which slots were explored.

    A slot not explored needs its pick above all items left to it: nested one-dimensional
    integrals from the last such slot outwards, each interpolated by none but its own nodes.
    """
    x, weight = nodes(family, p, q, r)
    order = np.argsort(x)
    x, weight = x[order], weight[order]
    total = 0.0
    for explored in itertools.product([False, True], repeat=len(slate)):
        chance = 1.0
        for slot, free in enumerate(explored):
            chance *= mass / (len(p) - slot) if free else 1 - mass
        if chance:
            total += chance * _ordered(family, p, q, r, slate, explored, x)
    return total


def _ordered(family, p, q, r, slate, explored, x):
    """P(every slot not explored holds the highest of those left to it)."""
    exploiting = [slot for slot, free in enumerate(explored) if not free]
    if not exploiting:
        return 1.0
    unlisted = [j for j in range(len(p)) if j not in slate]
    last = exploiting[-1]
    inner = np.ones_like(x)  # of z: P(all below z that must be, given the last shown draw is z)
    for j in [*unlisted, *slate[last + 1 :]]:
        inner *= family.below(x, p[j], q[j], r[j])
    for slot, following in reversed(
        list(zip([None, *exploiting], [*exploiting, None], strict=True))
    ):
        if following is None:
            continue
        j = slate[following]
        # cumulated from below, by a spline through the integrand at the nodes
        grown = scipy.interpolate.CubicSpline(x, family.density(x, p[j], q[j], r[j]) * inner)
        integral = grown.antiderivative()
        if slot is None:
            return float(integral(x[-1]))
        inner = integral(x)
        for between in slate[slot + 1 : following]:
            inner = inner * family.below(x, p[between], q[between], r[between])
    return None
