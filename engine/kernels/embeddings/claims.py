"""What becomes of a key, event by event: counted, admitted, touched, expired, evicted.

A *claim* is one use of a key by an event that is learned. All of it happens in the order of the
events: how they are cut into calls leaves no trace. What a kernel prefetches ahead is a hint only;
every claim looks its key up again, in memory that is near by then.
"""

from __future__ import annotations

import numpy as np

from engine.kernels.compile import called_uncounted, inline_uncounted
from engine.kernels.embeddings.index import erase1, find1, insert1, mixed1
from engine.kernels.embeddings.layout import (
    ADMITTED,
    CAPACITY,
    CHECK,
    CLAMPED,
    COLLISIONS,
    COUNT,
    DRAWS,
    EVICTED,
    EXPIRED,
    EXPIRES,
    FREE,
    FRESH,
    GRACE,
    HAND,
    HELD,
    KIND,
    LIVE,
    MAX_JUMP,
    MAX_LIVE,
    READMITTED,
    REJECTED,
    STASH,
    STASHED,
    TABLE_SEED,
    THRESHOLD,
    TOUCHED,
    TTL,
    WATERMARK,
    Table,
)
from engine.kernels.embeddings.records import (
    begin1,
    feature1,
    free1,
    key1,
    mark_row1,
    take1,
)
from engine.kernels.embeddings.sketch import count1, estimate1
from engine.kernels.random import combine1, mix1
from engine.kernels.words import leading_zeros1

__all__ = ["SWEPT", "claim1", "claim_guessed1", "expired1", "hold1", "reach1", "ready1", "remove1"]

SWEPT = 2  # records looked at for expiry with every event
SAMPLED = 8  # of which the least valuable is evicted
TRIES = 64
GONE = np.uint64(0x60E)  # counts a key apart as one that was there before
HALF_LIFE = 86_400  # s: a key claimed twice as often is worth as much when touched so much earlier
MOST = np.uint32(0xFFFFFFFF)
LATEST = (1 << 32) - 1  # s


@inline_uncounted
def expired1(t: Table, row: int) -> bool:
    """Whether a record in use was not touched for its feature's time to live."""
    ttl = np.int64(t.settings[feature1(t, row), TTL])
    return bool(ttl > 0 and np.int64(t.words[row, TOUCHED]) + ttl < t.head[WATERMARK])


@called_uncounted
def remove1(t: Table, row: int) -> None:
    """Writes: t. Takes a record's key out and gives the record back."""
    key = key1(t, row)
    erase1(t.head, t.cells, mixed1(t.head, key))
    free1(t, row)
    t.head[LIVE] -= 1
    count1(t, mix1(np.uint64(key ^ GONE)))


@inline_uncounted
def reach1(t: Table, seconds: int) -> None:
    """Writes: t. An event of this time begins: moves the watermark, and looks at some records.

    The watermark is the latest time so far; one event moves it by at most MAX_JUMP, so a stamp
    from the future expires nothing much.
    """
    head = t.head
    mark = head[WATERMARK]
    seconds = min(seconds, LATEST)  # records keep 32 bits of it
    if seconds > mark:
        if mark > 0 and seconds - mark > head[MAX_JUMP]:
            seconds = mark + head[MAX_JUMP]
            head[CLAMPED] += 1
        head[WATERMARK] = seconds
    head[HELD] = 0
    features = len(t.settings)
    for _ in range(SWEPT * head[EXPIRES]):
        if head[FRESH] > features:
            hand = max(head[HAND], features)
            if not (t.words[hand, KIND] & FREE) and expired1(t, hand):
                head[EXPIRED] += 1
                remove1(t, hand)
            head[HAND] = hand + 1 if hand + 1 < head[FRESH] else features


@inline_uncounted
def ready1(t: Table, keys: int) -> bool:
    """Whether the index's stash has room for an event of so many keys; else `run` mixes it anew."""
    return bool(t.head[STASHED] + keys <= 4 * STASH)


@inline_uncounted
def hold1(t: Table, row: int) -> None:
    """Writes: t. The current event holds the record: it is not evicted before the next."""
    t.held[t.head[HELD]] = row
    t.head[HELD] += 1


@inline_uncounted
def worth1(t: Table, row: int) -> int:
    """Return what a record is worth, in seconds: late, and claimed often."""
    claims = 64 - leading_zeros1(np.uint64(t.words[row, COUNT]))
    return int(np.int64(t.words[row, TOUCHED]) + HALF_LIFE * claims)


@inline_uncounted
def evictable1(t: Table, row: int) -> bool:
    """Whether a record is in use and not held."""
    if t.words[row, KIND] & FREE:
        return False
    for i in range(t.head[HELD]):
        if t.held[i] == row:
            return False
    return True


@called_uncounted
def evict1(t: Table) -> None:
    """Writes: t. Removes the least valuable of some records drawn at random."""
    head, features = t.head, len(t.settings)
    span = np.uint64(head[FRESH] - features)
    least, found, tries = -1, 0, 0
    seed = mix1(np.uint64(head[TABLE_SEED]))
    while found < SAMPLED and tries < TRIES:
        row = features + int(np.int64(combine1(seed, np.uint64(head[DRAWS])) % span))
        head[DRAWS] += 1
        tries += 1
        if evictable1(t, row):
            found += 1
            if least < 0 or worth1(t, row) < worth1(t, least):
                least = row
    row = features
    while least < 0:  # nearly all are free or held: take the first that is not
        if evictable1(t, row):
            least = row
        row += 1
    head[EVICTED] += 1
    remove1(t, least)


@called_uncounted
def admit1(t: Table, key: np.uint64, check: int, feature: int) -> int:
    """Writes: t. A key without a record: counts it, and gives it one when it was met enough.

    Returns the record, or the feature's shared one.
    """
    head = t.head
    threshold = np.int64(t.settings[feature, THRESHOLD])
    if threshold > 1 and count1(t, key) < threshold:
        head[REJECTED] += 1
        return feature
    if head[LIVE] >= head[MAX_LIVE]:
        evict1(t)
    row = take1(t, head[GRACE], head[CAPACITY])
    begin1(t, row, key, check, feature, head[WATERMARK])
    insert1(head, t.cells, t.scratch, mixed1(head, key), row)
    head[LIVE] += 1
    head[ADMITTED] += 1
    if estimate1(t, mix1(np.uint64(key ^ GONE))) > 0:
        head[READMITTED] += 1
    return row


@inline_uncounted
def claim1(t: Table, key: np.uint64, check: int, feature: int) -> int:
    """Writes: t. Record of a key for an event that learns, held until the next event.

    A key not admitted gets the feature's shared record. To be called between `reach1` and the next
    event's, when `ready1` said so.
    """
    return claim_at1(t, find1(t.head, t.cells, mixed1(t.head, key)), key, check, feature)


@inline_uncounted
def claim_guessed1(t: Table, guess: int, key: np.uint64, check: int, feature: int) -> int:
    """Writes: t. As `claim1`, of a key that most likely has the record ``guess``; -1 for none."""
    row = guess
    if row < 0 or key1(t, row) != key or (t.words[row, KIND] & FREE):
        row = find1(t.head, t.cells, mixed1(t.head, key))
    return claim_at1(t, row, key, check, feature)


@inline_uncounted
def claim_at1(t: Table, row: int, key: np.uint64, check: int, feature: int) -> int:
    """Writes: t. Claims a key whose record is ``row``, -1 when it has none."""
    head = t.head
    if row >= 0 and expired1(t, row):
        head[EXPIRED] += 1
        remove1(t, row)
        row = -1
    if row < 0:
        row = admit1(t, key, check, feature)
    elif np.int64(t.words[row, CHECK]) != check:
        head[COLLISIONS] += 1
    # One word each, and none of the vector: readers need no other version for them.
    mark_row1(t, row)
    t.words[row, TOUCHED] = np.uint32(head[WATERMARK])
    if t.words[row, COUNT] < MOST:
        t.words[row, COUNT] += np.uint32(1)
    hold1(t, row)
    return row
