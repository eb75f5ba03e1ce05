"""The README's program runs."""

import sys

from support import PACKAGE, on_a_node, run


def test_a_pod_gets_an_address(tmp_path):
    printed = run(*on_a_node(sys.executable, PACKAGE / "examples" / "pod.py"), TMPDIR=str(tmp_path))
    assert printed.strip() == "10.22.0.2"
