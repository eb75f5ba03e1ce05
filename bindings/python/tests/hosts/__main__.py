"""One host: `python tests/hosts KIND DIRECTORY`. Silence and status 0 mean that all was as it should be.

None hears a SIGCHLD, from its first line to its last, save those that do something else with it.
"""

import signal
import sys

import callbacks
import children
import copies
import descriptors
import forks
import signals
import surroundings
import threads

KINDS = {
    name: kind
    for module in (callbacks, children, copies, descriptors, forks, signals, surroundings, threads)
    for name, kind in vars(module).items()
    if getattr(kind, "__module__", None) == module.__name__ and not name.startswith("_")
}

if __name__ == "__main__":
    kind, directory = sys.argv[1:]
    heard = []
    signal.signal(signal.SIGCHLD, lambda *which: heard.append(which))
    KINDS[kind](directory)
    assert not heard, f"SIGCHLD {len(heard)} times"
