"""Reader of the UCI Online Retail set (Chen, Sain and Guo 2012) as purchases of known customers."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from engine.batches import Flags, Ints
from engine.errors import ConfigError
from simulator.ratings import number

__all__ = ["Purchases", "read_purchases"]

NEEDED = ("InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "CustomerID")
PRODUCT = re.compile(r"\d{5}")  # postage, fees, vouchers and corrections have codes of letters
DAY_MS = 86_400_000

RETURN = "returned, or quantity 0"
ANONYMOUS = "no customer"
SERVICE = "no product: postage, fees, vouchers"
AGAIN = "a further line of an item in the same invoice"


@dataclass(frozen=True, kw_only=True)
class Purchases:
    """n purchase lines in time order, one an item and basket; ties keep the file's order.

    Customers, items and baskets are numbered in the order in which they first appear.
    """

    source: str
    customer_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    customer: Ints  # (n,)
    item: Ints  # (n,)
    basket: Ints  # (n,), number of the invoice
    quantity: Ints  # (n,)
    time_ms: Ints  # (n,)
    excluded: dict[str, int] = field(default_factory=dict)  # lines left out, by reason

    def __len__(self) -> int:
        return len(self.item)

    def head(self, n: int) -> Purchases:
        """The first n lines, numbered as before."""
        return Purchases(
            source=self.source,
            customer_ids=self.customer_ids,
            item_ids=self.item_ids,
            customer=self.customer[:n],
            item=self.item[:n],
            basket=self.basket[:n],
            quantity=self.quantity[:n],
            time_ms=self.time_ms[:n],
            excluded=self.excluded,
        )

    @property
    def repeat(self) -> Flags:
        """Which lines buy what the customer had bought before, ``(n,)``."""
        pair = self.customer * (int(self.item.max(initial=0)) + 1) + self.item
        again = np.ones(len(self), dtype=np.bool_)
        again[np.unique(pair, return_index=True)[1]] = False
        return again

    def cold(self, days: int) -> Flags:
        """Which lines buy an item first bought more than so many days after the first, ``(n,)``."""
        _, first, which = np.unique(self.item, return_index=True, return_inverse=True)
        started: Ints = self.time_ms[first]  # in time order, so the first line is the earliest
        late: Flags = (started - self.time_ms[0] > days * DAY_MS)[which]
        return late


def read_purchases(path: str | Path) -> Purchases:
    """Read the set's CSV file, plain or gzipped.

    Left out and counted, by the first reason that holds: returns, lines without a customer, lines
    of no product, and further lines of an item in the same invoice. Codes that differ in case or
    outer blanks are one item.

    Raises
    ------
    ConfigError
        When the file cannot be read, has not the set's columns, or a value is none.
    """
    columns = _columns(Path(path))
    try:
        quantity = np.array(columns["Quantity"], dtype=np.int64)
        time_ms = np.array(columns["InvoiceDate"], dtype="datetime64[ms]").astype(np.int64)
    except ValueError as error:
        raise ConfigError(f"{path}: a quantity or a time cannot be read: {error}") from error
    order = np.argsort(time_ms, kind="stable")
    code = [columns["StockCode"][row].strip().upper() for row in order]
    invoice = [columns["InvoiceNo"][row] for row in order]
    customer = [columns["CustomerID"][row].strip() for row in order]
    reasons = {
        RETURN: quantity[order] <= 0,
        ANONYMOUS: np.array([not each for each in customer], dtype=np.bool_),
        SERVICE: np.array([not PRODUCT.match(each) for each in code], dtype=np.bool_),
    }
    out = np.zeros(len(order), dtype=np.bool_)
    excluded = {}
    for reason, holds in reasons.items():
        excluded[reason] = int(np.sum(holds & ~out))
        out |= holds
    kept, again = _first_of_each(invoice, code, np.flatnonzero(~out))
    item_ids, item = number([code[row] for row in kept])
    customer_ids, who = number([customer[row] for row in kept])
    return Purchases(
        source=str(path),
        customer_ids=customer_ids,
        item_ids=item_ids,
        customer=who,
        item=item,
        basket=number([invoice[row] for row in kept])[1],
        quantity=quantity[order][kept],
        time_ms=time_ms[order][kept],
        excluded=excluded | {AGAIN: again},
    )


def _first_of_each(invoice: list[str], code: list[str], rows: Ints) -> tuple[Ints, int]:
    seen: set[tuple[str, str]] = set()
    kept = []
    for row in rows:
        pair = invoice[row], code[row]
        if pair not in seen:
            seen.add(pair)
            kept.append(row)
    return np.array(kept, dtype=np.int64), len(rows) - len(kept)


def _columns(path: Path) -> dict[str, list[str]]:
    try:
        with _open(path) as file:
            return _read(path, csv.reader(file))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read ({error}); give the set's CSV file") from error


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _read(path: Path, lines: Iterable[list[str]]) -> dict[str, list[str]]:
    rows = iter(lines)
    header = next(rows, [])
    absent = [name for name in NEEDED if name not in header]
    if absent:
        raise ConfigError(f"{path} has no column {', '.join(absent)}; it has {header[:8]}")
    columns: dict[str, list[str]] = {name: [] for name in NEEDED}
    places = [(column, header.index(name)) for name, column in columns.items()]
    for at, row in enumerate(rows):
        if len(row) != len(header):
            raise ConfigError(f"{path} line {at + 2}: {len(row)} values, {len(header)} columns")
        for column, place in places:
            column.append(row[place])
    return columns
