"""Policies to be evaluated: the probability each gives to the slates of a log."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from engine.batches import Candidates, Floats, Ints, Outcomes, Posterior, Requests
from engine.errors import ConfigError
from engine.policy import Policy
from engine.registry import check_spec as check_policy
from engine.registry import make_policy
from simulator.logs import Progress, SlateLog

__all__ = ["LearnedTarget", "TableTarget", "Target", "UniformTarget", "check_spec", "make_target"]

BATCH = 256


class Target(Protocol):
    """A policy to be evaluated, under the pins of the requests."""

    def propensities(self, log: SlateLog, progress: Progress | None = None) -> Floats:
        """Probability of each logged item given the slots before it, ``(n, k)``.

        It is 1 where a slate has no such slot, or the request pinned it.
        """
        ...

    @property
    def notes(self) -> list[str]:
        """What a reader of the result must know."""
        ...


def make_target(spec: str, log: SlateLog) -> Target:
    """Build a target from ``uniform``, ``table:FILE`` or a policy's ``name:key=value,…``.

    Raises
    ------
    ConfigError
        When the spec or the table is not valid.
    """
    kind, _, rest = spec.partition(":")
    if kind == "table":
        return TableTarget(read_table(Path(rest)), log)
    if spec == "uniform":
        return UniformTarget()
    return LearnedTarget(make_policy(spec, schema=log.schema))


def check_spec(spec: str) -> None:
    """Raise ``ConfigError`` when a spec could not be a target of any log: before reading one."""
    kind, _, rest = spec.partition(":")
    if kind == "table":
        read_table(Path(rest))
    else:
        check_policy(spec)


class UniformTarget:
    """Every candidate left is as likely."""

    @property
    def notes(self) -> list[str]:
        """Nothing."""
        return []

    def propensities(self, log: SlateLog, progress: Progress | None = None) -> Floats:  # noqa: ARG002
        """1 / number of candidates left."""
        return 1.0 / np.maximum(log.left, 1)


class TableTarget:
    """Fixed probabilities of items, by position or for all positions.

    With several slots a row of the table is renormalised over the candidates left; with one it
    is taken as it stands, so probability on items that are not candidates is lost, and reported.
    """

    def __init__(self, table: dict[int | None, dict[str, float]], log: SlateLog) -> None:
        every = table.get(None, {})
        positions = int(log.position.max(initial=0)) + 1
        absent = [position for position in range(positions) if not table.get(position, every)]
        if absent:
            raise ConfigError(
                f"the log has {positions} positions and the table nothing for number "
                f"{absent[0] + 1}; leave the position out to use a row for every position"
            )
        self._weight = np.zeros((positions, len(log.item_ids)))
        for position in range(positions):
            named = table.get(position, every)
            self._weight[position] = [named.get(item_id, 0.0) for item_id in log.item_ids]
        unknown = {item for named in table.values() for item in named} - set(log.item_ids)
        self.notes = (
            [f"the table names {len(unknown)} items that the log does not know"] if unknown else []
        )

    def propensities(self, log: SlateLog, progress: Progress | None = None) -> Floats:  # noqa: ARG002
        """Table rows, renormalised over what is left where slates have several slots."""
        found = np.ones(log.items.shape)
        if log.items.shape[1] == 1:
            return np.where(log.chosen, self._weight[log.position, log.items], 1.0)
        pins = np.where(log.pinned, log.items, -1)
        for candidates, rows in log.candidates.groups(log.candidate_set):
            for slot in range(log.items.shape[1]):
                position, item = log.position[rows, slot], log.items[rows, slot]
                gone = np.concatenate([log.items[rows, :slot], pins[rows, slot + 1 :]], axis=1)
                left = self._left(candidates, gone, position)
                chance = self._weight[position, item] / np.where(left > 0, left, np.inf)
                found[rows, slot] = np.where(log.chosen[rows, slot], chance, 1.0)
        return found

    def _left(self, candidates: Ints, taken: Ints, position: Ints) -> Floats:
        total = self._weight[:, candidates].sum(axis=1)[position]
        for earlier in taken.T:
            total = total - np.where(earlier >= 0, self._weight[position, earlier], 0.0)
        return np.where(total > 1e-12, total, 0.0)

    def unsupported(self, log: SlateLog) -> float:
        """Mean probability the table puts on items that are not candidates of a slate."""
        lost = 0.0
        for candidates, rows in log.candidates.groups(log.candidate_set):
            kept = self._weight[:, candidates].sum(axis=1)[log.position[rows, 0]]
            lost += float(np.maximum(1.0 - kept, 0.0).sum())
        return lost / max(len(log), 1)


class LearnedTarget:
    """A policy that learns from this log as it goes.

    Each slate is scored with what the log's outcomes had taught before it was shown, as if the
    policy had watched from the start; the posterior is renewed every ``batch`` slates.
    """

    def __init__(self, policy: Policy, *, batch: int = BATCH) -> None:
        self._policy = policy
        self._batch = batch
        self.notes = [
            f"{policy.name} learns from this log as it goes (posterior renewed every {batch} "
            "slates); its value is that of a policy trained on the logged choices"
        ]

    def propensities(self, log: SlateLog, progress: Progress | None = None) -> Floats:
        """Probability under the policy as it was before each slate."""
        policy = self._policy
        x = policy.schema.encode(log.contexts)
        learner = _Prequential(policy, log, x)
        found = np.ones(log.items.shape)
        lengths = (log.items >= 0).sum(axis=1)
        for start in range(0, len(log), self._batch):
            rows = np.arange(start, min(start + self._batch, len(log)))
            posterior = learner.posterior_before(int(log.sequence[start]))
            for length in np.unique(lengths[rows]):
                some = rows[lengths[rows] == length]
                found[some, :length] = score_rows(policy, posterior, log, some, x=x, length=length)
            if progress is not None:
                progress(int(rows[-1]) + 1, len(log))
        return found


def score_rows(
    policy: Policy, posterior: Posterior, log: SlateLog, rows: Ints, *, x: Floats, length: int
) -> Floats:
    """Propensities a policy gives to the first ``length`` slots of some slates, ``(n, length)``."""
    known, keys = posterior.rows(log.item_ids), log.item_keys
    lookup = {}
    for number in np.unique(log.candidate_set[rows]):
        items = log.candidates.sets[number]
        names = tuple(log.item_ids[item] for item in items)
        lookup[number] = Candidates(
            item_ids=names, keys=keys[items], rows=known[items], z=log.candidates.z[number]
        )
    requests = Requests.of(
        x[rows],
        [log.request_ids[row] for row in rows],
        [lookup[log.candidate_set[row]] for row in rows],
    )
    picks, pinned = _picks(log, rows, length), log.pinned[rows, :length]
    pins = np.where(pinned, picks, -1) if pinned.any() else None
    return policy.score(posterior, requests, picks, pins).propensity


class _Prequential:
    """A state fed with outcomes in the order they matured."""

    def __init__(self, policy: Policy, log: SlateLog, x: Floats) -> None:
        self._policy, self._state = policy, policy.init()
        self._posterior = policy.derive(self._state)
        row, slot = np.nonzero(log.items >= 0)
        order = np.lexsort((slot, log.sequence[row], log.matured[row, slot]))
        self._row, self._slot = row[order], slot[order]
        self._matured = log.matured[self._row, self._slot]
        self._log, self._x, self._done = log, x, 0

    def posterior_before(self, sequence: int) -> Posterior:
        stop = int(np.searchsorted(self._matured, sequence, side="right"))
        if stop > self._done:
            row, slot = self._row[self._done : stop], self._slot[self._done : stop]
            matured = self._matured[self._done : stop]
            again = (np.diff(row) == 0) & (np.diff(matured) == 0)
            log = self._log
            item_ids = [log.item_ids[item] for item in log.items[row, slot]]
            outcomes = Outcomes(
                item_ids=item_ids,
                x=self._x[row],
                reward=log.reward[row, slot],
                weight=log.sampling[row],
                time_ms=log.time_ms[row],
                z=log.z[row, slot],
                propensity=1.0 / log.inverse[row, slot],
                slot=log.position[row, slot],
                last=log.last[row, slot],
                slate=np.cumsum(np.concatenate([[0], ~again])),
            )
            self._posterior = self._policy.learn(self._state, self._posterior, outcomes)
            self._done = stop
        return self._posterior


def _picks(log: SlateLog, rows: Ints, length: int) -> Ints:
    """Places of the logged items in their candidate sets."""
    picks = np.empty((len(rows), length), dtype=np.int64)
    for candidates, mine in log.candidates.groups(log.candidate_set[rows]):
        order = np.argsort(candidates)
        wanted = log.items[rows[mine], :length]
        picks[mine] = order[np.searchsorted(candidates[order], wanted)]
    return picks


def read_table(path: Path) -> dict[int | None, dict[str, float]]:
    """Read item_id, position and probability from CSV with that header, or a JSON list of objects.

    Without a position (absent or empty) a row holds for every position. Positions count from 0
    when the table names a position 0, else from 1.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            if path.suffix.lower() == ".json":
                rows = json.load(file)
            else:
                rows = list(csv.DictReader(file, skipinitialspace=True))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise ConfigError(f"table {path} cannot be read: {error}") from error
    table: dict[int | None, dict[str, float]] = {}
    for number, row in enumerate(rows if isinstance(rows, list) else [None], start=1):
        try:
            position = row.get("position")
            position = None if position in {None, ""} else _whole(position)
            item_id, probability = str(row["item_id"]), float(row["probability"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"table {path}, row {number}: {row!r} needs item_id and probability, and position "
                "as a whole number, or none"
            ) from error
        if not (math.isfinite(probability) and 0 <= probability <= 1):
            raise ConfigError(f"table {path}, row {number}: probability {probability} not in 0..1")
        held = table.setdefault(position, {})
        if item_id in held:
            raise ConfigError(f"table {path}, row {number}: item {item_id!r} stands there twice")
        held[item_id] = probability
    _check_totals(path, table)
    if 0 in table:
        return table
    return {None if position is None else position - 1: named for position, named in table.items()}


def _whole(value: Any) -> int:
    number = float(value)
    if not number.is_integer():
        raise ValueError(value)
    return int(number)


def _check_totals(path: Path, table: dict[int | None, dict[str, float]]) -> None:
    if not table:
        raise ConfigError(f"table {path} has no rows")
    for position, named in table.items():
        total = sum(named.values())
        if (position or 0) < 0:
            raise ConfigError(f"table {path}: position {position} is below 0; count from 0 or 1")
        if abs(total - 1.0) > 5e-3:
            where = "" if position is None else f" at position {position}"
            raise ConfigError(f"table {path}: probabilities{where} sum to {total:.6f}; give 1")
