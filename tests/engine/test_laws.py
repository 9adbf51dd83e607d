"""Every law over every policy."""

import pytest

from tests.engine.worlds import SPECS
from tests.laws import LAWS


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law(law, spec):
    law(spec)
