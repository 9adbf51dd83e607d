"""Why a document was refused: what kind of fault, in words, and where (JSON pointer, RFC 6901)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

__all__ = ["Refusal", "escape", "explain", "holds_nul"]

NAMED_BYTES = 65_536  # in larger documents a bad entry of a map is not searched for

_WHERE = re.compile(r" - at (`key` in )?`\$([^`]*)`$")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_FIELD = re.compile(r"^Object (missing required|contains unknown) field `(.*)`$", re.DOTALL)
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_ENTRY = "..."  # how msgspec writes "some entry of this map"


class Refusal(NamedTuple):
    """A fault of a document."""

    kind: Literal["unknown_field", "missing_field", "wrong_type", "out_of_range"]
    detail: str
    pointer: str


def escape(name: str) -> str:
    """Escape a name for a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def holds_nul(value: bytes) -> bool:
    """Whether a JSON document holds the character NUL, which arrays of names cut off."""
    return b"\\u0000" in value and _NUL.search(value) is not None


def explain(
    error: msgspec.ValidationError, value: bytes, decode: Callable[[bytes], object]
) -> Refusal:
    """Read msgspec's message, and find which entry of a map it is about.

    Parameters
    ----------
    value
        The document refused.
    decode
        What refused it; called again with less of the document.
    """
    message = str(error)
    where = _WHERE.search(message)
    detail = message[: where.start()] if where else message
    steps: list[str] = []
    if where:
        steps = [name or index for name, index in _STEP.findall(where.group(2))]
        steps += [_ENTRY] if where.group(1) else []
    if _ENTRY in steps:
        steps = _name_entries(steps, message, value, decode)
    field = _FIELD.search(detail)
    if field:
        steps.append(field.group(2))
    pointer = "".join(f"/{escape(step)}" for step in steps)
    if field:
        unknown = field.group(1) == "contains unknown"
        return Refusal("unknown_field" if unknown else "missing_field", detail, pointer)
    typed = ", got" in detail or detail.startswith("Invalid")
    return Refusal("wrong_type" if typed else "out_of_range", detail, pointer)


def _name_entries(
    steps: Sequence[str], message: str, value: bytes, decode: Callable[[bytes], object]
) -> list[str]:
    # Numbers stay as they are written: one out of range may be the very fault.
    loose = msgspec.json.Decoder(float_hook=lambda text: msgspec.Raw(text.encode()))
    known = list(steps[: steps.index(_ENTRY)])
    if len(value) > NAMED_BYTES:
        return known
    try:
        document = loose.decode(value)
    except msgspec.DecodeError:
        return known

    def still_fails() -> bool:
        try:
            decode(msgspec.json.encode(document))
        except msgspec.ValidationError as error:
            return str(error) == message
        return False

    node, named = document, []
    for step in steps:
        name = _find_entry(node, still_fails) if step == _ENTRY else step
        if name is None:
            return known
        node = node[int(name)] if isinstance(node, list) else node[name]
        named.append(name)
    return named


def _find_entry(node: dict[str, Any], still_fails: Callable[[], bool]) -> str | None:
    """Cut a map down to the entry that fails, by halves; None when no single one does."""
    entries = list(node.items())
    while len(entries) > 1:
        half = entries[: len(entries) // 2]
        _fill(node, half)
        entries = half if still_fails() else entries[len(half) :]
    _fill(node, entries)
    return entries[0][0] if entries and still_fails() else None


def _fill(node: dict[str, Any], entries: Sequence[tuple[str, Any]]) -> None:
    node.clear()
    node.update(entries)
