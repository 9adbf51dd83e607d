"""Disjoint linear bandits, decided and learned one visit at a time; many seeds side by side."""

import numpy as np

__all__ = ["run_bandits"]


def run_bandits(x, reward, exploration, *, alpha=1.0, precision=1.0, gamma=10.0, seed=0):
    """Picks ``(s, n)`` of ``s`` runs: x ``(s, n, d)``, reward of every item ``(s, n, K)``.

    θ of an item is N(A⁻¹b, A⁻¹), A = precision · I + Σ x xᵀ, b = Σ r x. ``exploration`` is greedy,
    ucb (Li et al. 2010), thompson (Agrawal and Goyal 2013, a draw of every item's mean reward) or
    squarecb (Foster and Rakhlin 2020, γ = gamma √t); ties are broken at random.
    """
    (s, n, d), k = x.shape, reward.shape[2]
    rng, runs = np.random.default_rng(seed), np.arange(s)
    inverse = np.broadcast_to(np.eye(d) / precision, (s, k, d, d)).copy()
    moment, theta = np.zeros((s, k, d)), np.zeros((s, k, d))
    picks = np.empty((s, n), dtype=np.int64)
    for t in range(n):
        xt = x[:, t]
        mean = (theta @ xt[:, :, None])[:, :, 0]
        spread = np.sqrt(np.einsum("skpq,sp,sq->sk", inverse, xt, xt))
        if exploration == "squarecb":
            pick = _inverse_gap(mean, gamma * np.sqrt(t + 1), rng)
        else:
            width = {
                "greedy": 0.0,
                "ucb": alpha,
                "thompson": alpha * rng.normal(size=mean.shape),
            }[exploration]
            pick = _highest(mean + width * spread, rng)
        picks[:, t] = pick
        chosen = inverse[runs, pick]
        column = (chosen @ xt[:, :, None])[:, :, 0]
        scale = 1.0 + np.einsum("sp,sp->s", column, xt)
        chosen -= column[:, :, None] * column[:, None, :] / scale[:, None, None]
        inverse[runs, pick] = chosen
        moment[runs, pick] += reward[runs, t, pick][:, None] * xt
        theta[runs, pick] = (chosen @ moment[runs, pick][:, :, None])[:, :, 0]
    return picks


def _highest(index, rng):
    tied = index == index.max(axis=1, keepdims=True)
    return np.argmax(tied * (1.0 + rng.random(index.shape)), axis=1)


def _inverse_gap(mean, gamma, rng):
    runs, best = np.arange(len(mean)), _highest(mean, rng)
    chance = 1.0 / (mean.shape[1] + gamma * (mean.max(axis=1, keepdims=True) - mean))
    chance[runs, best] = 0.0
    chance[runs, best] = 1.0 - chance.sum(axis=1)
    return np.argmax(np.cumsum(chance, axis=1) > rng.random((len(mean), 1)), axis=1)
