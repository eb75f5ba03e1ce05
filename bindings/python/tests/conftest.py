"""The library under test is CNIRT_LIBRARY's, else the checkout's debug build."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from support import DEBUG_LIBRARY, Node

os.environ.setdefault("CNIRT_LIBRARY", str(DEBUG_LIBRARY))
# Where ip and iptables are, which also plugins call.
os.environ["PATH"] += ":/usr/sbin:/sbin"


@pytest.fixture
def hanging(tmp_path):
    """A node whose only plugin hangs."""
    node = Node(tmp_path)
    node.network("hang")
    node.hanging_script("hang")
    return node


@pytest.fixture
def unraisable(monkeypatch):
    """What went to sys.unraisablehook."""
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: seen.append(args.exc_value))
    return seen
