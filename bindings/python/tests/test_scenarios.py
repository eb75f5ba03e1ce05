"""What a program sees of the library, as all languages see it."""

import json
import sys
from pathlib import Path

import pytest
from scenario import SCENARIOS
from support import on_a_node, run

NAMES = [scenario["name"] for scenario in json.loads(SCENARIOS.read_text())]


def test_names_are_unique():
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_scenario(name, tmp_path):
    program = Path(__file__).with_name("scenario.py")
    run(*on_a_node(sys.executable, program, name), TMPDIR=str(tmp_path))
