"""SquareCB's probabilities are Vowpal Wabbit's, for scores imposed on it."""

import numpy as np
import pytest
import vowpalwabbit

from engine.exploration.inverse_gap import SquareCB
from tests.engine.test_weights import belief, first_slot


@pytest.mark.parametrize("learned", [1, 30, 400])
def test_probabilities_equal_vowpal_wabbits_on_a_thousand_score_vectors(learned):
    """With one feature and no constant a cost is one weight times one number, both float32."""
    made = vowpalwabbit.Workspace("--cb_explore_adf --squarecb --cb_type mtr --noconstant --quiet")
    rng = np.random.default_rng(learned)
    for _ in range(learned):
        made.learn([f"0:{rng.random():.3f}:0.5 |A f:1", f"|A f:{rng.random():.3f}"])
    weight = made.get_weight(made.hash_feature("f", made.hash_space("A")), 0)
    worst, spread = 0.0, 0.0
    for _ in range(1000):
        values = rng.normal(size=int(rng.integers(2, 21))).round(4)
        cost = np.float32(weight) * values.astype(np.float32)
        theirs = np.array(made.predict([f"|A f:{value}" for value in values]))
        ours = first_slot(SquareCB(), belief(-cost, total=float(learned)))
        worst = max(worst, np.abs(ours - theirs).max())
        spread = max(spread, np.ptp(theirs))
    assert worst < 1e-6
    assert spread > 0.3, "the costs must differ for the comparison to say anything"
