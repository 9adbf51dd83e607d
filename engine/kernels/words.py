"""Words of 64 bits read from bytes, and what processors do with them that NumPy has no name for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from engine.kernels.compile import inline_uncounted

__all__ = [
    "byte1",
    "high1",
    "leading_zeros1",
    "load1",
    "signed1",
    "tail1",
    "trailing_zeros1",
    "word1",
]

Bytes = NDArray[np.uint8]

ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


def _instruction(function: Callable[..., Any]) -> Any:
    """Let a function write LLVM's instructions itself."""
    return cast("Any", intrinsic(function))


def _place(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return builder.gep(array.data, [args[1]])


@_instruction
def byte1(_context: Any, data: Any, at: Any) -> Any:  # noqa: ARG001
    """Return one byte; ``0 <= at < len(data)``, which is not checked."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte = builder.load(_place(context, builder, signature, args))
        return builder.zext(byte, ir.IntType(64))

    return types.int64(data, types.int64), generate


@_instruction
def load1(_context: Any, data: Any, at: Any) -> Any:  # noqa: ARG001
    """Return eight bytes as a word, the first one lowest; ``at + 8 <= len(data)``, unchecked."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _place(context, builder, signature, args)
        word = builder.load(builder.bitcast(place, ir.IntType(64).as_pointer()))
        word.align = 1
        return word

    return types.uint64(data, types.int64), generate


@_instruction
def high1(_context: Any, a: Any, b: Any) -> Any:  # noqa: ARG001
    """Return the upper 64 bits of the product of two words."""

    def generate(_: Any, builder: Any, _signature: Any, args: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        return builder.trunc(builder.lshr(product, wide(64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


@_instruction
def leading_zeros1(_context: Any, word: Any) -> Any:  # noqa: ARG001
    """Return how many zero bits come before the highest one; the word is not 0."""

    def generate(_: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], ir.IntType(1)(1))

    return types.int64(types.uint64), generate


@_instruction
def trailing_zeros1(_context: Any, word: Any) -> Any:  # noqa: ARG001
    """Return how many zero bits come after the lowest one; the word is not 0."""

    def generate(_: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.int64(types.uint64), generate


@_instruction
def signed1(_context: Any, word: Any) -> Any:  # noqa: ARG001
    """Return a word as a signed integer: ``int`` would keep it unsigned in a kernel."""

    def generate(_: Any, _builder: Any, _signature: Any, args: Any) -> Any:
        return args[0]

    return types.int64(types.uint64), generate


@inline_uncounted
def word1(data: Bytes, at: int) -> np.uint64:
    """Return eight bytes as a word, the first one lowest; what is past the end reads as 0."""
    if at + 8 <= len(data):
        return np.uint64(load1(data, at))
    word = np.uint64(0)
    for i in range(len(data) - at):
        word |= np.uint64(data[at + i]) << np.uint64(8 * i)
    return word


@inline_uncounted
def tail1(data: Bytes, at: int, length: int) -> np.uint64:
    """Return ``length`` bytes, 1 to 8, as a word."""
    return np.uint64(word1(data, at) & (ALL >> np.uint64(64 - 8 * length)))
