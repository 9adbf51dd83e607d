"""GET /v1/dead-letters: records of the log that could not be learned from, and why."""

from __future__ import annotations

import asyncio
import base64
import codecs
from dataclasses import asdict
from typing import Literal

import msgspec

from api.backends import store_place
from api.problems import ProblemError
from api.service import Service
from streams.dead import LetterRead, read_dead_letters

__all__ = ["DeadLetter", "DeadLettersReply", "dead_letters", "tell_letter"]

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A record that could not be used: its place in the log, why, and what it held.

    ``value`` is text, or base64 when it is not UTF-8, as ``encoding`` says; of a value larger
    than 16 KiB the beginning. ``size`` counts all its bytes. ``requeued_ms`` is when it was
    appended again, ``requeued_offset`` where in its partition.
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
    requeued_ms: int | None
    requeued_offset: int | None


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
        When the state store cannot be read.
    """
    wanted = int(limit) if limit.isascii() and limit.isdigit() and len(limit) < 5 else 0
    if not limit:
        wanted = DEFAULT_LIMIT
    if not 1 <= wanted <= MAX_LIMIT:
        raise ProblemError(
            "bad-request", f"limit is {limit!r}; give a whole number from 1 to {MAX_LIMIT}"
        )
    where = store_place(service.settings)
    letters = await asyncio.to_thread(read_dead_letters, where, wanted)
    return DeadLettersReply(dead_letters=tuple(map(tell_letter, letters)))


def tell_letter(letter: LetterRead) -> DeadLetter:
    """Return a letter as it is told to whoever runs the service."""
    fields = asdict(letter)
    value, encoding = _show_value(letter)
    return DeadLetter(**{**fields, "value": value, "encoding": encoding})


def _show_value(letter: LetterRead) -> tuple[str, Literal["text", "base64"]]:
    """Return what a letter holds of its value as text, or in base64 when it is not UTF-8."""
    whole = len(letter.value) == letter.size
    try:
        # A value that was cut may end within a character.
        decoder = codecs.getincrementaldecoder("utf-8")()
        return decoder.decode(letter.value, final=whole), "text"
    except UnicodeDecodeError:
        return base64.b64encode(letter.value).decode(), "base64"
