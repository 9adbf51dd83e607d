"""From what a consumer of kafka-python brings to record batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streams.errors import UnfitTopicError
from streams.log.kafka.checks import STAMP_REMEDY
from streams.log.kafka.slots import Chunk
from streams.log.whole import gather

__all__ = ["decode"]


def decode(name: str, polled: Sequence[Any]) -> list[Chunk]:
    """Record batches of the partition ``name``, from single records or whole batches.

    Raises
    ------
    UnfitTopicError
        When records were stamped by who appended them: such stamps are no clock.
    """
    chunks = []
    for batch in gather(polled):
        if not batch.append_stamped:
            first, last = batch.places[0, [0, -1]].tolist()
            raise UnfitTopicError(
                f"among records {first} to {last} of {name} some bear a stamp of their producer, "
                f"not of their append; {STAMP_REMEDY}"
            )
        chunks.append(Chunk(batch, batch.data.nbytes + batch.places.nbytes))
    return chunks
