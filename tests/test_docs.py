"""The page on policies names everything that can be configured, and nothing that cannot."""

import dataclasses
import re

import pytest

from api.commands.init import TEMPLATE
from engine.features import KINDS
from engine.registry import COMMON, EXPLORATIONS, MODELS, SLATES


def rows(root):
    """First cell and last cell of every table row of the page."""
    for line in (root / "docs" / "policies.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.replace("\\|", "/").strip("|").split("|")]
        if line.startswith("| `"):
            yield cells[0].strip("`"), cells


@pytest.mark.parametrize("parts", [MODELS, EXPLORATIONS, SLATES], ids=["models", "how", "slates"])
def test_every_part_stands_there_with_its_settings(root, parts):
    found = dict(rows(root))
    for name, part in parts.items():
        told = set(re.findall(r"`(\w+)`", found[name][-1]))
        assert told == {field.name for field in dataclasses.fields(part)}, name


def test_features_and_common_settings_stand_there(root):
    found = dict(rows(root))
    for name, kind in KINDS.items():
        told = set(re.findall(r"`(\w+)`", found[name][1]))
        assert told == {field.name for field in dataclasses.fields(kind)}, name
    assert found.keys() >= COMMON.keys()


def test_the_settings_template_names_every_part():
    told = set(re.findall(r"[a-z0-9-]+", TEMPLATE))
    assert told >= {*MODELS, *EXPLORATIONS, *SLATES, *KINDS}


def test_nothing_else_stands_there(root):
    known = {*MODELS, *EXPLORATIONS, *SLATES, *KINDS, *COMMON}
    assert {name for name, _ in rows(root)} == known
