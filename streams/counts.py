"""The conservation count: what became of every record, by event type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["FATES", "CountTable", "Counts", "add_counts"]

FATES = ("applied", "duplicate", "late", "orphan", "not_shown", "filtered", "dead")


class Counts:
    """Records consumed and their fates.

    A record is held (pending) from `hold` to `settle`, or settled at once. `exact` compares the
    records consumed with the fates given, so a record lost or counted twice shows.
    """

    def __init__(self, by_type: Mapping[str, Mapping[str, int]] | None = None) -> None:
        self.by_type: dict[str, dict[str, int]] = {
            kind: {**_zeros(), **counted} for kind, counted in (by_type or {}).items()
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Counts) and self.by_type == other.by_type

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Counts({self.by_type})"

    def consume(self, kind: str, n: int = 1) -> None:
        """Count ``n`` records read from the log."""
        self._of(kind)["consumed"] += n

    def hold(self, kind: str) -> None:
        """Count a record whose fate is not decided yet."""
        self._of(kind)["pending"] += 1

    def settle(self, kind: str, fate: str, n: int = 1, *, held: bool = False) -> None:
        """Count the fate of ``n`` records; ``held`` when they were pending before."""
        counted = self._of(kind)
        counted[fate] += n
        counted["pending"] -= n * held

    @property
    def exact(self) -> bool:
        """Whether, for every type, consumed = pending + the sum of all fates."""
        return all(
            counted["consumed"] == counted["pending"] + sum(counted[fate] for fate in FATES)
            and counted["pending"] >= 0
            for counted in self.by_type.values()
        )

    @property
    def pending(self) -> dict[str, int]:
        """Pending records by type, types without any left out."""
        return {kind: n["pending"] for kind, n in self.by_type.items() if n["pending"]}

    def to_dict(self) -> dict[str, dict[str, int]]:
        """Plain data, a copy: type -> consumed, pending and every fate."""
        return {kind: dict(counted) for kind, counted in sorted(self.by_type.items())}

    def _of(self, kind: str) -> dict[str, int]:
        counted = self.by_type.get(kind)
        if counted is None:
            counted = self.by_type[kind] = _zeros()
        return counted


class CountTable:
    """The same counts as kernels keep them: see `engine.kernels.ledger`.

    Attributes
    ----------
    rows
        int64 ``(kinds, columns)``: a row for each of ``KINDS``, which are those of
        `streams.columns`; consumed, pending, the fates, and whether the kind was ever counted.
    """

    KINDS: ClassVar[tuple[str, ...]] = (
        "impression",
        "activation",
        "feedback",
        "control",
        "tick",
        "item",
        "user",
        "pool",
        "unknown",
    )
    COLUMNS: ClassVar[tuple[str, ...]] = ("consumed", "pending", *FATES)
    DEAD: ClassVar[int] = COLUMNS.index("dead")

    def __init__(self, counts: Counts | None = None) -> None:
        self.rows: NDArray[np.int64] = np.zeros(
            (len(self.KINDS), len(self.COLUMNS) + 1), dtype=np.int64
        )
        for kind, counted in (counts or Counts()).by_type.items():
            self.rows[self.KINDS.index(kind)] = [*(counted[name] for name in self.COLUMNS), 1]

    def settle(self, kind: int, fate: str, n: int = 1, *, held: bool = False) -> None:
        """Count the fate of ``n`` records; ``held`` when they were pending before."""
        row = self.rows[kind]
        row[self.COLUMNS.index(fate)] += n
        row[1] -= n * held
        row[-1] = 1

    def read(self) -> Counts:
        """Return what is counted so far."""
        told = [(kind, row) for kind, row in zip(self.KINDS, self.rows.tolist(), strict=True)]
        return Counts(
            {kind: dict(zip(self.COLUMNS, row[:-1], strict=True)) for kind, row in told if row[-1]}
        )


def add_counts(parts: Iterable[Counts]) -> Counts:
    """Counts of several shards together."""
    total = Counts()
    for part in parts:
        for kind, counted in part.by_type.items():
            held = total.by_type.setdefault(kind, _zeros())
            for name, n in counted.items():
                held[name] += n
    return total


def _zeros() -> dict[str, int]:
    return dict.fromkeys(("consumed", "pending", *FATES), 0)
