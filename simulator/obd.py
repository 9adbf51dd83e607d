"""Reader of the Open Bandit Dataset (Saito et al. 2021): single slots with propensities."""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path

import numpy as np

from engine.batches import Floats, Ints
from engine.errors import ConfigError
from engine.features import Categorical, Context, Schema
from simulator.logs import CandidateSets, Progress, SlateLog

__all__ = ["read_obd"]

NEEDED = ("timestamp", "item_id", "position", "click", "propensity_score")
BEHAVIOURS = ("random", "bts")
POSITIONS = 3
STEP = 1000


def read_obd(
    root: Path,
    *,
    campaign: str = "all",
    behaviour: str = "random",
    progress: Progress | None = None,
) -> SlateLog:
    """Read one campaign of one behaviour policy; every row is one slot of a slate of three.

    The dataset numbers positions 1 to 3 and does not tell which rows made a slate, so each row
    stands alone. ``propensity_score`` is the probability of the item at its position.
    """
    if behaviour not in BEHAVIOURS:
        raise ConfigError(f"behaviour is {behaviour!r}; give one of {', '.join(BEHAVIOURS)}")
    path = root / behaviour / campaign / f"{campaign}.csv"
    columns = _read_columns(path, progress)
    number, names = _number_items(path.parent / "item_context.csv", columns["item_id"])
    click, propensity, position = (
        _numbers(path, columns, name) for name in ("click", "propensity_score", "position")
    )
    problems = {
        "propensity not in (0, 1]": ~((propensity > 0) & (propensity <= 1)),
        "position not 1 to 3": ~np.isin(position, range(1, POSITIONS + 1)),
        "click not 0 or 1": ~np.isin(click, (0, 1)),
    }
    bad = np.any(list(problems.values()), axis=0)
    kept = np.flatnonzero(~bad)
    sets = CandidateSets()
    everything = sets.add(np.arange(len(names)))
    items = np.array([number[item] for item in columns["item_id"]], dtype=np.int64)
    return SlateLog(
        source=str(path),
        format="obd",
        item_ids=names,
        items=items[kept, None],
        position=position[kept, None].astype(np.int64) - 1,
        propensity=propensity[kept, None],
        reward=click[kept, None],
        sampling=np.ones(len(kept)),
        candidates=sets,
        candidate_set=np.full(len(kept), everything),
        contexts=_contexts(columns, kept),
        request_ids=[str(row) for row in kept],
        sequence=kept,
        matured=kept[:, None] + 1,
        time_ms=_times(path, columns, kept),
        schema=_schema(columns),
        excluded={reason: int(rows.sum()) for reason, rows in problems.items() if rows.any()},
        examples={
            reason: [f"row {row + 2}" for row in np.flatnonzero(rows)[:3]]
            for reason, rows in problems.items()
            if rows.any()
        },
    )


def _read_columns(path: Path, progress: Progress | None) -> dict[str, list[str]]:
    try:
        size = path.stat().st_size
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            absent = [name for name in NEEDED if name not in header]
            if absent:
                raise ConfigError(f"{path} has no column {', '.join(absent)}; it has {header[:8]}…")
            wanted = [*NEEDED, *(name for name in header if name.startswith("user_feature"))]
            at = {name: header.index(name) for name in wanted}
            columns: dict[str, list[str]] = {name: [] for name in wanted}
            for row in reader:
                if len(row) != len(header):
                    raise ConfigError(
                        f"{path} line {reader.line_num}: {len(row)} values, {len(header)} columns"
                    )
                for name, column in columns.items():
                    column.append(row[at[name]])
                if progress is not None and reader.line_num % STEP == 0:
                    done = min(reader.line_num * len(",".join(row)), size)
                    progress(done, size)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}); give the folder that holds random/ and bts/, and "
            "the campaign's name"
        ) from error
    return columns


def _number_items(path: Path, logged: list[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Numbers of all items: those of ``item_context.csv``, which need not all be logged."""
    known = dict.fromkeys(logged)
    if path.is_file():
        try:
            with path.open(newline="", encoding="utf-8") as file:
                known.update(dict.fromkeys(row["item_id"] for row in csv.DictReader(file)))
        except KeyError:
            raise ConfigError(
                f"{path} has no column item_id; give the dataset's own file"
            ) from None
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error
    names = tuple(sorted(known, key=lambda name: (len(name), name)))
    return {name: i for i, name in enumerate(names)}, names


def _numbers(path: Path, columns: dict[str, list[str]], name: str) -> Floats:
    try:
        return np.array(columns[name], dtype=np.float64)
    except ValueError as error:
        raise ConfigError(
            f"{path}: column {name} holds a value that is no number: {error}"
        ) from error


def _contexts(columns: dict[str, list[str]], kept: Ints) -> list[Context]:
    names = [name for name in columns if name.startswith("user_feature")]
    return [{name: columns[name][row] for name in names} for row in kept]


def _schema(columns: dict[str, list[str]]) -> Schema:
    return Schema(
        features=tuple(
            Categorical(name=name, values=tuple(sorted(set(values))))
            for name, values in columns.items()
            if name.startswith("user_feature")
        )
    )


def _times(path: Path, columns: dict[str, list[str]], kept: Ints) -> Ints:
    try:
        seconds = [datetime.fromisoformat(columns["timestamp"][row]).timestamp() for row in kept]
    except ValueError as error:
        raise ConfigError(f"{path}: column timestamp: {error}") from error
    return (np.array(seconds) * 1000).astype(np.int64)
