"""Embedding tables as folders: loaded they go on as they would have; damage is refused."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from engine.embeddings.saving import digest_table, restore_table, save_changes
from engine.embeddings.table import EmbeddingTable
from engine.errors import SnapshotError
from streams.table_files import load_columns, save_columns
from tests.engine.embeddings.tables import learn, mixed_config, stream


@pytest.fixture
def table() -> EmbeddingTable:
    table = EmbeddingTable(mixed_config())
    learn(table, stream(1, 1000, table.config), 0, 1000)
    table.mark_saved()
    return table


def test_a_loaded_table_is_the_saved_one_and_takes_its_deltas(
    table: EmbeddingTable, tmp_path: Path
) -> None:
    folder = tmp_path / "tables" / "one"
    save_columns(folder, table)
    other = EmbeddingTable(table.config)
    load_columns(folder, other)
    assert digest_table(other) == digest_table(table)
    learn(table, stream(2, 500, table.config), 0, 500)
    restore_table(other, save_changes(table))
    assert digest_table(other) == digest_table(table)
    assert [path.name for path in folder.parent.iterdir()] == ["one"]
    again = EmbeddingTable(table.config)
    load_columns(folder, again)  # what was learned since is not in the files
    assert digest_table(again) != digest_table(table)


def test_columns_can_be_read_by_whoever_reads_npy(table: EmbeddingTable, tmp_path: Path) -> None:
    save_columns(tmp_path / "one", table)
    records = np.load(tmp_path / "one" / "records.npy", mmap_mode="r")
    rows = table.live_rows()
    assert np.array_equal(records[rows], table.table.words[rows])
    manifest = msgspec.json.decode((tmp_path / "one" / "manifest.json").read_bytes())
    assert manifest["save"]["rows"] == len(records)


@pytest.mark.parametrize("name", ["head.npy", "records.npy", "sketch.npy", "manifest.json"])
def test_damage_and_gaps_are_refused(table: EmbeddingTable, tmp_path: Path, name: str) -> None:
    path = tmp_path / "one" / name
    save_columns(tmp_path / "one", table)
    other = EmbeddingTable(table.config)
    empty, whole = digest_table(other), path.read_bytes()
    for place in (0, len(whole) // 2, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[place] ^= 0x80
        path.write_bytes(bytes(damaged))
        with pytest.raises(SnapshotError):
            load_columns(tmp_path / "one", other)
    path.write_bytes(whole[:-9])
    with pytest.raises(SnapshotError):
        load_columns(tmp_path / "one", other)
    path.unlink()
    with pytest.raises(SnapshotError, match=name):
        load_columns(tmp_path / "one", other)
    assert digest_table(other) == empty


def test_a_folder_is_written_once_and_for_its_settings(
    table: EmbeddingTable, tmp_path: Path
) -> None:
    save_columns(tmp_path / "one", table)
    with pytest.raises(SnapshotError, match="already"):
        save_columns(tmp_path / "one", table)
    with pytest.raises(SnapshotError, match="other settings"):
        load_columns(tmp_path / "one", EmbeddingTable(mixed_config(66)))
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(SnapshotError, match="cannot be written"):
        save_columns(tmp_path / "file" / "one", table)
