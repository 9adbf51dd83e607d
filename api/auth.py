"""API keys: stored as SHA-256, compared in constant time, never logged."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Mapping, Sequence
from typing import Protocol
from urllib.parse import urlsplit

from api.problems import ProblemError

__all__ = ["Keyring", "StoredKey", "hash_of", "is_loopback", "new_key"]

SCOPES = ("serve", "admin")


class StoredKey(Protocol):
    """A configured key: who it is for, what it may do, and its hash."""

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def scope(self) -> str: ...  # noqa: D102

    @property
    def sha256(self) -> str: ...  # noqa: D102


def new_key() -> str:
    """Draw a key of 256 random bits."""
    return f"sk_{secrets.token_urlsafe(32)}"


def hash_of(key: str) -> str:
    """Hex SHA-256 of a key. Keys are random, so a slow hash would protect nothing more."""
    return hashlib.sha256(key.encode()).hexdigest()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Keyring:
    """The configured keys; without any, every request may do everything.

    Such a service binds to loopback only, unless told ``--insecure``.
    """

    def __init__(self, keys: Sequence[StoredKey]) -> None:
        self._keys = tuple((key.sha256.lower().encode(), key.scope) for key in keys)

    def refuse_foreign(self, headers: Mapping[str, str], server: str) -> None:
        """Raise ``ProblemError`` for what a page of another site sent to a service without keys.

        A browser on this machine reaches loopback for whoever wrote the page it shows: under a
        foreign name that resolves to loopback, or with the page's own ``Origin``.

        Parameters
        ----------
        server
            The address of ours that the request came to.
        """
        if self._keys:
            return
        host, origin = headers.get("host", ""), headers.get("origin")
        if host and is_loopback(server) and not is_loopback(_hostname(host)):
            raise _foreign(f"Host is {host!r}, which is no name of this machine")
        if origin is not None:
            _, _, site = origin.partition("://")
            if site != host and not is_loopback(_hostname(site)):
                raise _foreign(f"Origin is {origin!r}, which is another site")

    def authorize(self, headers: Mapping[str, str], scope: str) -> None:
        """Raise ``ProblemError`` unless the request's key has the scope; admin has both."""
        if not self._keys:
            return
        found = self.scope_of(headers)
        if found not in {"admin", scope}:
            raise ProblemError(
                "forbidden", f"this needs a key of scope {scope!r}; the key given has {found!r}"
            )

    def scope_of(self, headers: Mapping[str, str]) -> str:
        """Scope of the request's key; raises ``ProblemError`` when it is missing or unknown."""
        if not self._keys:
            return "admin"
        given = hash_of(_presented(headers)).encode()
        scope = None
        for sha256, granted in self._keys:  # every key, so that time tells nothing
            if hmac.compare_digest(sha256, given):
                scope = granted
        if scope is None:
            raise ProblemError(
                "unauthenticated",
                "the key is unknown; send a key made by 'slatestream keys new' whose hash "
                "is in the service's configuration",
            )
        return scope


def _presented(headers: Mapping[str, str]) -> str:
    authorization = headers.get("authorization", "")
    kind, _, token = authorization.partition(" ")
    key = token.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")
    if not key:
        raise ProblemError(
            "unauthenticated", "no key was sent; send 'Authorization: Bearer KEY' or 'X-API-Key'"
        )
    return key


def _hostname(netloc: str) -> str:
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""


def _foreign(what: str) -> ProblemError:
    return ProblemError(
        "foreign-request",
        f"{what}; a service without keys answers this machine's own requests only: configure a "
        "key with 'slatestream keys new', or send to 127.0.0.1",
    )
