"""GET /v1/dead-letters: records of the log that could not be learned from, and why."""

from __future__ import annotations

import asyncio
import base64
import codecs
from typing import Literal

import msgspec

from api.problems import ProblemError
from api.service import Service
from streams.dead import LetterRead, read_dead_letters

__all__ = ["DeadLetter", "DeadLettersReply", "dead_letters"]

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A record that could not be used: its place in the log, why, and what it held.

    ``value`` is text, or base64 when it is not UTF-8, as ``encoding`` says; of a value larger
    than 16 KiB the beginning. ``size`` counts all its bytes.
    """

    topic: str
    partition: int
    offset: int
    stamp: int
    reason: str
    detail: str
    pointer: str
    value: str
    encoding: Literal["text", "base64"]
    size: int


class DeadLettersReply(msgspec.Struct, frozen=True, kw_only=True):
    """The latest dead letters, newest first, as of the learner's last commit."""

    dead_letters: tuple[DeadLetter, ...]


async def dead_letters(service: Service, limit: str) -> DeadLettersReply:
    """Return the latest dead letters.

    Raises
    ------
    ProblemError
        When the limit is none.
    StoreError
        When the state file cannot be read.
    """
    wanted = int(limit) if limit.isascii() and limit.isdigit() and len(limit) < 5 else 0
    if not limit:
        wanted = DEFAULT_LIMIT
    if not 1 <= wanted <= MAX_LIMIT:
        raise ProblemError(
            "bad-request", f"limit is {limit!r}; give a whole number from 1 to {MAX_LIMIT}"
        )
    path = service.settings.data_dir / "state.db"
    letters = await asyncio.to_thread(read_dead_letters, path, wanted)
    return DeadLettersReply(dead_letters=tuple(map(_told, letters)))


def _told(letter: LetterRead) -> DeadLetter:
    whole = len(letter.value) == letter.size
    try:
        # A value that was cut may end within a character.
        value = codecs.getincrementaldecoder("utf-8")().decode(letter.value, final=whole)
        encoding: Literal["text", "base64"] = "text"
    except UnicodeDecodeError:
        value, encoding = base64.b64encode(letter.value).decode(), "base64"
    return DeadLetter(
        topic=letter.topic,
        partition=letter.partition,
        offset=letter.offset,
        stamp=letter.stamp,
        reason=letter.reason,
        detail=letter.detail,
        pointer=letter.pointer,
        value=value,
        encoding=encoding,
        size=letter.size,
    )
