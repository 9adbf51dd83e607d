"""One step of a record along a gradient, by the optimizer of its feature.

State lies behind the vector in the same record. d is the vector's length, its bias included.

========  ==============================  =========================================================
optimizer state, float32                  source
========  ==============================  =========================================================
sgd       none
rowwise   2: of the vector, of the bias   one accumulator a row: Naumov et al. 2019 (DLRM)
adagrad   d                               Duchi, Hazan, Singer 2011
ftrl      2 d: z, n                       McMahan et al. 2013, algorithm 1
adam      2 d: m, v; STEP counts          Kingma and Ba 2015, its steps counted by row
========  ==============================  =========================================================
"""

from __future__ import annotations

import numpy as np

from engine.kernels.compile import inline_uncounted
from engine.kernels.embeddings.layout import (
    ACCUMULATOR,
    BETA1,
    BETA2,
    BIAS,
    BIAS_ACCUMULATOR,
    BIAS_L2,
    BIAS_RATE,
    DIMENSION,
    EPSILON,
    HEADER,
    L2,
    OPTIMIZER,
    RATE,
    STEP,
    Floats,
    Table,
)

__all__ = ["ADAGRAD", "ADAM", "FTRL", "ROWWISE", "SGD", "bound1", "prepare1", "step1"]

SGD, ROWWISE, ADAGRAD, FTRL, ADAM = range(5)


@inline_uncounted
def prepare1(t: Table, row: int, feature: int) -> None:
    """Writes: t. The state of a record that has taken no step, where that is not all zeros.

    Adagrad's sums begin where they are told to. FTRL derives the vector from its state: here so
    that it is the initial vector.
    """
    s, v = t.settings[feature], t.floats[row]
    d, kind = np.int64(s[DIMENSION]), np.int64(s[OPTIMIZER])
    if kind == ROWWISE:
        v[HEADER + d] = np.float32(s[ACCUMULATOR])
        v[HEADER + d + 1] = np.float32(s[BIAS_ACCUMULATOR])
    elif kind == ADAGRAD:
        for j in range(d):
            own = s[BIAS_ACCUMULATOR] if j < np.int64(s[BIAS]) else s[ACCUMULATOR]
            v[HEADER + d + j] = np.float32(own)
    elif kind == FTRL:
        for j in range(d):
            own = s[BIAS_RATE] if j < np.int64(s[BIAS]) else s[RATE]
            shrink = s[BIAS_L2] if j < np.int64(s[BIAS]) else s[L2]
            w = np.float64(v[HEADER + j])
            start = w * (s[BETA1] / own + shrink)
            if w != 0.0:
                start += s[BETA2] if w > 0.0 else -s[BETA2]
            v[HEADER + d + j] = np.float32(-start)


@inline_uncounted
def step1(t: Table, row: int, feature: int, gradient: Floats) -> None:
    """Writes: t. Moves a record against the gradient ``(d,)`` of the loss; between write marks.

    ``L2`` shrinks the vector and ``BIAS_L2`` the bias with every step (FTRL: in its solution).
    """
    s, v = t.settings[feature], t.floats[row]
    d, kind = np.int64(s[DIMENSION]), np.int64(s[OPTIMIZER])
    after = HEADER + d
    first = np.int64(s[BIAS])
    rate, l2, epsilon = np.float32(s[RATE]), np.float32(s[L2]), np.float32(s[EPSILON])
    bias_rate, bias_l2 = np.float32(s[BIAS_RATE]), np.float32(s[BIAS_L2])
    if kind == ROWWISE:
        if first:
            g = gradient[0] + bias_l2 * v[HEADER]
            v[after + 1] += g * g
            v[HEADER] -= bias_rate * g / (np.sqrt(v[after + 1]) + epsilon)
        total = np.float32(0.0)
        for j in range(first, d):
            g = gradient[j] + l2 * v[HEADER + j]
            gradient[j] = g
            total += g * g
        v[after] += total / np.float32(max(int(d - first), 1))
        scale = rate / (np.sqrt(v[after]) + epsilon)
        for j in range(first, d):
            v[HEADER + j] -= scale * gradient[j]
        return
    beta1, beta2 = np.float32(s[BETA1]), np.float32(s[BETA2])
    one = np.float32(1.0)
    if kind == ADAM:
        t.words[row, STEP] += np.uint32(1)
        steps = np.float32(t.words[row, STEP])
        decay1, decay2 = one - beta1**steps, one - beta2**steps
    else:
        decay1 = decay2 = one
    for j in range(d):
        own = bias_rate if j < first else rate
        shrink = bias_l2 if j < first else l2
        at = HEADER + j
        if kind == FTRL:
            g = gradient[j]
            n = v[after + d + j]
            sigma = (np.sqrt(n + g * g) - np.sqrt(n)) / own
            v[after + j] += g - sigma * v[at]
            v[after + d + j] = n + g * g
            z = v[after + j]
            v[at] = np.float32(0.0)
            if abs(z) > beta2:
                free = z - beta2 if z > np.float32(0.0) else z + beta2
                v[at] = -free / ((beta1 + np.sqrt(n + g * g)) / own + shrink)
            continue
        g = gradient[j] + shrink * v[at]
        if kind == SGD:
            v[at] -= own * g
        elif kind == ADAM:
            v[after + j] = beta1 * v[after + j] + (one - beta1) * g
            v[after + d + j] = beta2 * v[after + d + j] + (one - beta2) * g * g
            moved = own * (v[after + j] / decay1)
            v[at] -= moved / (np.sqrt(v[after + d + j] / decay2) + epsilon)
        else:
            v[after + j] += g * g
            v[at] -= own * g / (np.sqrt(v[after + j]) + epsilon)


@inline_uncounted
def bound1(t: Table, feature: int, gradient: Floats) -> None:
    """Writes: gradient ``(d,)``. Limits it so that a step of SGD moves no number by more than 1.

    Nothing else bounds such a step: two vectors that push each other away would grow to infinity
    and to what is no number, and teach that to all others.
    """
    s = t.settings[feature]
    if np.int64(s[OPTIMIZER]) == SGD:
        for j in range(np.int64(s[DIMENSION])):
            most = np.float32(1.0 / (s[BIAS_RATE] if j < np.int64(s[BIAS]) else s[RATE]))
            gradient[j] = min(max(gradient[j], -most), most)
