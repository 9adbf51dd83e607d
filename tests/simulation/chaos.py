"""Every decision of a world, drawn from one seed, and the history of what it led to."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

# How often each fault strikes where it may, before the seed turns it up, down or off.
FAULTS = {
    "crash": 0.008,  # a process ends between two steps
    "pause": 0.03,  # a process stands still between two steps while the others go on
    "log fails": 0.02,
    "log answer lost": 0.05,  # appended, though it was not told
    "short poll": 0.3,  # fewer records than there are
    "store fails": 0.04,
    "store answer lost": 0.05,  # committed, though it was not told
    "statement fails": 0.04,  # within a transaction
    "statement crashes": 0.02,
    "acknowledgement lost": 0.1,  # between service and client: the client sends again
    "deaf member": 0.05,  # hears nothing of its group for some turns
    "publisher crashes": 0.2,
    "disk full": 0.2,  # of the publisher
    "clock steps back": 0.02,
}


class CrashError(BaseException):
    """The process is gone: nothing of it may catch this."""


class Chaos:
    """The dice of one seed.

    Attributes
    ----------
    quiet
        No more faults.
    struck
        How often each fault struck.
    history
        ``(time, who, what)``, in order.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.quiet = False
        self.history: list[tuple[int, str, str]] = []
        self.now = 0
        self.struck: Counter[str] = Counter()
        # Each world has some faults and not others: what one hides, another seed shows.
        self.rates = {
            name: rate * self.rng.choice([0.0, 0.0, 0.5, 1.0, 1.0, 3.0])
            for name, rate in FAULTS.items()
        }

    def happens(self, fault: str) -> bool:
        """Whether a fault strikes here."""
        rate = self.rates[fault]
        if rate <= 0 or self.quiet or self.rng.random() >= rate:
            return False
        self.struck[fault] += 1
        return True

    def chance(self, share: float) -> bool:
        """A decision that is no fault."""
        return self.rng.random() < share

    def pick(self, among: Sequence[T]) -> T:
        """One of several."""
        return among[self.rng.randrange(len(among))]

    def note(self, who: str, what: str) -> None:
        """Add to the history."""
        self.history.append((self.now, who, what))

    def told(self, last: int | None = None) -> str:
        """Tell the history, or the end of it."""
        lines = [f"{now / 1000:12.3f} s  {who:<10} {what}" for now, who, what in self.history]
        if last is not None and len(lines) > last:
            lines = [f"... {len(lines) - last} lines before", *lines[-last:]]
        return "\n".join(lines)
