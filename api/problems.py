"""Every error the service answers with, as RFC 9457 problem documents.

`KINDS` lists each kind of problem with its status; `OF_ERROR` maps every class of slatestream's
error tree to one of them. The ``type`` of a problem is the path under which the service explains
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from api.client import ClientError
from engine.errors import ConfigError, SchemaError, ShapeError, SlatestreamError, SnapshotError
from streams.errors import (
    BadEventError,
    BadItemError,
    FencedError,
    LogError,
    StoreError,
    UnknownPoolError,
)

__all__ = ["KINDS", "Fault", "Kind", "Problem", "ProblemError", "problem_of"]


class Kind(NamedTuple):
    """A kind of problem: the status it is answered with and what it means."""

    status: int
    title: str
    meaning: str


KINDS: Mapping[str, Kind] = {
    "bad-encoding": Kind(400, "Text is not UTF-8", "Send UTF-8, in the body and in the path."),
    "bad-json": Kind(400, "Body is not JSON", "Send one JSON document; NaN is not JSON."),
    "bad-request": Kind(422, "Request is not valid", "The pointer names the offending field."),
    "bad-event": Kind(422, "Event is not valid", "The event contract says what each type holds."),
    "bad-events": Kind(422, "No event is valid", "Each entry of errors names one event."),
    "bad-features": Kind(422, "Features do not fit", "The policy's schema says what it reads."),
    "empty-candidates": Kind(422, "No candidates", "None is known and available just now."),
    "k-too-large": Kind(422, "More slots than candidates", "Ask for no more than are available."),
    "unauthenticated": Kind(401, "Key missing or unknown", "Send Authorization: Bearer KEY."),
    "forbidden": Kind(403, "Key lacks the scope", "Writing items, users and pools needs admin."),
    "foreign-request": Kind(
        403, "Request from elsewhere", "A service without keys answers its own machine only."
    ),
    "not-found": Kind(404, "No such resource", "The OpenAPI page lists every path."),
    "unknown-item": Kind(404, "Unknown item", "PUT it under /v1/items first."),
    "unknown-user": Kind(404, "Unknown user", "PUT it under /v1/users first."),
    "unknown-pool": Kind(404, "Unknown pool", "PUT it under /v1/pools first."),
    "unknown-policy": Kind(404, "Unknown policy", "Policies are named in the configuration."),
    "unknown-recommender": Kind(404, "Unknown recommender", "The configuration names them."),
    "method-not-allowed": Kind(405, "Method not allowed", "The Allow header lists what is."),
    "request-id-reused": Kind(
        409, "Request id was used with another body", "Repeat the same body, or use a new id."
    ),
    "view-behind": Kind(
        409,
        "Version is not served yet",
        "Learned state does not include min_version yet; ask again after Retry-After seconds.",
    ),
    "body-too-large": Kind(413, "Body is too large", "Split it; max_body_bytes is the limit."),
    "unsupported-media-type": Kind(
        415, "Content type not supported", "Send application/json, or application/x-ndjson."
    ),
    "internal": Kind(500, "Internal error", "Nothing you sent explains it; see the log."),
    "misconfigured": Kind(500, "Configuration cannot work", "The operator must change it."),
    "no-state": Kind(503, "State cannot be read", "Retry; the learner restores it."),
    "log-unavailable": Kind(
        503,
        "Event log is unavailable",
        "Part of it may have been written. Send the same again, with the same ids.",
    ),
    "starting": Kind(503, "Service is starting", "Retry after a moment."),
}

OF_ERROR: Mapping[type[SlatestreamError], str] = {
    ConfigError: "misconfigured",
    SchemaError: "bad-features",
    ShapeError: "bad-request",
    SnapshotError: "no-state",
    ClientError: "internal",
    BadEventError: "bad-event",
    BadItemError: "bad-features",
    FencedError: "no-state",
    LogError: "log-unavailable",
    StoreError: "no-state",
    UnknownPoolError: "unknown-pool",
}
OF_STATUS: Mapping[int, str] = {404: "not-found", 405: "method-not-allowed"}


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong: where (JSON pointer, RFC 6901), a stable code, and in words."""

    pointer: str
    code: str
    detail: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem document (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str = ""
    errors: tuple[Fault, ...] = ()


class ProblemError(SlatestreamError):
    """An error that answers a request.

    Parameters
    ----------
    kind
        Key of `KINDS`.
    faults
        What is wrong, when it can be pointed at.
    retry_after
        Seconds after which trying again makes sense.
    """

    def __init__(
        self,
        kind: str,
        detail: str,
        faults: Sequence[Fault] = (),
        *,
        pointer: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.faults = tuple(faults)
        if pointer is not None:
            code = code or kind.replace("-", "_")
            self.faults = (Fault(pointer=pointer, code=code, detail=detail),)
        self.retry_after = retry_after

    def to_problem(self, instance: str = "") -> Problem:
        """Return the document of this error."""
        status, title, _ = KINDS[self.kind]
        return Problem(
            type=f"/problems/{self.kind}",
            title=title,
            status=status,
            detail=self.detail,
            instance=instance,
            errors=self.faults,
        )


def problem_of(error: SlatestreamError) -> ProblemError:
    """Turn any error of the tree into the one that answers a request."""
    if isinstance(error, ProblemError):
        return error
    kind = next((OF_ERROR[cls] for cls in type(error).__mro__ if cls in OF_ERROR), "internal")
    retry_after = 1 if KINDS[kind].status == 503 else None
    if isinstance(error, BadEventError):
        fault = Fault(pointer=error.pointer, code=error.reason, detail=error.detail)
        return ProblemError(kind, error.detail, [fault])
    return ProblemError(kind, str(error), retry_after=retry_after)
