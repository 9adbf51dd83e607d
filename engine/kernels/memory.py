"""What a kernel that walks through much memory asks of the processor, and of numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils as _cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from engine.kernels.compile import inline
from engine.kernels.words import load1

__all__ = ["borrow1", "copy1", "equal1", "fence1", "instruction", "prefetch1"]


cgutils: Any = _cgutils  # it has no annotations
Bytes = NDArray[np.uint8]


def instruction(function: Callable[..., Any]) -> Any:
    """Let a function write LLVM's instructions itself."""
    return cast("Any", intrinsic(function))


@instruction
def borrow1(_context: Any, array: Any) -> Any:
    """Return the array as one that is not counted when helpers are called with it.

    Counting takes an atomic instruction for every array of every call. Whoever called the kernel
    keeps the memory.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        made = context.make_array(signature.args[0])(context, builder, args[0])
        made.meminfo = cgutils.get_null_value(made.meminfo.type)
        made.parent = cgutils.get_null_value(made.parent.type)
        return made._getvalue()  # noqa: SLF001 - how numba itself ends

    return array(array), generate


@instruction
def prefetch1(_context: Any, array: Any, at: Any) -> Any:  # noqa: ARG001
    """Ask for the memory of an element of a flat array, by its place; any place is harmless."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        made = context.make_array(signature.args[0])(context, builder, args[0])
        place = builder.bitcast(builder.gep(made.data, [args[1]]), ir.IntType(8).as_pointer())
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [place.type, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [place, word(1), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@instruction
def fence1(_context: Any) -> Any:
    """Let no reading or writing cross this place: what other threads see keeps its order."""

    def generate(context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
        builder.fence("acq_rel")
        return context.get_dummy_value()

    return types.void(), generate


@instruction
def copy1(_context: Any, target: Any, at: Any, source: Any, start: Any, n: Any) -> Any:  # noqa: ARG001
    """Writes: target. Copies ``n`` elements of a flat array that does not overlap; unchecked."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to = context.make_array(signature.args[0])(context, builder, args[0])
        of = context.make_array(signature.args[2])(context, builder, args[2])
        places = builder.gep(to.data, [args[1]]), builder.gep(of.data, [args[3]])
        cgutils.raw_memcpy(builder, *places, args[4], of.itemsize)
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64, types.int64), generate


@inline
def equal1(left: Bytes, at: int, right: Bytes, start: int, length: int) -> bool:
    """Whether two spans of one length hold the same bytes."""
    different, i = np.uint64(0), 0
    while i + 8 <= length:
        different |= np.uint64(load1(left, at + i)) ^ np.uint64(load1(right, start + i))
        i += 8
    while i < length:
        different |= np.uint64(left[at + i] ^ right[start + i])
        i += 1
    return bool(different == np.uint64(0))
