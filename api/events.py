"""POST /v1/events: one event, an array of them, or NDJSON; good ones are logged together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable
from typing import NamedTuple

import msgspec

from api.decoding import decode
from api.problems import Fault, Problem, ProblemError, problem_of
from api.service import Service
from api.versions import format_version, version_of
from streams.errors import BadEventError
from streams.events import (
    Activation,
    Control,
    Event,
    Feedback,
    Impression,
    Item,
    Pool,
    Tick,
    User,
    decode_event,
    encode_event,
)
from streams.log.base import CATALOGUE, EVENTS, Place
from streams.nesting import is_too_deep

__all__ = ["EventsReply", "Refused", "take_events"]

MAX_EVENTS = 1000
NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})
JSON = frozenset({"application/json"})
PATH = "/v1/events"


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """An event that was not taken: its position in the batch and why."""

    index: int
    problem: Problem


class EventsReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a batch: taken now, known already, and (status 207) refused.

    A view that includes ``version`` includes the batch's feedback, activations and impressions,
    those known already among them; a slate asks for it as ``min_version``. Absent when there are
    none.
    """

    accepted: int
    duplicates: int
    version: str = ""
    results: tuple[Refused, ...] = ()


class _Stamp(msgspec.Struct):
    ts: object = msgspec.UNSET


class _Good(NamedTuple):
    topic: str
    key: str
    value: bytes
    kind: str
    identity: Hashable | None  # what a repeat shares with it; None: every one counts


_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_MARK = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[\]{},]', re.DOTALL)
_STAMP = msgspec.json.Decoder(_Stamp)
_ENCODER = msgspec.json.Encoder()


async def take_events(
    service: Service, body: bytes, content_type: str, scope: str
) -> tuple[int, bytes]:
    """Check every event, log the good ones, and answer with status and body.

    Parameters
    ----------
    scope
        Of the request's key: items, users and pools need ``admin``.

    Raises
    ------
    ProblemError
        When the body cannot be read, or none of its events is good.
    LogError
        When the events could not be logged. Sending them again is safe.
    """
    values, many = _split(body, content_type)
    now_ms = service.log.now_ms()
    good: list[_Good] = []
    refused: list[Refused] = []
    duplicates = 0
    seen: set[Hashable] = set()
    places: list[Place] = []
    for index, value in enumerate(values):
        try:
            event = _check(value, now_ms, scope)
        except (ProblemError, BadEventError) as error:
            refused.append(Refused(index=index, problem=problem_of(error).to_problem(PATH)))
            continue
        if event.identity is None:
            good.append(event)
        elif event.identity in seen or event.identity in service.events_seen:
            duplicates += 1
            if event.identity not in seen:
                places.append(service.events_seen[event.identity])
            service.metrics.events.labels(event.kind, "duplicate").inc()
        else:
            seen.add(event.identity)
            good.append(event)
    service.metrics.events.labels("any", "refused").inc(len(refused))
    if refused and len(refused) == len(values):
        raise _none_good(refused, many=many)
    places += await _log(service, good)
    reply = EventsReply(
        accepted=len(good),
        duplicates=duplicates,
        version=format_version(version_of(places)),
        results=tuple(refused),
    )
    return (207 if refused else 202), _ENCODER.encode(reply)


async def _log(service: Service, good: list[_Good]) -> list[Place]:
    """Log events; returns where those of `EVENTS` stand."""
    places: list[Place] = []
    for topic in (CATALOGUE, EVENTS):
        entries = [(event.key, event.value) for event in good if event.topic == topic]
        places = await service.append(topic, entries) if entries else []
    # Acknowledged from here on.
    for event, place in zip((each for each in good if each.topic == EVENTS), places, strict=True):
        if event.identity is not None:
            service.events_seen.add(event.identity, place)
    for kind, count in Counter(event.kind for event in good).items():
        service.metrics.events.labels(kind, "accepted").inc(count)
    return places


def _split(body: bytes, content_type: str) -> tuple[list[bytes], bool]:
    kind = content_type.partition(";")[0].strip().lower()
    if kind in NDJSON:
        values, many = [line for line in body.split(b"\n") if line.strip()], True
    elif kind in JSON:
        many = body.lstrip()[:1] == b"["
        values = _elements(body) if many else [body]
    else:
        raise ProblemError(
            "unsupported-media-type",
            f"content type is {kind!r}; send application/json or application/x-ndjson",
        )
    if not 1 <= len(values) <= MAX_EVENTS:
        raise ProblemError(
            "bad-request",
            f"the batch holds {len(values)} events; send 1 to {MAX_EVENTS}",
            pointer="",
            code="batch_size",
        )
    return values, many


def _elements(body: bytes) -> list[bytes]:
    if not is_too_deep(body):
        return [bytes(raw) for raw in decode(_ARRAY, body, check_text=False)]
    # One event of it cannot be decoded; brackets and strings alone tell it from its neighbours.
    parts, depth, start = [], 0, 0
    for token in _MARK.finditer(body):
        mark = token.group()
        depth += (mark in {b"[", b"{"}) - (mark in {b"]", b"}"})
        if depth == 1 and mark == b"[" and not start:
            start = token.end()
        elif depth == 0 or (depth == 1 and mark == b","):
            parts.append(body[start : token.start()])
            start = token.end()
        if depth == 0:
            break
    if depth or body[start:].strip():
        raise ProblemError("bad-json", "the body cannot be read as JSON: its array does not end")
    return parts


def _check(value: bytes, now_ms: int, scope: str) -> _Good:
    event = decode_event(value if is_too_deep(value) else _stamped(value, now_ms))
    kind = str(event.__struct_config__.tag)
    if isinstance(event, Control | Tick):
        raise ProblemError(
            "bad-event",
            f"type {kind!r} is written by the service alone; "
            "send feedback, activation, impression, item, user or pool",
            pointer="/type",
            code="type",
        )
    if isinstance(event, Item | User | Pool) and scope != "admin":
        raise ProblemError(
            "forbidden", f"type {kind!r} needs a key of scope 'admin'", pointer="/type"
        )
    topic = CATALOGUE if isinstance(event, Item | User | Pool) else EVENTS
    return _Good(topic, _key(event), encode_event(event), kind, _identity(event))


def _stamped(value: bytes, now_ms: int) -> bytes:
    """Add the server's time to an object without ``ts``; leave all else to the decoder."""
    try:
        if _STAMP.decode(value).ts is not msgspec.UNSET:
            return value
    except (msgspec.DecodeError, UnicodeDecodeError):
        return value
    head = value.rstrip()[:-1].rstrip()
    comma = b"" if head.endswith(b"{") else b","
    return head + comma + b'"ts":%d}' % now_ms


def _key(event: Event) -> str:
    if isinstance(event, Item | User):
        return event.id
    if isinstance(event, Pool):
        return event.name
    return event.request_id if isinstance(event, Feedback | Activation | Impression) else ""


def _identity(event: Event) -> Hashable | None:
    if isinstance(event, Feedback):
        return event.request_id, event.event_id
    if isinstance(event, Impression):
        return event.request_id
    return None


def _none_good(refused: list[Refused], *, many: bool) -> ProblemError:
    first = refused[0].problem
    if not many:
        kind = first.type.rpartition("/")[2]
        return ProblemError(kind, first.detail, first.errors)
    faults = [
        Fault(pointer=f"/{each.index}{fault.pointer}", code=fault.code, detail=fault.detail)
        for each in refused
        for fault in each.problem.errors
    ]
    return ProblemError(
        "bad-events", f"none of {len(refused)} events is good; the first: {first.detail}", faults
    )
