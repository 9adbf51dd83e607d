"""A model over item features alone, registered for the tests that need one."""

from dataclasses import dataclass

import numpy as np
import pytest

from engine import registry
from engine.models.base import Axes, Model, Traits

__all__ = ["ItemRidge", "register"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRidge(Model):
    """Ridge regression of the reward on the item's row and an intercept, one for all items.

    Parameters
    ----------
    corrected
        Weigh outcomes by 1 / propensity.
    """

    ridge: float = 1.0
    corrected: bool = False

    @property
    def traits(self):
        return Traits(family="normal", correlated=True, pooled=True)

    def axes(self):
        shared = {"gram": ("z", "z"), "total": ("z",), "moment": ("z",), "reward": (), "n": ()}
        return Axes(items={"count": ()}, shared=shared)

    def update(self, state, rows, outcomes, weight, schema):
        if self.corrected:
            weight = weight / outcomes.propensity
        sums = state.shared
        for row, z, reward, w in zip(rows, outcomes.z, outcomes.reward, weight, strict=True):
            state.sums["count"][row] += w
            sums["gram"] += w * z[:, None] * z
            sums["total"] += w * z
            sums["moment"] += w * reward * z
            sums["reward"] += w * reward
            sums["n"] += w

    def derive(self, sums, state, schema):
        return {"count": sums["count"].copy()}

    def derive_shared(self, state, schema):
        held = state.shared
        gram = np.block(
            [[held["n"][None, None], held["total"][None]], [held["total"][:, None], held["gram"]]]
        )
        covariance = np.linalg.inv(gram + self.ridge * np.eye(len(gram)))
        return {
            "theta": covariance @ np.concatenate([held["reward"][None], held["moment"]]),
            "covariance": covariance,
        }

    def believe(self, posterior, requests, schema):
        rows = np.concatenate([np.ones((len(requests.z), 1)), requests.z], axis=1)
        shared = posterior.shared
        sd = np.sqrt(np.einsum("nd,de,ne->n", rows, shared["covariance"], rows))
        return self.belief(posterior, requests, mean=rows @ shared["theta"], sd=sd)


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let specs like ``items-greedy`` name the model."""
    monkeypatch.setitem(registry.MODELS, "items", ItemRidge)
