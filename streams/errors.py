"""Errors of the streams package, below `engine.errors.SlatestreamError`."""

from __future__ import annotations

from engine.errors import SlatestreamError

__all__ = [
    "BadEventError",
    "BadItemError",
    "FencedError",
    "LogError",
    "LostRecordsError",
    "RefusedError",
    "StoreError",
    "UnfitTopicError",
    "UnknownPoolError",
]


class BadEventError(SlatestreamError, ValueError):
    """Bytes that are not an event: counted and kept as a dead letter, never learned.

    Attributes
    ----------
    reason
        One word: ``encoding``, ``json``, ``type``, ``schema``, ``value`` or ``config``.
    detail
        What was given and what is allowed.
    pointer
        JSON pointer (RFC 6901) to the offending field, "" for the whole document.
    """

    def __init__(self, reason: str, detail: str, pointer: str = "") -> None:
        super().__init__(f"{reason}: {detail}" + (f" (at {pointer})" if pointer else ""))
        self.reason = reason
        self.detail = detail
        self.pointer = pointer


class BadItemError(SlatestreamError, ValueError):
    """An item of the catalogue whose features do not fit a policy's schema."""

    def __init__(self, item_id: str, detail: str) -> None:
        super().__init__(f"item {item_id!r} of the catalogue: {detail}; put the item anew")
        self.item_id = item_id


class FencedError(SlatestreamError):
    """Another learner owns the shard now: drop the state held and stop."""


class LogError(SlatestreamError):
    """The event log cannot be read or appended to."""


class UnfitTopicError(LogError):
    """A topic that must not be learned from as it is: waiting does not help."""


class LostRecordsError(UnfitTopicError):
    """Records from an offset on are in the log no more."""


class StoreError(SlatestreamError):
    """The state store cannot be read or written."""


class RefusedError(StoreError):
    """Stored state and log do not fit each other: going on would lose or double something."""


class UnknownPoolError(SlatestreamError, LookupError):
    """A pool that the catalogue does not hold."""
