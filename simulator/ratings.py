"""Reader of explicit ratings: ``user::item::rating::seconds``, as MovieTweetings and MovieLens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.batches import Floats, Ints
from engine.errors import ConfigError

__all__ = ["Ratings", "number", "read_ratings"]

SEPARATOR = "::"
FIELDS = 4


@dataclass(frozen=True, kw_only=True)
class Ratings:
    """n ratings in time order; ties keep the file's order.

    Users and items are numbered in the order in which they first appear, so that what is known
    before a rating is always ``0 … known - 1``.
    """

    source: str
    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    user: Ints  # (n,)
    item: Ints  # (n,)
    value: Floats  # (n,)
    time_ms: Ints  # (n,)

    def __len__(self) -> int:
        return len(self.value)

    def head(self, n: int) -> Ratings:
        """The first n, numbered as before."""
        return Ratings(
            source=self.source,
            user_ids=self.user_ids,
            item_ids=self.item_ids,
            user=self.user[:n],
            item=self.item[:n],
            value=self.value[:n],
            time_ms=self.time_ms[:n],
        )


def read_ratings(path: str | Path) -> Ratings:
    """Read ratings and put them into time order.

    Raises
    ------
    ConfigError
        When the file cannot be read, or a line is not four values of which the last two are
        numbers.
    """
    lines = _lines(Path(path))
    parts = [line.split(SEPARATOR) for line in lines]
    for at, part in enumerate(parts):
        if len(part) != FIELDS:
            raise ConfigError(
                f"{path} line {at + 1}: {len(part)} values; give user::item::rating::seconds"
            )
    try:
        value = np.array([part[2] for part in parts], dtype=np.float64)
        seconds = np.array([part[3] for part in parts], dtype=np.int64)
    except ValueError as error:
        raise ConfigError(f"{path}: a rating or a time is no number: {error}") from error
    if not np.isfinite(value).all():
        raise ConfigError(f"{path}: a rating is not finite; give finite ratings")
    order = np.argsort(seconds, kind="stable")
    user_ids, user = number([parts[row][0] for row in order])
    item_ids, item = number([parts[row][1] for row in order])
    return Ratings(
        source=str(path),
        user_ids=user_ids,
        item_ids=item_ids,
        user=user,
        item=item,
        value=value[order],
        time_ms=seconds[order] * 1000,
    )


def number(names: list[str]) -> tuple[tuple[str, ...], Ints]:
    """Distinct names in order of first appearance, and the number of each given one."""
    known = {name: at for at, name in enumerate(dict.fromkeys(names))}
    return tuple(known), np.array([known[name] for name in names], dtype=np.int64)


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); give a file of ratings") from error
    if not lines:
        raise ConfigError(f"{path} is empty; give a file of ratings")
    return lines
