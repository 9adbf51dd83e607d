"""Items, users and pools by name: reading the catalogue and adding to it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from api.decoding import decode
from api.problems import ProblemError
from api.service import Service
from streams.errors import BadEventError
from streams.events import Features, Id, Item, Millis, Pool, User, decode_event, encode_event
from streams.log.base import CATALOGUE

__all__ = [
    "ItemBody",
    "ItemReply",
    "PoolBody",
    "PoolReply",
    "UserBody",
    "UserReply",
    "delete_item",
    "get_item",
    "get_pool",
    "get_user",
    "put_item",
    "put_pool",
    "put_user",
]


class ItemBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An item: its features, and when it may be shown (ms since the epoch, UTC).

    Policies whose schema declares features ``of = "item"`` rank and learn by them. A feature is a
    number, a text, a boolean or a map of numbers, such as weights of clusters.
    """

    features: Features = {}
    available_from: Millis | None = None
    expires_at: Millis | None = None
    ts: Millis | None = None


class UserBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user: features that every slate's context starts from."""

    features: Features = {}
    ts: Millis | None = None


class PoolBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named set of candidates."""

    item_ids: Annotated[tuple[Id, ...], Meta(max_length=1_000_000)]
    ts: Millis | None = None


class ItemReply(msgspec.Struct, frozen=True, kw_only=True):
    """An item as the catalogue holds it."""

    id: str
    ts: int
    features: Features
    available_from: int | None
    expires_at: int | None


class UserReply(msgspec.Struct, frozen=True, kw_only=True):
    """A user as the catalogue holds it."""

    id: str
    ts: int
    features: Features


class PoolReply(msgspec.Struct, frozen=True, kw_only=True):
    """A pool as the catalogue holds it, and which of its items may not be shown now."""

    name: str
    version: int
    ts: int
    item_ids: tuple[str, ...]
    missing_ids: tuple[str, ...]


_ITEM = msgspec.json.Decoder(ItemBody)
_USER = msgspec.json.Decoder(UserBody)
_POOL = msgspec.json.Decoder(PoolBody)


def get_item(service: Service, item_id: str) -> ItemReply:
    """Return an item; ``ProblemError`` when there is none, or it was deleted."""
    item = service.catalogue.item(item_id)
    if item is None or item.deleted:
        raise ProblemError("unknown-item", f"item {item_id!r} is not in the catalogue")
    return _item_reply(item)


def _item_reply(item: Item) -> ItemReply:
    return ItemReply(
        id=item.id,
        ts=item.ts,
        features=item.features,
        available_from=item.available_from,
        expires_at=item.expires_at,
    )


async def put_item(service: Service, item_id: str, body: bytes) -> ItemReply:
    """Put an item in place of what stood under the id."""
    given = decode(_ITEM, body)
    item = Item(
        id=item_id,
        ts=_ts(service, given.ts),
        features=given.features,
        available_from=given.available_from,
        expires_at=given.expires_at,
    )
    await _put(service, item_id, item)
    return _item_reply(item)


async def delete_item(service: Service, item_id: str) -> None:
    """Delete an item: it is never a candidate again, unless it is put anew."""
    get_item(service, item_id)
    await _put(service, item_id, Item(id=item_id, ts=service.log.now_ms(), deleted=True))


def get_user(service: Service, user_id: str) -> UserReply:
    """Return a user; ``ProblemError`` when there is none."""
    user = service.catalogue.user(user_id)
    if user is None:
        raise ProblemError("unknown-user", f"user {user_id!r} is not in the catalogue")
    return UserReply(id=user.id, ts=user.ts, features=user.features)


async def put_user(service: Service, user_id: str, body: bytes) -> UserReply:
    """Put a user in place of what stood under the id."""
    given = decode(_USER, body)
    user = User(id=user_id, ts=_ts(service, given.ts), features=given.features)
    await _put(service, user_id, user)
    return UserReply(id=user.id, ts=user.ts, features=user.features)


def get_pool(service: Service, name: str) -> PoolReply:
    """Return a pool; ``ProblemError`` when there is none."""
    pool, version = service.catalogue.pool(name), service.catalogue.pool_version(name)
    if pool is None or version is None:
        known = ", ".join(service.catalogue.pools()[:5]) or "none"
        raise ProblemError("unknown-pool", f"pool {name!r} does not exist; known are {known}")
    return _pool_reply(service, pool, version)


def _pool_reply(service: Service, pool: Pool, version: int) -> PoolReply:
    found = service.catalogue.candidates(candidate_ids=pool.item_ids, now_ms=service.log.now_ms())
    missing = set(found.missing)
    return PoolReply(
        name=pool.name,
        version=version,
        ts=pool.ts,
        item_ids=pool.item_ids,
        missing_ids=tuple(item_id for item_id in pool.item_ids if item_id in missing),
    )


async def put_pool(service: Service, name: str, body: bytes) -> PoolReply:
    """Put a pool in place of what stood under the name; items it names may come later."""
    given = decode(_POOL, body)
    pool = Pool(name=name, ts=_ts(service, given.ts), item_ids=given.item_ids)
    return _pool_reply(service, pool, await _put(service, name, pool))


def _ts(service: Service, given: int | None) -> int:
    return service.log.now_ms() if given is None else given


async def _put(service: Service, key: str, event: Item | User | Pool) -> int:
    # What was put is answered from here: the catalogue held may be older than what is committed.
    value = encode_event(event)
    try:
        decode_event(value)  # the name of the path has had no check yet
    except BadEventError as error:
        raise ProblemError(
            "bad-request", error.detail, pointer=error.pointer, code=error.reason
        ) from error
    (place,) = await service.append(CATALOGUE, [(key, value)])
    return place.offset
