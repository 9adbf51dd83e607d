"""A labelled table as a bandit: rows are contexts, classes items, the right class pays 1.

Dudík et al. 2011, section 5; rows come in a fresh seeded permutation on every pass.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np

from engine.batches import Floats, Ints
from engine.errors import ConfigError
from engine.features import Numeric, Quadratic, Schema
from simulator.worlds.base import Visit
from simulator.worlds.drawn import Drawn

__all__ = ["Multiclass", "read_table"]

CLIP = 5.0
VISIT_MS = 10  # a hundred visits a second


class Multiclass:
    """The world of one table.

    Parameters
    ----------
    rows
        Features, ``(n, d)``; each is shifted and scaled over the whole table, clipped at ±5.
    labels
        The right class of each row.
    quadratic
        Whether rows also hold the squares and products of the features.
    """

    slots = 1

    def __init__(
        self, rows: Floats, labels: list[str], *, seed: int = 0, quadratic: bool = False
    ) -> None:
        deviation = rows.std(axis=0)
        features = tuple(
            Numeric(name=f"x{i}", center=float(mean), scale=float(sd) or 1.0, clip=CLIP)
            for i, (mean, sd) in enumerate(zip(rows.mean(axis=0), deviation, strict=True))
        )
        names = [feature.name for feature in features]
        self.schema = Schema(features=(*features, Quadratic()) if quadratic else features)
        self._x = self.schema.encode([dict(zip(names, row, strict=True)) for row in rows.tolist()])
        self.item_ids = tuple(sorted(set(labels)))
        number = {label: i for i, label in enumerate(self.item_ids)}
        self._label = np.array([number[label] for label in labels])
        self._everything = np.arange(len(self.item_ids))
        self._truth = np.eye(len(self.item_ids))
        self._seed, self._rng = seed, np.random.default_rng(seed)
        self._order = np.empty(0, dtype=np.int64)
        self.first_pass: int | None = len(labels)

    def batch(self, n: int) -> Drawn:
        """Return the first ``n`` visits as whole arrays."""
        rng, rows = np.random.default_rng(self._seed), len(self._label)
        order = np.concatenate([rng.permutation(rows) for _ in range(-(-n // rows))])[:n]
        truth = self._truth[self._label[order]]
        return Drawn(self._x[order], truth, truth)

    def visit(self, t: int) -> Visit:
        """Return the next row of this pass."""
        at = t % len(self._label)
        if at == 0:
            self._order = self._rng.permutation(len(self._label))
        row = self._order[at]
        truth = self._truth[self._label[row]]
        return Visit(self._x[row : row + 1], self._everything, truth, t * VISIT_MS)

    def rewards(self, t: int, visit: Visit, picks: Ints) -> Floats:  # noqa: ARG002
        """1 for the right class, else 0."""
        return visit.truth[picks]

    def expected(self, visit: Visit, picks: Ints) -> float:
        """Equal to the reward: nothing is left to chance."""
        return float(visit.truth[picks].sum())


def read_table(path: Path, label: str) -> tuple[Floats, list[str]]:
    """Read a CSV with or without header; ``label`` is a column's name or number from 0.

    Raises
    ------
    ConfigError
        When the file, the column or a number cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"table {path} cannot be read: {error}") from error
    if not lines:
        raise ConfigError(f"table {path} is empty")
    at = _find_label(path, lines[0], label)
    body = lines[1:] if _is_header(lines, at, named=label in lines[0]) else lines
    try:
        rows = np.array([[float(v) for i, v in enumerate(row) if i != at] for row in body])
        labels = [row[at] for row in body]
    except (ValueError, IndexError) as error:
        raise ConfigError(
            f"table {path}: every column but {label!r} must hold numbers, in every row: {error}"
        ) from error
    if rows.ndim != 2 or len(set(labels)) < 2 or not np.isfinite(rows).all():
        raise ConfigError(f"table {path} needs finite numbers, and two classes or more")
    return rows, labels


def _find_label(path: Path, first: list[str], label: str) -> int:
    if label in first:
        return first.index(label)
    if re.fullmatch(r"-?[0-9]{1,9}", label) and -len(first) <= int(label) < len(first):
        return int(label) % len(first)
    raise ConfigError(
        f"table {path} has no column {label!r}; give a name of {first}, or a number from 0 to "
        f"{len(first) - 1}"
    )


def _is_header(lines: list[list[str]], at: int, *, named: bool) -> bool:
    """Whether the first line names the columns.

    It does when the label was found in it by name, when a feature of it is no number, or when
    its features are mere column numbers above a label that stands nowhere else.
    """
    features = [cell for i, cell in enumerate(lines[0]) if i != at]
    if named or not all(map(_is_number, features)):
        return True
    unseen = all(len(row) <= at or row[at] != lines[0][at] for row in lines[1:])
    counted = [[str(i + first) for i in range(len(features))] for first in (0, 1)]
    return unseen and not _is_number(lines[0][at]) and features in counted


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
