"""What windows go by, as tables for kernels: the settings in force, and those of open windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from engine.kernels.ledger import (
    AGGREGATION,
    AT_ONCE,
    EARLIEST,
    LARGEST,
    LATEST,
    POLICY,
    SUM,
    WINDOW_MS,
    X_WIDTH,
    Z_WIDTH,
)
from streams.column_plan import ColumnPlan
from streams.config import EngineConfig, RecommenderConfig

__all__ = ["Rules"]

AGGREGATIONS = {"earliest": EARLIEST, "last": LATEST, "max": LARGEST, "sum": SUM}
MIN_MEMORY_MS = 60_000


class Rules:
    """Settings of recommenders, a row each.

    Parameters
    ----------
    config
        What is in force; its recommenders come first, in its order.
    kept
        Settings that windows opened under and still go by.

    Attributes
    ----------
    settings
        The settings that each row is of.
    plan
        What records must be decoded under.
    rows, rates
        As `engine.kernels.ledger` names their columns.
    """

    def __init__(self, config: EngineConfig, kept: Sequence[RecommenderConfig] = ()) -> None:
        self.config = config
        self.settings = (*config.recommenders.values(), *kept)
        kinds = sorted({kind for setting in self.settings for kind in setting.kinds})
        self.plan = replace(ColumnPlan.of(config), kinds=tuple(kinds))
        n = max(len(self.settings), 1)
        self.rows = np.full((n, 6), -1, dtype=np.int64)
        self.rates = np.full((n, 1 + len(kinds)), np.nan)
        for at, setting in enumerate(self.settings):
            self._put(at, setting)

    @property
    def longest_ms(self) -> int:
        """The longest reward window."""
        return self.config.longest_window_ms

    @property
    def memory_ms(self) -> int:
        """How long a request is remembered, at least, after a record that touches it."""
        return self.longest_ms + max(self.longest_ms, MIN_MEMORY_MS)

    def _put(self, at: int, setting: RecommenderConfig) -> None:
        row, plan = self.rows[at], self.plan
        row[WINDOW_MS] = setting.window_ms
        row[AGGREGATION] = AGGREGATIONS[setting.aggregation]
        row[AT_ONCE] = setting.learn == "first"
        if setting.policy in plan.policies:
            row[POLICY] = place = plan.policies.index(setting.policy)
            row[X_WIDTH], row[Z_WIDTH] = plan.x_width[place], plan.z_width[place]
        self.rates[at, 0] = setting.default_reward
        for kind, rate in setting.kinds.items():
            self.rates[at, 1 + plan.kinds.index(kind)] = rate

    def find(self, setting: RecommenderConfig) -> int:
        """Row of some settings, -1 when there is none."""
        return self.settings.index(setting) if setting in self.settings else -1
