"""Tables, deadlines, lists and blocks of the joiner, each beside what Python has for it."""

import heapq
import itertools
import random

import numba
import numpy as np
import pytest

from engine.kernels.agenda import (
    first_deadline,
    link_last1,
    list_held,
    pop_deadline1,
    push_deadline1,
    replace1,
    unlink1,
)
from engine.kernels.blocks import (
    CLASSES,
    DEADLINE,
    OFFSET,
    SEEN,
    UNIT,
    give_back1,
    size_class1,
    take_block1,
)
from engine.kernels.memory import borrow1, copy1, equal1, prefetch1
from engine.kernels.tables import VALUE, erase1, holds1, insert1, locate1, move_entries


@pytest.mark.parametrize("seed", range(5))
def test_a_table_is_a_multiset_whatever_is_erased(seed):
    rng = random.Random(seed)
    table = np.zeros((32, 2), dtype=np.int64)
    held: list[tuple[int, int]] = []
    for value in range(1, 2000):
        # Few home places, near the end too, so that runs wrap around; negative hashes.
        key = rng.choice([0, 1, 30, 31, 63, -1, -2, 1 << 62])
        if len(held) < 28 and rng.random() < 0.6:
            insert1(table, key, value)
            held.append((key, value))
        elif held:
            erase1(table, *held.pop(rng.randrange(len(held))))
        entries = table[table[:, VALUE] != 0]
        assert sorted(map(tuple, entries.tolist())) == sorted(held)
        for entry in held:
            assert tuple(table[locate1(table, *entry)].tolist()) == entry
            assert holds1(table, entry[0])
        assert holds1(table, 5) is False
    larger = np.zeros((64, 2), dtype=np.int64)
    assert move_entries(table, larger, 0) == len(held)
    assert all(holds1(larger, key) for key, _ in held)
    newer = np.zeros((64, 2), dtype=np.int64)
    kept = sorted(value for _, value in held)[len(held) // 2 :]
    assert move_entries(table, newer, kept[0] - 1) == len(kept)


@pytest.mark.parametrize("seed", range(5))
def test_deadlines_come_in_order(seed):
    rng = random.Random(seed)
    heap, state = np.empty((500, 3), dtype=np.int64), np.zeros(1, dtype=np.int64)
    twin: list[tuple[int, int, int]] = []
    for offset in range(400):
        entry = (rng.randrange(20), offset, rng.randrange(99))
        push_deadline1(heap, state, 0, *entry)
        heapq.heappush(twin, entry)
        while twin and rng.random() < 0.4:
            assert tuple(heap[0].tolist()) == heapq.heappop(twin)
            pop_deadline1(heap, state, 0)
        assert state[0] == len(twin)


def test_the_first_deadline_is_of_a_block_that_still_has_it():
    arena, heap = np.zeros(200, dtype=np.int64), np.empty((9, 3), dtype=np.int64)
    state = np.zeros(1, dtype=np.int64)
    for block, offset, deadline, now in ((8, 1, 5, 9), (48, 2, 6, 6), (88, -1, 7, 7)):
        arena[[block + OFFSET, block + DEADLINE]] = offset, now
        push_deadline1(heap, state, 0, deadline, max(offset, 0), block)
    assert first_deadline(arena, heap, state, 0) == 6  # the first was put off
    arena[48 + OFFSET] = -1
    assert first_deadline(arena, heap, state, 0) == -1
    assert state[0] == 0


@pytest.mark.parametrize("seed", range(5))
def test_a_list_keeps_its_order(seed):
    rng = random.Random(seed)
    arena, state = np.zeros(40 * 300, dtype=np.int64), np.zeros(2, dtype=np.int64)
    twin: list[int] = []
    for block in range(40, 40 * 200, 40):
        draw = rng.random()
        if draw < 0.6 or not twin:
            link_last1(arena, state, 0, block)
            twin.append(block)
        elif draw < 0.8:
            unlink1(arena, state, 0, twin.pop(rng.randrange(len(twin))))
        else:
            at = rng.randrange(len(twin))
            replace1(arena, state, 0, twin[at], block)
            twin[at] = block
        out = np.empty(len(twin), dtype=np.int64)
        assert list_held(arena, state[0], out) == len(twin)
        assert out.tolist() == twin
        assert (state[1] or 0) == (twin[-1] if twin else 0)


def test_sizes_come_in_classes_a_quarter_apart():
    found = [size_class1(words) for words in range(1, 40_000)]
    for words, (_, length) in enumerate(found, start=1):
        rounded = -(-words // UNIT) * UNIT
        assert rounded <= length <= 1.25 * rounded
    by_class: dict[int, set[int]] = {}
    for size, length in found:
        by_class.setdefault(size, set()).add(length)
    assert all(len(lengths) == 1 for lengths in by_class.values())
    assert size_class1(1 << 40)[0] < CLASSES


def test_blocks_do_not_overlap_and_are_used_again():
    rng = random.Random(3)
    arena, free = np.zeros(1 << 16, dtype=np.int64), np.zeros(CLASSES, dtype=np.int64)
    used = np.array([UNIT], dtype=np.int64)
    held: dict[int, int] = {}
    for _ in range(3000):
        if len(held) < 40 and rng.random() < 0.6:
            words = rng.choice([10, 33, 90, 300])
            block = take_block1(arena, free, used, 0, words, SEEN)
            held[block] = block + size_class1(words)[1]
            ends = sorted(held.items())
            assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ends))
        elif held:
            block, _ = held.popitem()
            give_back1(arena, free, block)
            assert arena[block + OFFSET] == -1
    assert used[0] < 4 * 40 * 320  # not more than all of them of each class at once


@numba.njit
def _copied(source: np.ndarray, start: int, n: int) -> np.ndarray:
    source = borrow1(source)
    prefetch1(source, 1 << 40)  # harmless
    target = np.zeros(40, dtype=np.uint8)
    copy1(target, 3, source, start, n)
    return target


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 16, 31])
def test_spans_are_copied_and_compared(n):
    source = np.arange(50, dtype=np.uint8)
    target = _copied(source, 5, n)
    assert target.tolist() == [0] * 3 + list(range(5, 5 + n)) + [0] * (37 - n)
    assert equal1(target, 3, source, 5, n)
    for place in range(n):
        other = source.copy()
        other[5 + place] ^= 128
        assert not equal1(target, 3, other, 5, n)
