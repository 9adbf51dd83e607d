"""Inner products of four rows with one vector, in vectors of sixteen numbers.

LLVM maps them to what the processor has. The order of the additions is fixed by the length alone,
never by what else is scored with it: a query alone and in a batch gets the same bits, and what is
learned may rest on them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils as _cgutils
from numpy.typing import NDArray

from engine.kernels.compile import inline_uncounted
from engine.kernels.memory import instruction

__all__ = ["PAD", "any_above1", "best_of1", "dots1", "score_block1"]

Singles = NDArray[np.float32]
Ints = NDArray[np.int64]

cgutils: Any = _cgutils  # it has no annotations
LANES, TOGETHER = 16, 4
PAD = LANES  # numbers of room that an array of scores needs at its end
FLOAT, WORD, WIDE = ir.FloatType(), ir.IntType(32), ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, LANES)


@instruction
def dots1(
    _context: Any, flat: Any, a: Any, b: Any, c: Any, d: Any,  # noqa: ARG001
    query: Any, start: Any, size: Any, out: Any, at: Any,  # noqa: ARG001
) -> Any:  # fmt: skip
    """Writes: out. Inner products of ``flat[x : x + size]``, x of a, b, c, d, with a query.

    The query begins at ``query[start]``; the four go to ``out[at : at + 4]``. Unchecked.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data, places, length = _data(context, builder, signature, args, 0), args[1:5], args[7]
        vector = builder.gep(_data(context, builder, signature, args, 5), [args[6]])
        rows = [builder.gep(data, [place]) for place in places]
        sums = [cgutils.alloca_once(builder, VECTOR) for _ in rows]
        for total in sums:
            builder.store(ir.Constant(VECTOR, [0.0] * LANES), total)
        whole = builder.and_(length, WIDE(-LANES))
        with cgutils.for_range_slice(builder, WIDE(0), whole, WIDE(LANES), intp=WIDE) as (i, _):
            wanted = _load(builder, vector, i)
            for row, total in zip(rows, sums, strict=True):
                _add(builder, total, _load(builder, row, i), wanted)
        with builder.if_then(builder.icmp_signed("<", whole, length)):
            mask = _mask(builder, builder.sub(length, whole))
            wanted = _load_some(builder, vector, whole, mask)
            for row, total in zip(rows, sums, strict=True):
                _add(builder, total, _load_some(builder, row, whole, mask), wanted)
        four = _reduce(builder, [builder.load(total) for total in sums])
        place = builder.gep(_data(context, builder, signature, args, 8), [args[9]])
        stored = builder.store(four, builder.bitcast(place, four.type.as_pointer()))
        stored.align = 4
        return context.get_dummy_value()

    places = (types.int64,) * 4
    return types.void(flat, *places, query, types.int64, types.int64, out, types.int64), generate


def _data(context: Any, builder: Any, signature: Any, args: Any, place: int) -> Any:
    return context.make_array(signature.args[place])(context, builder, args[place]).data


def _load(builder: Any, data: Any, at: Any) -> Any:
    pointer = builder.bitcast(builder.gep(data, [at]), VECTOR.as_pointer())
    loaded = builder.load(pointer)
    loaded.align = 4
    return loaded


def _load_some(builder: Any, data: Any, at: Any, mask: Any) -> Any:
    """Load the lanes of a mask, zeros elsewhere: what lies behind the vector is not read."""
    pointer = builder.bitcast(builder.gep(data, [at]), VECTOR.as_pointer())
    kind = ir.FunctionType(VECTOR, [pointer.type, WORD, mask.type, VECTOR])
    function = cgutils.get_or_insert_function(
        builder.module, kind, f"llvm.masked.load.v{LANES}f32.p0v{LANES}f32"
    )
    return builder.call(function, [pointer, WORD(4), mask, ir.Constant(VECTOR, [0.0] * LANES)])


def _mask(builder: Any, count: Any) -> Any:
    kind = ir.VectorType(WORD, LANES)
    lanes = ir.Constant(kind, list(range(LANES)))
    return builder.icmp_signed("<", lanes, _spread(builder, builder.trunc(count, WORD), WORD))


def _spread(builder: Any, value: Any, kind: Any) -> Any:
    """Put a number into every lane."""
    lanes = ir.VectorType(kind, LANES)
    first = builder.insert_element(ir.Constant(lanes, ir.Undefined), value, WORD(0))
    return builder.shuffle_vector(
        first, first, ir.Constant(ir.VectorType(WORD, LANES), [0] * LANES)
    )


def _add(builder: Any, total: Any, left: Any, right: Any) -> None:
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
    builder.store(builder.call(function, [left, right, builder.load(total)]), total)


def _reduce(builder: Any, sums: Any) -> Any:
    """Sum the lanes of four vectors at once: halves are added until one lane of each is left."""
    width, parts = LANES, sums
    while len(parts) > 1:  # two vectors become one, each with half as many lanes
        width //= 2
        merged = []
        for left, right in zip(parts[::2], parts[1::2], strict=True):
            merged.append(_halve(builder, left, right, 2 * width))
        parts = merged
    (four,) = parts  # lanes of the first, of the second, …: `width` of each
    while width > 1:
        half = width // 2
        low = [each * width + i for each in range(TOGETHER) for i in range(half)]
        high = [place + half for place in low]
        four = builder.fadd(_pick(builder, four, four, low), _pick(builder, four, four, high))
        width = half
    return four


def _halve(builder: Any, left: Any, right: Any, lanes: int) -> Any:
    """Add halves of runs of ``lanes`` in two vectors; runs of the left come first."""
    runs = [lanes * run for run in range(2 * LANES // lanes)]
    low = [run + i for run in runs for i in range(lanes // 2)]
    high = [place + lanes // 2 for place in low]
    return builder.fadd(_pick(builder, left, right, low), _pick(builder, left, right, high))


def _pick(builder: Any, left: Any, right: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(left, right, ir.Constant(ir.VectorType(WORD, len(lanes)), lanes))


@inline_uncounted
def score_block1(
    flat: Singles, words: int, start: int, size: int, rows: Ints, first: int, m: int,
    query: Singles, at: int, out: Singles,
) -> None:  # fmt: skip
    """Writes: out, with room for `PAD` more. Scores ``rows[first : first + m]`` of a flat slab."""
    last = first + m - 1
    for s in range(0, m, TOGETHER):
        a = rows[first + s] * words + start
        b = rows[min(first + s + 1, last)] * words + start
        c = rows[min(first + s + 2, last)] * words + start
        d = rows[min(first + s + 3, last)] * words + start
        dots1(flat, a, b, c, d, query, at, size, out, s)


@instruction
def any_above1(_context: Any, values: Any, m: Any, bound: Any) -> Any:  # noqa: ARG001
    """Whether one of the first m reaches a bound; NaN never does.

    Looks at up to fifteen more, which must be there and may make it say so for nothing. Unchecked.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data, flags = _data(context, builder, signature, args, 0), ir.IntType(LANES)
        bounds = _spread(builder, args[2], FLOAT)
        found = cgutils.alloca_once_value(builder, flags(0))
        with cgutils.for_range_slice(builder, WIDE(0), args[1], WIDE(LANES), intp=WIDE) as (i, _):
            reached = builder.fcmp_ordered(">=", _load(builder, data, i), bounds)
            reached = builder.bitcast(reached, flags)
            builder.store(builder.or_(builder.load(found), reached), found)
        return builder.icmp_unsigned("!=", builder.load(found), flags(0))

    return types.boolean(values, types.int64, types.float32), generate


@inline_uncounted
def best_of1(values: Singles, m: int, best: np.float32) -> int:
    """Place of the largest of the first m, when it is above ``best``; otherwise -1."""
    place = -1
    if not any_above1(values, m, best):
        return place
    for s in range(m):
        if values[s] > best:
            best, place = values[s], s
    return place
