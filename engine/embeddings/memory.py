"""Memory that is asked for whole and taken page by page: what is never written costs nothing.

So arrays never move when they fill up, and need no pieces.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from engine.errors import ConfigError

__all__ = ["Room", "reserve"]

NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)


def reserve(shape: tuple[int, ...], dtype: DTypeLike, *, scattered: bool = False) -> NDArray[Any]:
    """Return zeros that begin at a page, and so at a cache line.

    ``scattered`` memory is read here and there: it takes huge pages, which are found faster. A page
    is zeroed when first written, though, so what is filled in order takes small ones.

    Raises
    ------
    ConfigError
        When the system has no room for so many addresses.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE
    try:
        memory = mmap.mmap(-1, max(size, 1), flags=flags)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{size} bytes of memory cannot be had for a table ({error}); give a smaller max_rows"
        ) from error
    if scattered and size >= mmap.PAGESIZE << 9 and hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, dtype=dtype, count=int(np.prod(shape))).reshape(shape)


class Room:
    """Where the arrays lie that readers of a table need: here in memory of this process alone."""

    def begin(self) -> None:
        """Begin another table: what is reserved from here on is not of the one before."""

    def reserve(
        self,
        name: str,  # noqa: ARG002 - rooms that have names for memory need it
        shape: tuple[int, ...],
        dtype: DTypeLike,
    ) -> NDArray[Any]:
        """Return zeros. Names are given once a table: of numbered ones the two last are in use."""
        return reserve(shape, dtype, scattered=True)
