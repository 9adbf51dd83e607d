"""Another library's models as a part of state: kept live, saved as pickles, hashed by content."""

from __future__ import annotations

import copyreg
import hashlib
import pickle
import types
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from engine.errors import ConfigError, SnapshotError
from engine.state import Part

__all__ = ["Foreign", "Pickles", "digest_object", "load_object", "save_object"]

PROTOCOL = 5
PLAIN = (type(None), bool, int, float, complex, str, bytes)


def save_object(value: object) -> bytes:
    """Pickle an object, by a protocol that does not change with Python's version."""
    return pickle.dumps(value, protocol=PROTOCOL)


def load_object(saved: bytes) -> Any:
    """Load what `save_object` made. A pickle can run code: load only states of your own stores.

    Raises
    ------
    SnapshotError
        When it is damaged, or needs a library that is not installed.
    """
    try:
        return pickle.loads(saved)  # noqa: S301 - of the operator's own store, see above
    except Exception as error:
        raise SnapshotError(f"saved model cannot be read: {error!r}") from error


def digest_object(value: object) -> bytes:
    """Hash of what an object holds, walked as pickle would walk it.

    Pickles of equal objects may differ, by which equal strings are one object. Here plain values
    are hashed by value, and only what can change by the places where it is met again. Attributes
    are taken by name, sets by the hashes of their members, dictionaries in their own order, which
    sums over them follow.
    """
    digest = hashlib.sha256()
    seen: dict[int, int] = {}
    kept: list[object] = []  # what is made on the way must live, or its id would be used again
    stack: list[object] = [value]
    while stack:
        value = stack.pop()
        told, children = _plain(value)
        if told is None:
            if id(value) in seen:
                told = ("again", seen[id(value)])
            else:
                seen[id(value)] = len(seen)
                kept.append(value)
                told, children = _open(value)
        word = repr(told).encode()
        digest.update(len(word).to_bytes(8, "little") + word)
        stack.extend(reversed(children))
    return digest.digest()


Opened = tuple[tuple[object, ...] | None, Sequence[object]]


def _plain(value: Any) -> Opened:
    """Return what cannot change as (its value, its members); (None, ()) for anything else."""
    if type(value) in PLAIN:
        return (type(value).__name__, value), ()
    if type(value) is tuple:
        return ("tuple", len(value)), value
    if isinstance(value, np.generic):
        return ("scalar", value.dtype.str, value.tobytes()), ()
    named = isinstance(value, type | types.FunctionType | types.BuiltinFunctionType)
    if named and isinstance(getattr(value, "__self__", None), types.ModuleType | type(None)):
        return ("name", value.__module__, value.__qualname__), ()
    return None, ()


def _open(value: Any) -> Opened:
    """What kind of thing that can change this is, and what it holds."""
    if type(value) is dict:
        return ("dict", len(value)), [part for pair in value.items() for part in pair]
    if type(value) is list:
        return ("list", len(value)), value
    if type(value) in {set, frozenset}:
        return ("set", sorted(digest_object(member) for member in value)), ()
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return ("array", value.dtype.str, value.shape, value.tobytes()), ()
    reduce = copyreg.dispatch_table.get(type(value))
    made: Any = reduce(value) if reduce else value.__reduce_ex__(PROTOCOL)
    if isinstance(made, str):
        return ("name", type(value).__qualname__, made), ()
    parts_given: tuple[Any, ...] = (*made, None, None, None)
    make, given, state, members, entries = parts_given[:5]
    if isinstance(state, dict) and all(isinstance(name, str) for name in state):
        state = tuple(sorted(state.items()))
    parts = (make, given, state, list(members or ()), list(entries or ()))
    return ("object", len(parts)), parts


class Pickles:
    """Models by key, unpickled when first asked for; an unknown key has the untrained ones.

    They are for predicting: what one caller does to them the next one sees.
    """

    def __init__(self, start: bytes, saved: Mapping[str, bytes]) -> None:
        self._start = start
        self._saved = saved
        self._loaded: dict[str | None, Any] = {}

    @classmethod
    def of(cls, packed: bytes) -> Pickles:
        """Read what `Foreign.pack` made."""
        start, saved = msgspec.msgpack.decode(packed, type=tuple[bytes, dict[str, bytes]])
        return cls(start, saved)

    def __getitem__(self, key: str | None) -> Any:
        known = key if key in self._saved else None
        if known not in self._loaded:
            saved = self._start if known is None else self._saved[known]
            self._loaded[known] = load_object(saved)
        return self._loaded[known]


class Foreign:
    """Part of state: models by item id, or one for all items under the key ``""``.

    Parameters
    ----------
    start
        Pickle of an untrained model: each key's begins as a copy of it.
    told
        Name of the models, for messages.
    """

    def __init__(self, start: bytes, told: str) -> None:
        self.start = start
        self.told = told
        self._live: dict[str, Any] = {}
        self._saved: dict[str, bytes] = {}  # of those not changed since

    @property
    def keys(self) -> list[str]:
        """Keys that have learned something, sorted."""
        return sorted(self._live.keys() | self._saved.keys())

    def change(self, key: str) -> Any:
        """Return the key's model to be changed by the caller, an untrained one when it is new."""
        if key not in self._live:
            self._live[key] = load_object(self._saved.get(key, self.start))
        self._saved.pop(key, None)
        return self._live[key]

    def pack(self) -> bytes:
        """Pack all models, and the untrained one, for `Pickles`."""
        return msgspec.msgpack.encode((self.start, {key: self._pickle(key) for key in self.keys}))

    def halve(self, steps: int) -> None:
        """Forget nothing: such models are refused a half-life."""

    def digest(self) -> bytes:
        """Hash of every model's content."""
        digest = hashlib.sha256()
        for key in self.keys:
            live = self._live.get(key)
            model = load_object(self._saved[key]) if live is None else live
            digest.update(msgspec.msgpack.encode((key, digest_object(model))))
        return digest.digest()

    def to_bytes(self, item_ids: Sequence[str] | None) -> bytes:
        """Save all models, or those of the named items and the one for all."""
        wanted = self.keys
        if item_ids is not None:
            named = {"", *item_ids}
            wanted = [key for key in wanted if key in named]
        return msgspec.msgpack.encode({key: self._pickle(key) for key in wanted})

    def put_bytes(self, saved: bytes) -> None:
        """Write saved models over those of the same keys."""
        try:
            models = msgspec.msgpack.decode(saved, type=dict[str, bytes])
        except msgspec.DecodeError as error:
            raise SnapshotError(f"saved models of {self.told} cannot be read: {error}") from error
        for key in models:
            self._live.pop(key, None)
        self._saved.update(models)

    def mark_saved(self) -> None:
        """Do nothing: what changed is told by the items."""

    def add(self, other: Part) -> None:
        """Refuse: such models do not add."""
        raise ConfigError(f"models of {self.told} learn in order and do not add; let one learn")

    def copy(self) -> Foreign:
        """Return an independent copy."""
        twin = Foreign(self.start, self.told)
        twin._saved = {key: self._pickle(key) for key in self.keys}
        return twin

    def _pickle(self, key: str) -> bytes:
        if key not in self._saved:
            self._saved[key] = save_object(self._live[key])
        return self._saved[key]
