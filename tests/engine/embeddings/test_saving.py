"""Saves by deltas: what is missing, damaged or another's is refused; what is loaded goes on."""

from __future__ import annotations

import numpy as np
import pytest

from engine.embeddings.config import TableConfig, VectorConfig
from engine.embeddings.part import Embeddings
from engine.embeddings.saving import digest_table, restore_table, save_changes, save_table
from engine.embeddings.table import EmbeddingTable
from engine.errors import ConfigError, SnapshotError
from engine.kernels.embeddings import layout as at
from tests.engine.embeddings.tables import learn, mixed_config, stream

N = 3000


def deltas(rows: int = 65) -> tuple[EmbeddingTable, list[bytes]]:
    config = mixed_config(rows)
    table, events, told = EmbeddingTable(config), stream(1, N, config), []
    for start in range(0, N, 300):
        learn(table, events, start, start + 300)
        if start % 900 == 0:
            table.erase(events["keys"][start : start + 9])
        told.append(save_changes(table))
        table.mark_saved()
    return table, told


def test_deltas_lead_to_the_same_table_and_both_go_on_alike() -> None:
    for rows in (65, 1000):
        table, told = deltas(rows)
        follower = EmbeddingTable(table.config)
        for delta in told:
            restore_table(follower, delta)
        assert digest_table(follower) == digest_table(table)
        assert save_table(follower) == save_table(table)
        whole = EmbeddingTable(table.config)
        restore_table(whole, save_table(table))
        more = stream(2, 2000, table.config)
        for each in (table, follower, whole):
            learn(each, more, 0, 2000)
        assert digest_table(follower) == digest_table(table) == digest_table(whole)
        assert np.array_equal(
            follower.lookup(more["keys"], more["features"])[0],
            table.lookup(more["keys"], more["features"])[0],
        )


def test_a_gap_is_refused_and_leaves_the_table_as_it_was() -> None:
    _, told = deltas()
    follower = EmbeddingTable(mixed_config())
    restore_table(follower, told[0])
    before = digest_table(follower)
    for wrong in (told[2], told[0], told[5]):
        with pytest.raises(SnapshotError, match="does not follow"):
            restore_table(follower, wrong)
    assert digest_table(follower) == before
    restore_table(follower, told[1])


def test_damage_is_refused_wherever_it_is() -> None:
    table, told = deltas()
    rng = np.random.default_rng(0)
    for saved in (told[0], save_table(table)):
        follower = EmbeddingTable(table.config)
        empty = digest_table(follower)
        places = {0, 3, 4, 7, 8, 9, 40, 100, len(saved) - 5, len(saved) - 4, len(saved) - 1}
        for place in sorted(places | set(rng.integers(0, len(saved), 200).tolist())):
            damaged = bytearray(saved)
            damaged[place] ^= 1 << int(rng.integers(0, 8))
            with pytest.raises(SnapshotError):
                restore_table(follower, bytes(damaged))
        for length in (0, 1, 7, 8, 11, 12, 50, len(saved) // 2, len(saved) - 1):
            with pytest.raises(SnapshotError):
                restore_table(follower, saved[:length])
        assert digest_table(follower) == empty


@pytest.mark.parametrize(
    "changes",
    [
        {"max_rows": 66},
        {"seed": 8},
        {"sketch_bytes": 1024},
        {"max_jump_seconds": 60},
        {"features": (VectorConfig(name="user", dimension=9),)},
        {"features": mixed_config().features[::-1]},
    ],
)
def test_a_save_of_other_settings_is_refused(changes: dict) -> None:
    table, told = deltas()
    settings = {
        "features": table.config.features,
        "max_rows": 65,
        "seed": 7,
        "sketch_bytes": 512,
    } | changes
    other = EmbeddingTable(TableConfig(**settings))
    for saved in (told[0], save_table(table)):
        with pytest.raises(SnapshotError, match="settings"):
            restore_table(other, saved)


def test_deletes_and_the_sketch_are_told() -> None:
    config = mixed_config()
    table, follower = EmbeddingTable(config), EmbeddingTable(config)
    keys = np.arange(1, 40, dtype=np.uint64)
    table.claim(keys, 1, np.full(39, 5))
    restore_table(follower, save_changes(table))
    table.mark_saved()
    table.erase(keys[:7])
    table.claim(np.array([900], dtype=np.uint64), 2, np.array([6]))  # counted, not admitted
    assert 0 < int(table.table.head[at.CHANGED_LINES]) <= 8
    restore_table(follower, save_changes(table))
    table.mark_saved()
    assert follower.lookup(keys, 1)[1].tolist() == [False] * 7 + [True] * 32
    assert np.array_equal(follower.table.sketch, table.table.sketch)
    for each in (table, follower):
        each.claim(np.array([900] * 3, dtype=np.uint64), 2, np.full(3, 7))
        assert each.lookup(np.array([900], dtype=np.uint64), 2)[1].all()
    assert digest_table(follower) == digest_table(table)


def test_what_was_not_acknowledged_is_told_again() -> None:
    config = mixed_config(1000)
    table, follower, events = EmbeddingTable(config), EmbeddingTable(config), stream(1, 600, config)
    learn(table, events, 0, 300)
    lost = save_changes(table)  # nobody keeps it
    learn(table, events, 300, 600)
    restore_table(follower, save_changes(table))
    assert digest_table(follower) == digest_table(table)
    assert len(lost) > 0
    table.mark_saved()
    assert len(save_changes(table)) < 700  # the head alone
    restore_table(follower, save_changes(table))
    assert digest_table(follower) == digest_table(table)


def test_a_table_is_a_part_of_a_state() -> None:
    config = mixed_config()
    part, follower = Embeddings(config), Embeddings(config)
    learn(part.table, stream(1, 500, config), 0, 500)
    follower.put_bytes(part.to_bytes(["any"]))
    part.mark_saved()
    assert follower.digest() == part.digest()
    twin = part.copy()
    learn(part.table, stream(2, 500, config), 0, 500)
    assert twin.digest() == follower.digest() != part.digest()
    follower.put_bytes(part.to_bytes(None))
    part.halve(3)
    assert follower.digest() == part.digest()
    with pytest.raises(ConfigError, match="do not add"):
        part.add(follower)
