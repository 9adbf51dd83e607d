"""Streaming k-means: every vector moves its nearest centroid, and dead centroids are used again.

State by cluster: ``values`` (K, d) float32; ``halves``, ``-|c|² / 2`` of it; ``wins``, how many
vectors it moved for since it was last seeded; ``mass`` and ``error``, vectors and squared distances
of late, halved from time to time; ``born``, the event at which it was seeded. ``counts`` is: events
learned, clusters seeded so far, the cluster about to be seeded anew (-1: none), and the one it
shall be taken from.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compile import inline_uncounted, kernel
from engine.kernels.retrieval.best import pick1
from engine.kernels.retrieval.dots import score_block1
from engine.kernels.retrieval.nearest import add1, nearest1

__all__ = ["DEAD", "EVENTS", "HEAVY", "LARGEST", "SEEDED", "assign_clusters", "learn_clusters"]

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]

EVENTS, SEEDED, DEAD, HEAVY = range(4)  # of counts
LARGEST = np.float32(1e9)


@inline_uncounted
def seed1(
    c: int, vectors: Singles, i: int, values: Singles, halves: Singles, wins: Ints, born: Ints,
    event: int,
) -> None:  # fmt: skip
    """Writes: values, halves, wins, born. A cluster begins at a vector."""
    total = 0.0
    for j in range(values.shape[1]):
        values[c, j] = vectors[i, j]
        total += np.float64(vectors[i, j]) * np.float64(vectors[i, j])
    halves[c] = np.float32(-0.5 * total)
    wins[c], born[c] = 1, event


@inline_uncounted
def move1(c: int, vectors: Singles, i: int, step: float, values: Singles, halves: Singles) -> float:
    """Writes: values, halves. Moves a centroid by a share of the way to a vector.

    Returns the squared distance there was between them.
    """
    total, square = 0.0, 0.0
    for j in range(values.shape[1]):
        old = np.float64(values[c, j])
        gap = np.float64(vectors[i, j]) - old
        square += gap * gap
        new = np.float32(old + step * gap)
        values[c, j] = new
        total += np.float64(new) * np.float64(new)
    halves[c] = np.float32(-0.5 * total)
    return square


@inline_uncounted
def settle1(mass: Floats, error: Floats, counts: Ints, dead_share: float) -> None:
    """Writes: counts. Names the cluster of least mass dead when it has too little of it.

    It shall be seeded anew from the cluster of the greatest error, which is split so.
    """
    total, least, most = 0.0, 0, 0
    for c in range(len(mass)):
        total += mass[c]
        if mass[c] < mass[least]:
            least = c
        if error[c] > error[most]:
            most = c
    counts[DEAD], counts[HEAVY] = -1, -1
    if least != most and error[most] > 0.0 and mass[least] < dead_share * total / len(mass):
        counts[DEAD], counts[HEAVY] = least, most


@kernel(
    "i8(f4[:,::1], f8, i8, i8, f8, f4[:,::1], f4[::1], f4[::1], i8[::1], f8[::1], f8[::1], i8[::1],"
    " i8[::1], f4[::1], f4[::1], i8[::1], i8[::1], f4[::1])",
    counted=False,
)
def learn_clusters(
    vectors: Singles, least_step: float, check_every: int, half_life: int, dead_share: float,
    values: Singles, flat: Singles, halves: Singles, wins: Ints, mass: Floats, error: Floats,
    born: Ints, counts: Ints,
    flat_vectors: Singles, scores: Singles, numbers: Ints, found: Ints, best: Singles,
) -> int:  # fmt: skip
    """Writes: what follows dead_share. One event a vector, in order.

    A vector not yet seen seeds a cluster while there are some to be seeded. Any other moves its
    nearest centroid, of equals the lowest, by ``max(1 / wins, least_step)`` of the way. Every
    ``check_every`` events the dead are looked for (`settle1`), every ``half_life`` masses and
    errors are halved. Vectors with a number that is NaN or beyond
    ±`LARGEST` are passed over; returns how many.
    ``flat`` is values, and ``flat_vectors`` is vectors, laid flat; what follows it is scratch.
    """
    k, width, refused = len(halves), values.shape[1], 0
    for i in range(len(vectors)):
        whole = True
        for j in range(width):
            whole = whole and abs(vectors[i, j]) <= LARGEST
        if not whole:
            refused += 1
            continue
        counts[EVENTS] += 1
        event, seeded = counts[EVENTS], counts[SEEDED]
        nearest1(
            flat,
            halves[:seeded],
            numbers,
            width,
            flat_vectors,
            i * width,
            1,
            scores,
            found,
            best,
            0,
        )
        c = found[0]
        known = seeded > 0
        if known and seeded < k:
            for j in range(width):
                known = known and values[c, j] == vectors[i, j]
        if seeded < k and not known:
            seed1(seeded, vectors, i, values, halves, wins, born, event)
            mass[seeded] += 1.0
            counts[SEEDED] += 1
        elif counts[DEAD] >= 0 and c == counts[HEAVY]:
            dead = counts[DEAD]
            seed1(dead, vectors, i, values, halves, wins, born, event)
            mass[c], error[c] = 0.5 * mass[c], 0.5 * error[c]
            mass[dead], error[dead] = mass[c] + 1.0, error[c]
            counts[DEAD], counts[HEAVY] = -1, -1
        else:
            wins[c] += 1
            step = max(1.0 / np.float64(wins[c]), least_step)
            error[c] += move1(c, vectors, i, step, values, halves)
            mass[c] += 1.0
        if event % check_every == 0 and counts[SEEDED] == k:
            settle1(mass, error, counts, dead_share)
        if event % half_life == 0:
            for c in range(k):
                mass[c], error[c] = 0.5 * mass[c], 0.5 * error[c]
    return refused


@kernel(
    "void(f4[::1], f4[::1], i8[::1], i8, f4[::1], f8, f4[::1], i8[:,::1], f4[:,::1], f8[:,::1])",
    counted=False,
)
def assign_clusters(
    centroids: Singles, halves: Singles, numbers: Ints, width: int, vectors: Singles,
    temperature: float, scores: Singles, clusters: Ints, nearness: Singles, weights: Floats,
) -> None:  # fmt: skip
    """Writes: what follows temperature. The nearest clusters of every vector, nearest first.

    Of equals the lowest. Nearness is ``x · c - |c|² / 2``; weights are
    ``exp(-|x - c|² / (2 temperature))`` divided by their sum. Centroids and vectors are flat,
    clusters, nearness and weights ``(n, m)``, m at most K.
    """
    k = len(halves)
    for i in range(len(clusters)):
        score_block1(centroids, width, 0, width, numbers, 0, k, vectors, i * width, scores)
        add1(scores, halves, k)
        count, total = pick1(scores, k, clusters[i], nearness[i]), 0.0
        for at in range(count):
            further = np.float64(nearness[i, at]) - np.float64(nearness[i, 0])
            weights[i, at] = math.exp(further / temperature)
            total += weights[i, at]
        for at in range(count):
            weights[i, at] /= total
