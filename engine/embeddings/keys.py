"""Keys of ids: 64 bits that stand for a text, and 32 more that tell ids of one key apart.

One table holds the ids of all features, so a key is of an id *and* of what it is an id of: the
hash is salted with the feature's name (feature multiplexing). Among n ids of one table two share
a key with a chance of about n²/2^65: 3e-6 for ten million. The check is a hash by another seed;
where two live ids meet on one key it differs but for one time in 2^32, so the table can tell.

As features, keys travel in rows of float64 as three whole numbers below 2^32, which are exact:
the upper half of the key, the lower, and the check. All three are 0 where there is no id.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import SchemaError
from engine.kernels.hashing import hash_bytes
from engine.kernels.hashing import hash_ids as hash_spans_of_ids

__all__ = ["COLUMNS", "ITEM_SALT", "USER_SALT", "IdKeys", "hash_ids", "id_seeds", "keys_of"]

Checks = NDArray[np.uint32]
Floats = NDArray[np.float64]
Keys = NDArray[np.uint64]

COLUMNS = 3  # that an id takes in a row: upper half, lower half, check
USER_SALT = "user_id"  # the feature by which a request's user enters
ITEM_SALT = "item_id"  # items are shown by id, which is no feature of theirs
HALF = np.uint64(32)


class IdKeys(NamedTuple):
    """Keys and checks of ids, each ``(n,)``; key 0 where there is none."""

    keys: Keys
    checks: Checks


@lru_cache(1024)
def id_seeds(salt: str) -> Keys:
    """Seeds ``(2,)`` of the key and the check of ids of one salt; kept, so not to be written to."""
    seeds = [hash_bytes(f"{what}\0{salt}".encode()) for what in ("key", "check")]
    return np.array(seeds, dtype=np.uint64)


def hash_ids(salt: str, ids: Sequence[str]) -> IdKeys:
    """Keys and checks of ids: what a feature of the name ``salt`` makes of them.

    An empty text is no id.

    Raises
    ------
    SchemaError
        When an id is no text, or one that UTF-8 cannot hold.
    """
    n = len(ids)
    texts = [_bytes_of(salt, each) for each in ids]
    length = np.fromiter(map(len, texts), dtype=np.int64, count=n)
    data = np.frombuffer(bytearray(b"".join(texts)), dtype=np.uint8)
    keys, checks = np.empty(n, dtype=np.uint64), np.empty(n, dtype=np.uint32)
    hash_spans_of_ids(data, np.cumsum(length) - length, length, id_seeds(salt), keys, checks)
    return IdKeys(keys, checks)


def keys_of(rows: Floats, place: int) -> IdKeys:
    """Join what an id's three columns of rows ``(n, d)`` hold, from column ``place`` on."""
    high, low, check = (rows[:, place + each] for each in range(COLUMNS))
    keys = (high.astype(np.uint64) << HALF) | low.astype(np.uint64)
    return IdKeys(keys, check.astype(np.uint32))


def _bytes_of(salt: str, text: object) -> bytes:
    if not isinstance(text, str):
        raise SchemaError(f"id {salt!r} is {text!r}; it must be a string")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise SchemaError(
            f"id {salt!r} is {text!r}; it must be a string of whole characters: half of a "
            "surrogate pair is none"
        ) from error
