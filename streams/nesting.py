"""A fixed limit on how deep JSON may nest, so that what is refused never depends on the stack."""

from __future__ import annotations

import re

__all__ = ["DEEPEST", "is_too_deep"]

DEEPEST = 64
_OTHERS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)


def is_too_deep(value: bytes) -> bool:
    """Whether brackets outside strings nest deeper than `DEEPEST`."""
    if value.count(b"[") + value.count(b"{") <= DEEPEST:
        return False
    brackets = value.translate(None, _OTHERS)
    for _ in range(DEEPEST):
        before = len(brackets)
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if not brackets:
            return False
        if len(brackets) == before:
            break
    # Deep, unbalanced, or brackets inside strings: look closely.
    depth = 0
    for token in _TOKEN.findall(value):
        if token in {b"[", b"{"}:
            depth += 1
            if depth > DEEPEST:
                return True
        elif token in {b"]", b"}"}:
            depth -= 1
    return False
