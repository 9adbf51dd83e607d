"""Decoding of request bodies: msgspec's refusals become problems with a pointer."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from api.problems import ProblemError
from streams.nesting import DEEPEST, is_too_deep
from streams.refusals import explain, holds_nul

__all__ = ["decode"]

T = TypeVar("T")


def decode(decoder: msgspec.json.Decoder[T], body: bytes, *, check_text: bool = True) -> T:
    """Decode a body.

    Parameters
    ----------
    check_text
        Refuse texts that hold a NUL; not where each part is checked by itself later.

    Raises
    ------
    ProblemError
        ``bad-encoding``, ``bad-json`` or ``bad-request``, the last with the field's pointer.
    """
    if is_too_deep(body):
        raise ProblemError("bad-json", f"the body nests deeper than {DEEPEST} levels; flatten it")
    try:
        decoded = decoder.decode(body)
    except UnicodeDecodeError as error:
        raise ProblemError("bad-encoding", f"the body is not UTF-8: {error}") from error
    except msgspec.ValidationError as error:
        kind, detail, pointer = explain(error, body, decoder.decode)
        raise ProblemError("bad-request", detail, pointer=pointer, code=kind) from error
    except msgspec.DecodeError as error:
        _check_encoding(body)
        raise ProblemError("bad-json", f"the body cannot be read as JSON: {error}") from error
    if check_text and holds_nul(body):
        detail = "a text holds the character NUL; leave it out"
        raise ProblemError("bad-request", detail, pointer="", code="nul")
    return decoded


def _check_encoding(body: bytes) -> None:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise ProblemError("bad-encoding", f"the body is not UTF-8: {error}") from error
