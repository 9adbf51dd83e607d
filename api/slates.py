"""POST /v1/slates: validate, choose, log, answer — in that order."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections import Counter
from collections.abc import Collection
from typing import Annotated

import msgspec
from msgspec import Meta

from api.decoding import decode
from api.problems import ProblemError
from api.ranking import Ranked, Ranker, Reason
from api.service import Service
from api.versions import MAX_LENGTH, PATTERN, parse_version
from streams.catalogue import CandidateSet
from streams.errors import BadItemError, UnknownPoolError
from streams.events import Features, Id, Impression, ShownItem, encode_event
from streams.log.base import EVENTS
from streams.refusals import escape
from streams.views import View

__all__ = ["SlateReply", "SlateRequest", "Slot", "make_slate"]

MAX_CANDIDATES = 100_000
MAX_K = 1000

SLOT = "^(0|[1-9][0-9]{0,2})$"

SlotNumber = Annotated[str, Meta(extra_json_schema={"pattern": SLOT})]  # refused in words below


class SlateRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request for a slate of ``k`` items of one ``pool``, or of explicit ``candidates``.

    ``context`` overlays the user's features of the catalogue; a feature is a number, a text, a
    boolean or a map of numbers, such as weights of clusters; ``user_id`` is one of them where the
    policy reads an id of that name. ``exclude`` leaves candidates out;
    ``pins`` puts candidates into slots (from 0), ``{"0": "item"}``: those slots have propensity 1,
    no other shows their items, and evaluation leaves them out. ``request_id`` seeds the draw;
    repeating it with the same body repeats the reply without logging it again, as long as the
    API worker that answered it lives and remembers it (``remember_requests``); later the reply
    may be another slate, of which the learner takes the first alone.
    ``dry_run`` logs nothing. ``min_version``, the ``version`` of an earlier reply, asks for learned
    state that includes it: the slate waits for that (``max_wait_ms``), then is refused with 409.
    """

    k: Annotated[int, Meta(ge=1, le=MAX_K)]
    recommender: Id = "default"
    user_id: Id | None = None
    context: Features = {}
    pool: Id | None = None
    candidates: Annotated[tuple[Id, ...], Meta(max_length=MAX_CANDIDATES)] | None = None
    exclude: Annotated[tuple[Id, ...], Meta(max_length=MAX_CANDIDATES)] = ()
    pins: Annotated[dict[SlotNumber, Id], Meta(max_length=MAX_K)] = {}
    request_id: Id | None = None
    dry_run: bool = False
    min_version: Annotated[str, Meta(pattern=PATTERN, max_length=MAX_LENGTH)] | None = None


class Slot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One item shown.

    ``propensity`` is its probability given the slots before it, got by ``method`` and off by
    ``error``: 0 when exact or pinned, the bound of a quadrature, the standard error of a
    monte_carlo estimate. The latter comes with ``recurrence``, the draws until the item came
    again: its mean is 1 / probability, which the reciprocal of an estimate is not.
    """

    item_id: str
    slot: int
    score: float
    propensity: float
    error: float
    method: str
    reason: Reason
    recurrence: int | None = None


class SlateReply(msgspec.Struct, frozen=True, kw_only=True):
    """A slate, and what chose it; ``version`` is how much of the log that had learned."""

    request_id: str
    recommender: str
    policy: str
    policy_hash: str
    view: int
    version: str
    slate: tuple[Slot, ...]
    fallback: str | None
    missing_ids: tuple[str, ...]


_DECODER = msgspec.json.Decoder(SlateRequest)
_ENCODER = msgspec.json.Encoder()


async def make_slate(service: Service, body: bytes) -> bytes:
    """Answer one request, as JSON.

    Raises
    ------
    ProblemError
        When the request is not valid, names something unknown, or has too few candidates.
    LogError
        When the impression could not be logged: then nothing was shown.
    """
    request = decode(_DECODER, body)
    if request.request_id is None or request.dry_run:
        return await _answer(service, request, request.request_id or uuid.uuid4().hex)
    known = request.request_id
    digest = hashlib.blake2b(msgspec.json.encode(request, order="deterministic")).digest()
    return await service.replies.once(known, digest, lambda: _answer(service, request, known))


async def _answer(service: Service, request: SlateRequest, request_id: str) -> bytes:
    recommender = service.config.recommenders.get(request.recommender)
    if recommender is None:
        raise ProblemError(
            "unknown-recommender",
            f"recommender {request.recommender!r} is not configured; "
            f"known are {', '.join(service.config.recommenders)}",
            pointer="/recommender",
        )
    if request.min_version is not None:
        await _reach(service, request.min_version)
    now_ms = service.log.now_ms()
    found = _find_candidates(service, request, now_ms)
    pins = {_slot(slot): item_id for slot, item_id in request.pins.items()}
    if pins:
        _check_pins(pins, request.k, found)
    context = _context(service, request, recommender.policy)
    again = None if request.exclude else request.pool
    view, version = service.view(), service.version
    try:
        short = _shorten(
            service,
            request,
            request_id=request_id,
            view=view,
            context=context,
            pinned=pins.values(),
            found=found.ids,
            now_ms=now_ms,
        )
        ranked = service.ranker.rank(
            view,
            recommender.policy,
            context=context,
            ids=short or found.ids,
            request_id=request_id,
            k=request.k,
            pool=None if short else again,
            pins=pins,
        )
    except ProblemError as error:
        raise _blame_user(request, error) from error
    except BadItemError as error:
        where = "/pool" if request.pool else _candidate(request, error.item_id)
        raise ProblemError("bad-features", str(error), pointer=where) from error
    if not request.dry_run:
        shown = _shown(service.ranker, recommender.policy, ranked)
        impression = Impression(
            ts=now_ms,
            request_id=request_id,
            recommender=request.recommender,
            user_id=request.user_id,
            context=context,
            slate=shown,
            pool=request.pool,
            pool_version=service.catalogue.pool_version(request.pool or ""),
            candidates=short or (None if request.pool else found.ids),
            exclude=request.exclude,
            schema=ranked.schema,
            catalogue_version=service.catalogue.version,
            policy=ranked.policy,
            policy_hash=ranked.policy_hash,
            view=ranked.view,
            fallback=ranked.fallback,
        )
        await service.append(EVENTS, [(request_id, encode_event(impression))])
        _count(service, request.recommender, ranked)
    return _ENCODER.encode(_reply(request, request_id, found, ranked, version))


def _shorten(
    service: Service,
    request: SlateRequest,
    *,
    request_id: str,
    view: View | None,
    context: Features,
    pinned: Collection[str],
    found: tuple[str, ...],
    now_ms: int,
) -> tuple[str, ...] | None:
    """Candidates that are ranked where the recommender ranks but some; None for all."""
    shortlist = service.shortlists[request.recommender]
    if not shortlist.best:
        return None
    # Without what is excluded: so a pool is known again, and the scan passes over it.
    whole = service.catalogue.candidates(request.pool, request.candidates, (), now_ms)

    def narrow(ids: tuple[str, ...], pool: str | None) -> tuple[str, ...] | None:
        return service.ranker.narrow(
            view,
            service.config.recommenders[request.recommender].policy,
            shortlist,
            context=context,
            ids=ids,
            request_id=request_id,
            k=request.k,
            pool=pool,
            barred=request.exclude,
            kept=pinned,
        )

    try:
        return narrow(whole.ids, request.pool)
    except BadItemError as error:
        if error.item_id not in request.exclude:
            raise
        return narrow(found, None)  # whoever excludes an item need not mend it


async def _reach(service: Service, text: str) -> None:
    """Wait until a version is served; raises ``ProblemError``, and ``LogError``."""
    version = parse_version(text)
    partitions = await service.partitions()
    if max(version) >= partitions:
        raise ProblemError(
            "bad-request",
            f"min_version names partition {max(version)} and events have {partitions}, from 0; "
            "give the version of a reply of this service",
            pointer="/min_version",
            code="version",
        )
    wait_ms = service.settings.max_wait_ms
    if not await service.followers.until(version, wait_ms / 1000):
        view = service.view()
        served = f"view {view.version} includes {service.version}" if view else "no view is there"
        raise ProblemError(
            "view-behind",
            f"after {wait_ms} ms {served}, not all of min_version; ask again",
            pointer="/min_version",
            retry_after=1,
        )


def _find_candidates(service: Service, request: SlateRequest, now_ms: int) -> CandidateSet:
    if (request.pool is None) == (request.candidates is None):
        given = "both" if request.pool is not None else "neither"
        raise ProblemError(
            "bad-request",
            f"{given} of 'pool' and 'candidates' given; give one of them",
            pointer="/pool",
            code="one_of",
        )
    where = "/pool" if request.pool is not None else "/candidates"
    try:
        found = service.catalogue.candidates(
            request.pool, request.candidates, request.exclude, now_ms
        )
    except UnknownPoolError as error:
        raise ProblemError("unknown-pool", str(error), pointer=where) from error
    if not found.ids:
        raise ProblemError(
            "empty-candidates",
            "no candidate is known, available and not excluded; put items, or wider candidates",
            pointer=where,
        )
    if request.k > len(found.ids):
        raise ProblemError(
            "k-too-large",
            f"k is {request.k} and {len(found.ids)} candidates are available; ask for that or less",
            pointer="/k",
        )
    return found


def _slot(name: str) -> int:
    # Written one way only, or two pins could name one slot.
    if not re.fullmatch(SLOT, name):
        told = f"pins name slot {name!r}; give whole numbers from 0 to k - 1, without leading zeros"
        raise ProblemError("bad-request", told, pointer=f"/pins/{escape(name)}", code="pin")
    return int(name)


def _check_pins(pins: dict[int, str], k: int, found: CandidateSet) -> None:
    seen: dict[str, int] = {}
    known = set(found.ids)
    for slot, item_id in sorted(pins.items()):
        told = None
        if slot >= k:
            told = f"slot {slot} is pinned and k is {k}; count slots from 0"
        elif item_id not in known:
            told = f"item {item_id!r} is pinned and no candidate just now; pin candidates"
        elif item_id in seen:
            told = f"item {item_id!r} is pinned to slot {seen[item_id]} too; pin it once"
        if told:
            raise ProblemError("bad-request", told, pointer=f"/pins/{slot}", code="pin")
        seen[item_id] = slot


def _candidate(request: SlateRequest, item_id: str) -> str:
    return f"/candidates/{(request.candidates or ()).index(item_id)}"


def _context(service: Service, request: SlateRequest, policy: str) -> Features:
    """What is ranked by and logged: the user's features under the request's own, and ids."""
    user = service.catalogue.user(request.user_id) if request.user_id else None
    context = {**user.features, **request.context} if user else request.context
    return service.ranker.complete(policy, context, request.user_id)


def _blame_user(request: SlateRequest, error: ProblemError) -> ProblemError:
    """Point at the user where a feature that does not fit is the catalogue's, not the caller's."""
    sent = {f"/context/{escape(name)}" for name in request.context}
    if error.kind != "bad-features" or any(fault.pointer in sent for fault in error.faults):
        return error
    detail = f"user {request.user_id!r} of the catalogue: {error.detail}; put the user anew"
    return ProblemError(error.kind, detail, pointer="/user_id")


def _shown(ranker: Ranker, policy: str, ranked: Ranked) -> tuple[ShownItem, ...]:
    """Slots as they are logged, with the features that the recommender's own policy learns by."""
    return tuple(
        ShownItem(
            item_id=slot.item_id,
            propensity=slot.propensity,
            method=slot.method,
            error=slot.error,
            score=slot.score,
            features=ranker.shown_features(policy, slot.item_id),
            recurrence=slot.recurrence,
        )
        for slot in ranked.slots
    )


def _count(service: Service, recommender: str, ranked: Ranked) -> None:
    metrics = service.metrics
    metrics.slates.labels(recommender, ranked.fallback or "").inc()
    counted = Counter((slot.method, slot.reason) for slot in ranked.slots)
    for (method, reason), slots in counted.items():
        metrics.slots.labels(recommender, method, reason).inc(slots)


def _reply(
    request: SlateRequest, request_id: str, found: CandidateSet, ranked: Ranked, version: str
) -> SlateReply:
    slots = tuple(
        Slot(
            item_id=each.item_id,
            slot=slot,
            score=each.score,
            propensity=each.propensity,
            error=each.error,
            method=each.method,
            reason=each.reason,
            recurrence=each.recurrence,
        )
        for slot, each in enumerate(ranked.slots)
    )
    return SlateReply(
        request_id=request_id,
        recommender=request.recommender,
        policy=ranked.policy,
        policy_hash=ranked.policy_hash,
        view=ranked.view,
        version=version,
        slate=slots,
        fallback=ranked.fallback,
        missing_ids=found.missing,
    )
