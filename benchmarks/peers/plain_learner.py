"""The learner many would write: kafka-python's iterator, json, a dict of open slates, SQLite."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import deque
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.traffic import CLUSTERS, NUMBERS, Traffic
from engine.policy import Outcomes

__all__ = ["PlainLearner"]

BATCH = 1000  # outcomes learned at once
COMMIT_SECONDS = 0.5


class Slate(NamedTuple):
    """An open slate, and what it earned."""

    item: str
    row: list[float]
    propensity: float
    deadline: int
    rewards: list[float]


class PlainLearner:
    """Joins and learns what `Traffic` holds as ours does, with none of what ours does besides.

    It knows no other events and no other settings, checks nothing, counts nothing, and is not
    fenced. Policies are ours.

    Attributes
    ----------
    states
        What was learned, by policy.
    """

    def __init__(self, traffic: Traffic, folder: Path) -> None:
        config = traffic.config
        self._window = round(1000 * traffic.window_seconds)
        self._policies = {name: policy.build(name) for name, policy in config.policies.items()}
        self.states = {name: policy.init() for name, policy in self._policies.items()}
        self._waiting: dict[str, list[Slate]] = {name: [] for name in self._policies}
        self._open: dict[str, Slate] = {}
        self._due: deque[tuple[int, str, str]] = deque()  # deadline, request, policy
        self._database = sqlite3.connect(folder / "plain.db", isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, next INTEGER, body BLOB)"
        )

    def run(self, records: Iterable[Any], n: int) -> None:
        """Learn from ``n`` records and commit."""
        committed = time.monotonic()
        for record in islice(records, n):
            event = json.loads(record.value)
            self._close(record.timestamp)
            if event["type"] == "impression":
                self._show(event, record.timestamp)
            elif event["type"] == "feedback":
                self._react(event)
            if time.monotonic() - committed > COMMIT_SECONDS:
                self.commit(record.offset + 1)
                committed = time.monotonic()
        self.commit(n)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def commit(self, following: int) -> None:
        """Learn what waits and write all states together with the offset."""
        for name in self._waiting:
            self._learn(name)
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            for name, policy in self._policies.items():
                self._database.execute(
                    "INSERT OR REPLACE INTO state VALUES (?, ?, ?)",
                    (name, following, policy.save(self.states[name])),
                )

    def _show(self, event: dict[str, Any], stamp: int) -> None:
        (shown,) = event["slate"]
        encode = _numbers if event["recommender"] == "linear" else _clusters
        slate = Slate(
            shown["item_id"],
            encode(event["context"]),
            shown["propensity"],
            stamp + self._window,
            [],
        )
        self._open[event["request_id"]] = slate
        self._due.append((slate.deadline, event["request_id"], event["recommender"]))

    def _react(self, event: dict[str, Any]) -> None:
        slate = self._open.get(event["request_id"])
        if slate is not None and slate.item == event["item_id"] and not slate.rewards:
            slate.rewards.append(event["value"])  # the first counts

    def _close(self, stamp: int) -> None:
        while self._due and self._due[0][0] <= stamp:
            _, request_id, name = self._due.popleft()
            waiting = self._waiting[name]
            waiting.append(self._open.pop(request_id))
            if len(waiting) == BATCH:
                self._learn(name)

    def _learn(self, name: str) -> None:
        slates = self._waiting[name]
        if not slates:
            return
        n = len(slates)
        outcomes = Outcomes(
            item_ids=[slate.item for slate in slates],
            x=np.array([slate.row for slate in slates]),
            reward=np.array([slate.rewards[0] if slate.rewards else 0.0 for slate in slates]),
            weight=np.ones(n),
            time_ms=np.array([slate.deadline for slate in slates]),
            propensity=np.array([slate.propensity for slate in slates]),
        )
        self._policies[name].update(self.states[name], outcomes)
        slates.clear()


def _numbers(context: dict[str, float]) -> list[float]:
    return [1.0, *(context[name] for name in NUMBERS)]


def _clusters(context: dict[str, dict[str, float]]) -> list[float]:
    row = [1.0] + [0.0] * CLUSTERS
    for cluster, share in context["near"].items():
        row[1 + int(cluster)] = share
    return row
