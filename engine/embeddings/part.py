"""An embedding table as a part of a policy's state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.embeddings.config import TableConfig
from engine.embeddings.saving import digest_table, restore_table, save_changes, save_table
from engine.embeddings.snapshot import TableSnapshot
from engine.embeddings.table import EmbeddingTable
from engine.errors import ConfigError
from engine.kernels.embeddings import layout as at
from engine.state import Part

__all__ = ["Embeddings", "tables_of"]


class Embeddings:
    """A table that a model keeps in its state; what items it concerns is the table's own matter."""

    def __init__(self, config: TableConfig) -> None:
        self.table = EmbeddingTable(config)

    def halve(self, steps: int) -> None:
        """Forget nothing by halves: ids are forgotten by their time to live."""

    def digest(self) -> bytes:
        """Hash of the content."""
        return digest_table(self.table)

    def to_bytes(self, item_ids: Sequence[str] | None) -> bytes:
        """Save all (None), or everything that changed since `mark_saved`."""
        return save_table(self.table) if item_ids is None else save_changes(self.table)

    @property
    def size(self) -> int:
        """Bytes of the records and the sketch that a whole save tells."""
        t = self.table.table
        return int(t.head[at.FRESH]) * t.words[:1].nbytes + t.sketch.nbytes

    def snapshot(self) -> TableSnapshot:
        """Begin the save of this moment: taken after `mark_saved`, deltas follow it."""
        return TableSnapshot(self.table)

    def put_bytes(self, saved: bytes) -> None:
        """Write what was saved over the table; ``SnapshotError`` when it does not follow."""
        restore_table(self.table, saved)

    def mark_saved(self) -> None:
        """Note that what changed is kept somewhere."""
        self.table.mark_saved()

    def add(self, other: Part) -> None:  # noqa: ARG002 - one interface for many
        """Refuse: vectors learned apart mean nothing added."""
        raise ConfigError("embedding tables are learned in order and do not add; let one learn")

    def copy(self) -> Embeddings:
        """Return an independent copy."""
        twin = Embeddings(self.table.config)
        restore_table(twin.table, save_table(self.table))
        return twin


def tables_of(parts: Mapping[str, Part]) -> dict[str, EmbeddingTable]:
    """Return the tables among a state's parts, by name."""
    return {name: part.table for name, part in parts.items() if isinstance(part, Embeddings)}
