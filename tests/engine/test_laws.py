"""Every law over every policy."""

import pytest

from tests import laws
from tests.engine import worlds
from tests.engine.worlds import SPECS, WITH_IDS, WITH_USER
from tests.laws import LAWS


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law(law, spec):
    law(spec)


IDS = [
    ("mf-greedy", WITH_USER),
    ("mf-epsilon:loss=logistic,weighting=propensity,clip=4", WITH_USER),
    ("mf-softmax:admission=3,ttl_seconds=7200,weighting=popularity", WITH_USER),
    ("fm-greedy:optimizer=adam,rate=0.01,bias_rate=0.01", WITH_IDS),
    ("bpr-greedy:pairs=4,ring_size=50", WITH_USER),
    ("bpr-softmax:negatives=shown,weighting=propensity", WITH_USER),
    ("fm-squarecb:l2=0.001,dimension=5", WITH_IDS),
]


@pytest.mark.parametrize(("spec", "schema"), IDS, ids=[spec for spec, _ in IDS])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law_over_ids(law, spec, schema, monkeypatch):
    for module in (worlds, laws):
        monkeypatch.setattr(module, "SCHEMA", schema)
    law(spec)
