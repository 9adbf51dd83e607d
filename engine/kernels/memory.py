"""What a kernel that walks through much memory asks of the processor, and of numba.

With ``SLATESTREAM_PLAIN=1`` in the environment nothing is asked that the results do not need: for
processors whose code generator knows no prefetch. Everything gives the same answers then, to one
thread at a time: the order that `fence1` keeps is not kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils as _cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from engine.kernels.compile import inline, inline_uncounted
from engine.kernels.words import load1

__all__ = ["borrow1", "copy1", "copy_eight1", "equal1", "fence1", "instruction", "prefetch1"]


cgutils: Any = _cgutils  # it has no annotations
Bytes = NDArray[np.uint8]

PLAIN = os.environ.get("SLATESTREAM_PLAIN") == "1"


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
def _prefetch1(_context: Any, array: Any, at: Any) -> Any:  # noqa: ARG001
    """Ask for the memory of an element of a whole array, by its place; any place is harmless."""

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
def _fence1(_context: Any) -> Any:
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


@instruction
def _copy_eight1(
    _context: Any,
    target: Any,
    row: Any,  # noqa: ARG001
    at: Any,  # noqa: ARG001
    source: Any,
    of: Any,  # noqa: ARG001
    start: Any,  # noqa: ARG001
) -> Any:
    """Writes: target. Copies eight elements of ``source[of]`` to ``target[row]``; unchecked."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args[0].dtype
        eight = ir.VectorType(context.get_data_type(kind), 8).as_pointer()
        places = []
        for k in (0, 3):
            array = context.make_array(signature.args[k])(context, builder, args[k])
            width = builder.extract_value(array.shape, 1)
            place = builder.add(builder.mul(args[k + 1], width), args[k + 2])
            places.append(builder.bitcast(builder.gep(array.data, [place]), eight))
        size = kind.bitwidth // 8
        builder.store(builder.load(places[1], align=size), places[0], align=size)
        return context.get_dummy_value()

    number = types.int64
    return types.void(target, number, number, source, number, number), generate


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


@inline_uncounted
def _plain_prefetch1(array: Any, at: int) -> None:
    """Ask for nothing."""


@inline_uncounted
def _plain_fence1() -> None:
    """Keep no order."""


@inline_uncounted
def _plain_copy_eight1(target: Any, row: int, at: int, source: Any, of: int, start: int) -> None:
    """Writes: target. Copies eight elements of ``source[of]`` to ``target[row]``, one by one."""
    for j in range(8):
        target[row, at + j] = source[of, start + j]


prefetch1: Any = _plain_prefetch1 if PLAIN else _prefetch1
fence1: Any = _plain_fence1 if PLAIN else _fence1
copy_eight1: Any = _plain_copy_eight1 if PLAIN else _copy_eight1
