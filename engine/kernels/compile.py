"""The one decorator behind which everything is compiled.

Every kernel states the signature it is called with; a call with other types (a strided array,
say) would compile anew, so callers pass contiguous arrays. What was compiled is kept in numba's
on-disk cache: `engine.warm_up` fills it with what a policy uses, so that serving only loads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba.core import sigutils

__all__ = ["called_uncounted", "inline", "inline_scoring", "inline_uncounted", "kernel"]

Function = TypeVar("Function", bound=Callable[..., Any])

# Sums may be reordered when scoring; NaN and infinity keep their meaning everywhere.
SCORING = {"reassoc", "contract", "nsz", "arcp"}


def kernel(
    signature: str, *, first: Any = None, scoring: bool = False, counted: bool = True
) -> Callable[[Function], Function]:
    """Compile a batch kernel for ``signature`` when it is first called.

    Parameters
    ----------
    first
        Type of an argument before those of the signature: many arrays that belong together.
    scoring
        Let the compiler reorder sums. Never for a kernel that writes learned state: the bits of
        state depend on the log alone.
    """

    def decorate(function: Function) -> Function:
        fastmath = SCORING if scoring else False
        options: dict[str, Any] = {"fastmath": fastmath, "error_model": "numpy", "_nrt": counted}
        compiled: Any = numba.njit(cache=True, nogil=True, **options)(function)
        compiled.ahead = signature
        if first is not None:
            normalize: Any = sigutils.normalize_signature
            arguments, result = normalize(signature)
            compiled.ahead = result(first, *arguments)
        return cast("Function", compiled)

    return decorate


def inline(function: Function) -> Function:
    """Compile a scalar helper that kernels call; it takes the types it is called with."""
    return cast("Function", numba.njit(nogil=True, error_model="numpy")(function))


def inline_uncounted(function: Function) -> Function:
    """Compile a helper that makes no arrays, for kernels that do not count references.

    It becomes part of whoever calls it: passing a dozen arrays would cost more than most do.
    """
    options: dict[str, Any] = {"error_model": "numpy", "_nrt": False, "forceinline": True}
    return cast("Function", numba.njit(nogil=True, **options)(function))


def called_uncounted(function: Function) -> Function:
    """Compile a helper like `inline_uncounted` that is called seldom, and so stays by itself."""
    options: dict[str, Any] = {"error_model": "numpy", "_nrt": False}
    return cast("Function", numba.njit(nogil=True, **options)(function))


def inline_here(function: Function) -> Function:
    """Compile a helper into its callers: one of so many arrays that a call costs more than it.

    As `inline`, which leaves that to the compiler.
    """
    decorate = numba.njit(nogil=True, error_model="numpy", forceinline=True)
    return cast("Function", decorate(function))


def inline_scoring(function: Function) -> Function:
    """Compile a helper whose sums may be reordered: for scoring kernels alone."""
    return cast("Function", numba.njit(nogil=True, error_model="numpy", fastmath=SCORING)(function))
