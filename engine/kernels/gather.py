"""What a joiner learned, taken from its windows as rows for one policy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.kernels.blocks import (
    ITEM_HASH,
    ITEM_LENGTH,
    ITEM_START,
    NEXT,
    OFFSET,
    PROPENSITY,
    ROWS,
    ROWS_WORDS,
    SLOT_WORDS,
    SLOTS,
    SPARE,
    WEIGHT,
    WINDOW_WORDS,
    X_START,
    give_back1,
    take_block1,
)
from engine.kernels.compile import inline, kernel
from engine.kernels.ledger import FIRST, LAST_SLOT, OF_WINDOW, SIZE, TIME_MS, USED
from engine.kernels.memory import copy1, equal1
from engine.kernels.tables import HASH, VALUE

__all__ = ["gather_outcomes", "put_rows"]

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Table = NDArray[np.int64]

NAMES, NAME_BYTES = 0, 1  # places of ``known``: names so far, and bytes of them


@inline
def name1(
    table: Table,
    spans: Table,
    names: Bytes,
    known: Ints,
    key: int,
    texts: Bytes,
    start: int,
    length: int,
) -> int:
    """Writes: all but texts. Number of a name, which is added when it is new."""
    mask = len(table) - 1
    at = key & mask
    while table[at, VALUE] != 0:
        number = table[at, VALUE] - 1
        if (
            table[at, HASH] == key
            and spans[number, 1] == length
            and equal1(names, spans[number, 0], texts, start, length)
        ):
            return int(number)
        at = (at + 1) & mask
    number, end = known[NAMES], known[NAME_BYTES]
    table[at, HASH], table[at, VALUE] = key, number + 1
    spans[number, 0], spans[number, 1] = end, length
    copy1(names, end, texts, start, length)
    known[NAMES] += 1
    known[NAME_BYTES] += length
    return int(number)


@kernel(
    "void(i8[::1], f8[::1], u1[::1], i8[:,::1], i8[::1], i8[::1], f8[::1], i8[:,::1], i8[:,::1],"
    " u1[::1], i8[::1], f8[:,::1], f8[:,::1], f8[::1], f8[::1], i8[::1], f8[::1], i8[::1],"
    " i8[::1], i8[::1], i8[::1])"
)
def gather_outcomes(
    arena: Ints,
    numbers: Floats,
    texts: Bytes,
    outcomes: Table,
    chosen: Ints,
    slots: Ints,
    rewards: Floats,
    table: Table,
    spans: Table,
    names: Bytes,
    known: Ints,
    x: Floats,
    z: Floats,
    reward: Floats,
    weight: Floats,
    time_ms: Ints,
    propensity: Floats,
    slot: Ints,
    last: Ints,
    item: Ints,
    number: Ints,
) -> None:
    """Writes: all from ``table`` on. Rows of the chosen outcomes, a slot each.

    ``item`` is the number of each slot's item among the names, which the caller saw to room for;
    ``number`` the row of its outcome. x ``(n, d)``, z ``(n, e)``, the rest ``(n,)``.
    """
    n, d, e = 0, x.shape[1], z.shape[1]
    flat_x, flat_z = x.reshape(-1), z.reshape(-1)
    for row in chosen:
        window = outcomes[row, OF_WINDOW]
        first = outcomes[row, FIRST]
        context = arena[window + X_START]
        for i in range(first, first + outcomes[row, SIZE]):
            at = window + WINDOW_WORDS + SLOT_WORDS * slots[i]
            copy1(flat_x, d * n, numbers, context, d)
            copy1(flat_z, e * n, numbers, context + d + e * slots[i], e)
            reward[n] = rewards[i]
            weight[n] = numbers[window + WEIGHT]
            time_ms[n] = outcomes[row, TIME_MS]
            propensity[n] = numbers[at + PROPENSITY]
            slot[n] = slots[i]
            last[n] = outcomes[row, LAST_SLOT]
            number[n] = row
            item[n] = name1(
                table,
                spans,
                names,
                known,
                arena[at + ITEM_HASH],
                texts,
                arena[at + ITEM_START],
                arena[at + ITEM_LENGTH],
            )
            n += 1


@kernel("void(i8[::1], f8[::1], i8[::1], i8[::1], i8, f8[::1], f8[:,::1])")
def put_rows(
    arena: Ints, numbers: Floats, free: Ints, state: Ints, window: int, x: Floats, z: Floats
) -> None:
    """Writes: arena, numbers, free, state. New rows of a window, x ``(d,)`` and z ``(slots, e)``.

    The caller saw to room for `ROWS_WORDS` and the rows.
    """
    if arena[window + SPARE]:
        give_back1(arena, free, arena[window + SPARE])
    d, e = len(x), z.shape[1]
    words = ROWS_WORDS + d + arena[window + SLOTS] * e
    b = take_block1(arena, free, state, USED, words, ROWS)
    arena[b + OFFSET], arena[b + NEXT] = -1, 0
    arena[window + SPARE], arena[window + X_START] = b, b + ROWS_WORDS
    copy1(numbers, b + ROWS_WORDS, x, 0, d)
    copy1(numbers, b + ROWS_WORDS + d, z.reshape(-1), 0, z.size)
