"""Group commit: many callers, one transaction."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from streams.errors import LogError
from streams.log.base import EventLog, Place, check_topic

__all__ = ["Appender"]


def _running() -> Future[Any]:
    # A caller that gives up waiting must not cancel an append that is under way.
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    return future


@dataclass(slots=True)
class _Request:
    topic: str
    entries: list[tuple[str, bytes]]
    places: Future[list[Place]] = field(default_factory=_running)


class Appender:
    """One thread that appends what all callers submit, as many at a time as are waiting.

    Parameters
    ----------
    log
        Where to; stays open when the appender closes.
    capacity
        Records that may wait; a submit beyond it is refused at once.
    batch
        Records appended in one transaction, at most (one submit is never split).
    """

    def __init__(self, log: EventLog, *, capacity: int = 10_000, batch: int = 1_000) -> None:
        self._log = log
        self._capacity = capacity
        self._batch = batch
        self._waiting: deque[_Request] = deque()
        self._size = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="log-appender", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Records submitted and not yet appended."""
        return self._size

    def submit(self, topic: str, key: str, value: bytes) -> Future[Place]:
        """Append one record; the future gives its place once it is committed.

        Raises
        ------
        LogError
            When the queue is full or the appender closed; the future raises it when the
            commit failed (nothing was appended).
        """
        place: Future[Place] = _running()

        def pass_on(places: Future[list[Place]]) -> None:
            failure = places.exception()
            if failure is not None:
                place.set_exception(failure)
            else:
                place.set_result(places.result()[0])

        self.submit_many(topic, [(key, value)]).add_done_callback(pass_on)
        return place

    def submit_many(self, topic: str, entries: Sequence[tuple[str, bytes]]) -> Future[list[Place]]:
        """Append records all or none; errors as in `submit`."""
        request = _Request(check_topic(topic), list(entries))
        with self._changed:
            if self._closed:
                raise LogError("the appender is closed; nothing more can be appended")
            if self._size + len(request.entries) > self._capacity:
                raise LogError(
                    f"{self._size} records wait to be appended and {self._capacity} may; "
                    "try again later"
                )
            self._waiting.append(request)
            self._size += len(request.entries)
            self._changed.notify()
        return request.places

    def close(self) -> None:
        """Append what waits, then stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._take():
            self._commit(batch)

    def _take(self) -> list[_Request]:
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            batch: list[_Request] = []
            size = 0
            while self._waiting and self._waiting[0].topic == (batch or self._waiting)[0].topic:
                size += len(self._waiting[0].entries)
                if batch and size > self._batch:
                    break
                batch.append(self._waiting.popleft())
            return batch

    def _commit(self, batch: list[_Request]) -> None:
        entries = [entry for request in batch for entry in request.entries]
        try:
            places = self._log.append(batch[0].topic, entries)
        except Exception as error:  # whatever fails, every caller hears of it
            failure = error if isinstance(error, LogError) else LogError(f"cannot append: {error}")
            self._done(len(entries))
            for request in batch:
                request.places.set_exception(failure)
            return
        self._done(len(entries))
        start = 0
        for request in batch:
            stop = start + len(request.entries)
            request.places.set_result(places[start:stop])
            start = stop

    def _done(self, size: int) -> None:
        with self._changed:
            self._size -= size
