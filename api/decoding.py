"""Decoding of request bodies: msgspec's refusals become problems with a pointer."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from api.problems import ProblemError
from streams.nesting import DEEPEST, is_too_deep

__all__ = ["decode"]

T = TypeVar("T")

_WHERE = re.compile(r" - at `\$(.*?)`$")
_FIELD = re.compile(r"^Object (missing required|contains unknown) field `(.*?)`")
_UNKNOWN = "contains unknown"


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode a body.

    Raises
    ------
    ProblemError
        ``bad-encoding``, ``bad-json`` or ``bad-request``, the last with the field's pointer.
    """
    if is_too_deep(body):
        raise ProblemError("bad-json", f"the body nests deeper than {DEEPEST} levels; flatten it")
    try:
        return decoder.decode(body)
    except UnicodeDecodeError as error:
        raise ProblemError("bad-encoding", f"the body is not UTF-8: {error}") from error
    except msgspec.ValidationError as error:
        raise _explain(error) from error
    except msgspec.DecodeError as error:
        _check_encoding(body)
        raise ProblemError("bad-json", f"the body cannot be read as JSON: {error}") from error


def _check_encoding(body: bytes) -> None:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise ProblemError("bad-encoding", f"the body is not UTF-8: {error}") from error


def _explain(error: msgspec.ValidationError) -> ProblemError:
    message = str(error)
    where = _WHERE.search(message)
    path = where.group(1).replace("[...]", "") if where else ""
    pointer: Any = re.sub(r"[.\[]", "/", path).replace("]", "")
    field = _FIELD.search(message)
    if field:
        pointer += f"/{field.group(2)}"
    detail = _WHERE.sub("", message)
    if field:
        code = "unknown_field" if field.group(1) == _UNKNOWN else "missing_field"
    else:
        code = "wrong_type" if ", got" in message else "out_of_range"
    return ProblemError("bad-request", detail, pointer=pointer, code=code)
