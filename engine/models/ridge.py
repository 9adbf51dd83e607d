"""What the linear models share: the prior precision, solving for beliefs, and the noise.

The prior precision grows with the number of columns: the same as scaling every row by 1/√d,
which the papers leave to the user, but without letting the sums depend on d.
"""

from __future__ import annotations

import math

import numpy as np

from engine.batches import Floats
from engine.errors import ConfigError, ShapeError
from engine.kernels.linear import derive_ridge

__all__ = [
    "PRIOR_NOISE",
    "check_definite",
    "check_ridge",
    "flat_prior",
    "reward_noise",
    "scaled_prior",
    "solve_ridge",
]

PRIOR_NOISE = 0.25  # variance of a reward nothing is known of: a fair coin's
INTERCEPT_SHARE = 0.01  # of the ridge, on the intercept of standardised rows
CONSTANT = 1e-12  # a column whose variance is this share of its mean square does not vary


def check_ridge(ridge: float) -> None:
    """Raise ``ConfigError`` when the ridge is no precision."""
    if not (math.isfinite(ridge) and ridge > 0):
        raise ConfigError(f"ridge is {ridge}; give a number above 0")


def check_definite(failed: int, what: str = "items") -> None:
    """Raise ``ShapeError`` when sums were not positive definite."""
    if failed:
        raise ShapeError(
            f"{failed} {what}' sums are not positive definite; features may be too large: "
            "declare their center and scale"
        )


def flat_prior(precision: float, d: int) -> Floats:
    """Prior precision ``precision · I`` of d columns, packed ``(d (d + 1) / 2,)``."""
    prior = np.zeros(d * (d + 1) // 2)
    prior[_diagonal(d)] = precision
    return prior


def scaled_prior(precision: float, gram: Floats, d: int) -> Floats:
    """Prior precision of raw rows that equals a flat one of standardised rows, packed.

    Standardising is the affine map x̃ = (x₀, (x₁ - μ₁ x₀) / σ₁, …) with the means and standard
    deviations of the rows in ``gram`` (packed Σ w x xᵀ, column 0 the intercept). θᵀx = θ̃ᵀx̃ for
    θ̃₀ = (1 μ)ᵀθ and θ̃ⱼ = σⱼ θⱼ, so that a precision λ of θ̃, λ₀ of its intercept, is
    λ₀ (1 μ)(1 μ)ᵀ + λ diag(0, σ²) of θ; λ is ``precision``, λ₀ a hundredth of it. A
    column that does not vary is only shifted.
    """
    weight = gram[0] if gram[0] > 0.0 else 1.0
    mean = gram[:d] / weight
    mean[0] = 1.0
    second = gram[_diagonal(d)] / weight
    variance = second - mean * mean
    variance[variance <= CONSTANT * second] = 1.0
    variance[0] = 0.0
    upper = np.triu_indices(d)
    prior = INTERCEPT_SHARE * precision * mean[upper[0]] * mean[upper[1]]
    prior[_diagonal(d)] += precision * variance
    return prior


def solve_ridge(gram: Floats, moment: Floats, prior: Floats) -> tuple[Floats, Floats]:
    """Mean θ ``(m, d)`` and packed covariance of coefficients, from packed sums.

    Raises ``ShapeError`` when sums and prior are not positive definite.
    """
    theta, covariance = np.empty_like(moment), np.empty_like(gram)
    check_definite(derive_ridge(gram, moment, prior, theta, covariance))
    return theta, covariance


def reward_noise(square: Floats, explained: Floats, count: Floats) -> Floats:
    """Variance of a reward about its mean: the residuals', and one prior outcome's."""
    return (PRIOR_NOISE + np.maximum(square - explained, 0.0)) / (1.0 + count)


def _diagonal(d: int) -> Floats:
    """Places of the diagonal in a packed upper triangle."""
    at = np.arange(d)
    return at * d - at * (at - 1) // 2
